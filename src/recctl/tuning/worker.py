"""A process that runs trials of a study, one after another; `search` starts it.

    python -m recctl.tuning.worker JOB

It ends with 0 when no trial may begin, and with 2 and one line on stderr for what a person can fix.
"""

import dataclasses
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from optuna.distributions import json_to_distribution
from optuna.exceptions import TrialPruned
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import Trial, TrialState
from pydantic import BaseModel, ValidationError

from recctl.errors import Unknown, UserError, circumstance
from recctl.files import locked
from recctl.layout import Layout
from recctl.render.console import Console
from recctl.render.text import echo, one_line
from recctl.sequences.store import SequenceData
from recctl.tracking.tuning import search_run
from recctl.training.checkpoint import Checkpoint
from recctl.training.fit import fingerprint
from recctl.training.launch import fit_project
from recctl.training.params import TrainParams
from recctl.training.progress import Epoch
from recctl.tuning import studies
from recctl.tuning.space import applied, current


class Job(BaseModel):
    """What a process needs to know."""

    root: Path
    study: str
    device: str
    filter_seen: bool
    """Of the validations."""
    turn: int
    """The process's number, from 0."""
    zero: float
    """When the study's clock was 0, in seconds since 1970."""
    until: float | None
    count: int | None
    """See `studies.begin`."""

    @property
    def minutes(self) -> float:
        """The study's clock."""
        return (time.time() - self.zero) / 60

    @property
    def late(self) -> bool:
        """Whether the budget of minutes is used up."""
        return self.until is not None and self.minutes >= self.until / 60


class _Cut(Exception):
    """The budget is used up while a trial trains."""


def main(job: Job) -> int:
    """Run trials until none may begin; the exit code."""
    try:
        work(job)
    except Exception as error:
        known = circumstance(error)
        if known is None:
            raise
        echo(one_line(str(known)), err=True)
        return 2
    return 0


def work(job: Job) -> None:
    """Run trials until none may begin.

    Raises UserError where the last trials all failed, and for what is wrong with more than a trial.
    """
    layout = Layout(job.root)
    study = studies.load(layout, job.study, job.turn)
    data = SequenceData.load(layout.sequences)
    # a search is judged on validation: it gets no test target
    data = dataclasses.replace(data, test=np.full(data.test.shape, -1))
    worker = _Worker(layout, study, job, data)
    while (trial := worker.next()) is not None:
        worker.run(trial)
        studies.require_success(study)


@dataclasses.dataclass(frozen=True)
class _Worker:
    layout: Layout
    study: Study
    job: Job
    data: SequenceData

    def next(self) -> Trial | None:
        """The next trial; None where the budget allows no more. One process at a time asks."""
        space = self.study.user_attrs["space"]
        with locked(self.layout.tuning / "ask.lock"):
            count = len(studies.begun(self.study))
            if self.job.late or (self.job.count is not None and count >= self.job.count):
                return None
            trial = self.study.ask({name: json_to_distribution(one) for name, one in space.items()})
        trial.set_user_attr("turn", self.job.turn)
        return trial

    def run(self, trial: Trial) -> None:
        """Train with the trial's settings and record the result, a failure too."""
        frozen = self.study.trials[trial.number]
        seen = dict(frozen.intermediate_values)
        first = RetryHeartbeatStaleTrialCallback.retried_trial_number(frozen)
        name = f"{self.study.study_name}-{trial.number if first is None else first}"
        folder = self.layout.state / "checkpoints" / "tuning" / name
        value, state = None, TrialState.PRUNED
        try:
            base = studies.params_of(self.study).model_copy(update={"device": self.job.device})
            params = applied(base, trial.params)
            trial.set_user_attr("settings", current(params, trial.params))
            value = self._train(trial, params, folder, seen)
            state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        except ValidationError:  # settings that do not fit each other
            pass
        except (UserError, MemoryError) as error:
            if isinstance(error, Unknown):
                raise
            state = TrialState.FAIL
            trial.set_user_attr("reason", one_line(str(circumstance(error))))
        trial.set_user_attr("epochs", max(seen, default=0))
        trial.set_user_attr("minutes", round(self.job.minutes, 2))
        self.study.tell(trial, value, state)
        shutil.rmtree(folder, ignore_errors=True)

    def _train(
        self, trial: Trial, params: TrainParams, folder: Path, seen: dict[int, float]
    ) -> float | None:
        """The validation NDCG@10; None of a trial that is pruned.

        A training that the budget cuts short counts with its best epoch. `folder` is that of its
        checkpoint, `seen` the validations by epoch, also those before the trial was killed.
        """
        key = fingerprint(params, self.data.fingerprint, self.job.filter_seen)
        with search_run(
            self.layout,
            trial.user_attrs.get("run_id"),
            name=f"{self.study.study_name}-{trial.number}",
            params={"train": params.model_dump()},
            parent=self.study.user_attrs["run_id"],
        ) as run:
            trial.set_user_attr("run_id", run.run_id)

            def after(row: Epoch) -> None:
                run.log_epoch(dataclasses.asdict(row))
                if row.ndcg is not None and row.epoch not in seen:
                    trial.report(row.ndcg, row.epoch)
                    seen[row.epoch] = row.ndcg
                if self.job.late:
                    raise _Cut
                if row.ndcg is not None and trial.should_prune():
                    raise TrialPruned

            pruned = False
            try:
                value = fit_project(
                    self.data,
                    params,
                    self.job.filter_seen,
                    Checkpoint(folder, key),
                    on_epoch=after,
                    console=Console(quiet=True),
                ).best_ndcg
            except (_Cut, TrialPruned) as error:
                if not seen:
                    raise UserError("the budget ended before its first validation") from None
                value, pruned = max(seen.values()), isinstance(error, TrialPruned)
            run.log_metrics({"validation_ndcg@10": value, "pruned": float(pruned)})
        return None if pruned else value


if __name__ == "__main__":
    sys.exit(main(Job.model_validate_json(sys.argv[1])))
