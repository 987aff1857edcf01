"""A search for settings: a session of a study that worker processes carry out, and its report."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Literal

import torch
from optuna.study import Study
from optuna.trial import TrialState

from recctl import supervise
from recctl.devices import pick
from recctl.errors import UserError, unknown_name
from recctl.evaluation.params import EvaluateParams
from recctl.layout import Layout
from recctl.models import NEURAL
from recctl.render.text import Say, echo
from recctl.sequences.store import SequenceData
from recctl.tracking.tuning import abandon, search_run
from recctl.training.early_stopping import validation
from recctl.training.params import TrainParams
from recctl.tuning import studies
from recctl.tuning.params import TuneParams
from recctl.tuning.report import Report
from recctl.tuning.space import space_of
from recctl.tuning.worker import Job

_POLL_SECONDS = 1.0


def search(
    layout: Layout,
    model: str | None,
    say: Say,
    *,
    minutes: float | None,
    trials: int | None,
    jobs: int | None = None,
    new: Literal["never", "changed", "always"] = "never",
    fds: Sequence[int] = (),
    done: Callable[[Report], None] = lambda found: None,
) -> Report:
    """Add a session to the newest study of a model (None: that of params.yaml), or to a new one.

    The session ends after so many minutes or trials (None: no such limit); one of the same budget
    that was killed is continued. `new`: when a new study is begun although there is one. The caller
    holds the project; worker processes inherit the files `fds`. `done` is called with the report
    before the session counts as ended.

    Raises UserError for a model without settings, a space that does not fit it, a study made with
    other data, settings or code, a split without validation targets, and where trials only fail.
    """
    study = _study(layout, model, new, say)
    if killed := studies.requeue(study):
        say(f"trials that were killed and continue from their checkpoints: {killed}")
    session = studies.begin(study, minutes, trials)
    about = {"study": study.study_name, "space": study.user_attrs["space"]}
    run_id = study.user_attrs.get("run_id")
    with search_run(layout, run_id, name=f"tune-{study.study_name}", params=about) as run:
        study.set_user_attr("run_id", run.run_id)
        job = Job(
            root=layout.root,
            study=study.study_name,
            device=TrainParams.load(layout.params).device,
            filter_seen=EvaluateParams.load(layout.params).filter_seen,
            turn=0,
            zero=time.time() - study.user_attrs["spent"],
            until=session["until"],
            count=session["count"],
        )
        turns = range(jobs or TuneParams.load(layout.params).jobs)
        _work(layout, study, [job.model_copy(update={"turn": turn}) for turn in turns], fds, say)
        found = Report(study)
        run.log_files(found.write(layout), "tuning")
        run.log_metrics(found.metrics())
    done(found)
    studies.end(study)
    return found


def existing(layout: Layout, model: str | None) -> Report:
    """The report of the newest study; UserError where there is none."""
    name = model or TrainParams.load(layout.params).model
    study = studies.newest(layout, name)
    if study is None:
        raise UserError(f"there is no study of {name}", f"run 'recctl tune {name}'")
    return Report(study)


def _study(layout: Layout, model: str | None, new: str, say: Say) -> Study:
    """The study that is continued, or a new one."""
    tune = TuneParams.load(layout.params)
    filter_seen = EvaluateParams.load(layout.params).filter_seen
    params = TrainParams.load(layout.params, {} if model is None else {"model": model})
    for name in (params.model, *tune.space):
        if name not in NEURAL:
            raise unknown_name("model to tune", name, list(NEURAL))
    params = params.ranked(filter_seen).model_copy(update={"processes": 1})
    space = space_of(params, tune.space.get(params.model, {}))
    pick(params.device)
    data = SequenceData.load(layout.sequences)
    validation(data, filter_seen)
    basis = studies.basis(params, data.fingerprint, filter_seen, space)
    study = studies.newest(layout, params.model)
    if study is not None and new != "always":
        kept = study.user_attrs["basis"]
        other = [name for name, digest in basis.items() if kept.get(name) != digest]
        if other and new == "never":
            raise UserError(
                f"the study {study.study_name} was made with other {' and '.join(other)}",
                "begin a new one with --new; the former one stays",
            )
        if not other:
            say(f"study {study.study_name}, with {len(studies.begun(study))} trials so far")
            return study
    for folder in (layout.state / "checkpoints" / "tuning").glob(f"{params.model}-*"):
        shutil.rmtree(folder, ignore_errors=True)
    study = studies.create(layout, params, space, basis)
    say(f"new study {study.study_name}: {', '.join(space)}")
    return study


# Worker processes


def _work(layout: Layout, study: Study, jobs: Sequence[Job], fds: Sequence[int], say: Say) -> None:
    """Have a process for each job run trials until the budget is used up; say each result.

    The trial of a process that was killed fails. Raises UserError for what is wrong with more than
    a trial.
    """
    known = {one.number for one in study.get_trials(deepcopy=False) if one.state.is_finished()}
    with ExitStack() as stack:
        crew = {job.turn: stack.enter_context(_process(job, len(jobs), fds)) for job in jobs}
        while crew:
            time.sleep(_POLL_SECONDS)
            study.set_user_attr("spent", 60 * jobs[0].minutes)
            for turn, one in list(crew.items()):
                if one.process.poll() is None:
                    continue
                del crew[turn]
                if one.was_killed() and _lost(layout, study, turn):
                    studies.require_success(study)
                    crew[turn] = stack.enter_context(_process(jobs[turn], len(jobs), fds))
                elif one.process.returncode:
                    raise one.failure()
            for trial in study.get_trials(deepcopy=False):
                if trial.state.is_finished() and trial.number not in known:
                    known.add(trial.number)
                    say(Report(study).line(trial))


@dataclass(frozen=True)
class _Worker:
    """A process at work; its messages go to a file."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def was_killed(self) -> bool:
        """Whether a signal ended it, as when the machine has no memory left."""
        return self.process.returncode < 0 or self.process.returncode > 128

    def failure(self) -> Exception:
        """Why it ended with an error."""
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").splitlines()
        if self.process.returncode == 2 and lines:
            return UserError(lines[-1])
        for line in lines:
            echo(line, err=True)
        return RuntimeError(f"a trial's process ended with exit code {self.process.returncode}")


@contextmanager
def _process(job: Job, jobs: int, fds: Sequence[int]) -> Iterator[_Worker]:
    """A worker process; it is stopped where it runs at the end of the block."""
    arguments = [sys.executable, "-m", "recctl.tuning.worker", job.model_dump_json()]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            supervise.command(arguments),
            env=os.environ | _share(job, jobs),
            stdin=subprocess.PIPE,  # the supervisor stops the worker when this pipe is closed
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=fds,
            close_fds=bool(fds),  # else the supervisor holds the stage's lock until the worker ends
        )
        try:
            yield _Worker(process, errors)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def _share(job: Job, jobs: int) -> dict[str, str]:
    """A worker's share of the machine, as environment variables: a GPU, or some of the cores."""
    gpus = torch.cuda.device_count()
    if pick(job.device).type != "cuda":
        return {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // jobs))}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
    return {"CUDA_VISIBLE_DEVICES": visible.split(",")[job.turn % gpus]}


def _lost(layout: Layout, study: Study, turn: int) -> bool:
    """Fail the trial of a process that was killed; whether it had begun one."""
    running = study.get_trials(states=[TrialState.RUNNING])
    for trial in (one for one in running if one.user_attrs.get("turn") == turn):
        study.tell(trial.number, state=TrialState.FAIL)
        if run_id := trial.user_attrs.get("run_id"):
            abandon(layout, run_id)
        return True
    return False
