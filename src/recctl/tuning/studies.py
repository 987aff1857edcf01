"""The studies of a project: Optuna's storage, what a study rests on, its trials and sessions.

A study is of one model, one split, fixed settings and one search space. A session is what one call
of `recctl tune` adds to it; one that was killed is continued. A study's clock counts the seconds of
all its sessions.
"""

import hashlib
import json
import logging
import warnings
from datetime import UTC, datetime
from typing import Any

import numpy as np
import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from recctl.errors import UserError
from recctl.files import locked
from recctl.layout import Layout
from recctl.models import NEURAL
from recctl.training.checkpoint import training_fingerprint
from recctl.training.params import TrainParams
from recctl.tuning.space import Space, as_json, current, distributions

_LOCK_SECONDS = 60
"""How long a process waits for another one to write to the database."""
_RETRIES = 3
"""How often a trial that was killed with its session is tried again."""
_FAILURES = 5
"""Trials in a row that failed, after which a search ends."""


def storage(layout: Layout) -> RDBStorage:
    """The project's database of studies."""
    optuna.logging.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    path = layout.tuning / "studies.db"
    waiting = {"connect_args": {"timeout": _LOCK_SECONDS}}
    try:
        with locked(path.with_name("studies.lock")):  # two processes cannot make it at once
            return RDBStorage(f"sqlite:///{path}", engine_kwargs=waiting)
    except RuntimeError as error:
        what = f"{path} is of another version of Optuna ({error})"
        raise UserError(what, "move it away") from None


def basis(params: TrainParams, split: str, filter_seen: bool, space: Space) -> dict[str, str]:
    """What a study's figures rest on, as digests: figures of others cannot be compared.

    `filter_seen` is that of the validations.
    """
    others = {"device", "processes", *(set(NEURAL) - {params.model})}
    fixed = params.model_dump(mode="json", exclude=others)
    for name in space:
        *section, last = name.split(".")
        del (fixed[section[0]] if section else fixed)[last]
    text = json.dumps([fixed, filter_seen, as_json(space)], sort_keys=True)
    settings = hashlib.sha256(text.encode()).hexdigest()
    return {"data": split, "settings": settings, "code": training_fingerprint()}


def newest(layout: Layout, model: str) -> Study | None:
    """The newest study of a model; None where there is none."""
    if not (layout.tuning / "studies.db").is_file():
        return None
    for number in range(_count(layout, model), 0, -1):
        study = load(layout, f"{model}-{number}")
        if "basis" in study.user_attrs:  # else the process that made the study was killed
            return study
    return None


def _count(layout: Layout, model: str) -> int:
    names = optuna.get_all_study_names(storage(layout))
    return sum(name.rpartition("-")[0] == model for name in names)


def create(layout: Layout, params: TrainParams, space: Space, on: dict[str, str]) -> Study:
    """A new study, whose first trial has the settings of the params."""
    name = f"{params.model}-{_count(layout, params.model) + 1}"
    study = optuna.create_study(storage=storage(layout), study_name=name, direction="maximize")
    study.enqueue_trial(current(params, space))
    about = {"train": params.model_dump(mode="json"), "space": distributions(space, params)}
    for key, value in {**about, "spent": 0.0, "basis": on}.items():
        study.set_user_attr(key, value)
    return load(layout, name)


def load(layout: Layout, name: str, turn: int = 0) -> Study:
    """A study with its sampler and pruner; each process seeds its sampler differently."""
    study = optuna.load_study(
        study_name=name,
        storage=storage(layout),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=4, n_min_trials=3),
    )
    seed = study.user_attrs.get("train", {}).get("seed", 0)
    words = [seed, len(study.get_trials(deepcopy=False)), turn]
    number = int(np.random.SeedSequence(words).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=number, n_startup_trials=6)
    return study


def params_of(study: Study) -> TrainParams:
    """The params that a study varies."""
    return TrainParams.model_validate(study.user_attrs["train"])


# Trials


def requeue(study: Study) -> int:
    """Fail the trials that still count as running and queue each again; how many there were.

    The caller knows that no process works on them. A trial that is queued again continues from its
    checkpoint, in its MLflow run.
    """
    again = RetryHeartbeatStaleTrialCallback(_RETRIES, inherit_intermediate_values=True)
    running = study.get_trials(states=[TrialState.RUNNING])
    for trial in running:
        study.tell(trial.number, state=TrialState.FAIL)
        again(study, trial)
    return len(running)


def begun(study: Study) -> list[FrozenTrial]:
    """The trials that were begun, without those that were queued again."""
    trials = study.get_trials(deepcopy=False)
    again = {n for one in trials for n in RetryHeartbeatStaleTrialCallback.retry_history(one)}
    return [one for one in trials if one.state != TrialState.WAITING and one.number not in again]


def require_success(study: Study) -> None:
    """UserError where the last trials all failed."""
    ended = [one for one in begun(study) if one.state.is_finished()]
    last = sorted(ended, key=lambda one: str(one.datetime_complete))[-_FAILURES:]
    if len(last) == _FAILURES and all(one.state == TrialState.FAIL for one in last):
        raise UserError(
            f"{_FAILURES} trials in a row failed; the last: {reason(last[-1])}",
            "fix that, or change tune.space in params.yaml",
        )


def reason(trial: FrozenTrial) -> str:
    """Why a trial failed."""
    return str(trial.user_attrs.get("reason", "its process was killed, perhaps out of memory"))


# Sessions


def begin(study: Study, minutes: float | None, trials: int | None) -> dict[str, Any]:
    """A new session; the last one, where that had the same budget and was killed.

    `until`: when on the study's clock no trial begins any more and those that run are cut short;
    `count`: the trials of the study after which none begins.
    """
    last: dict[str, Any] = study.user_attrs.get("session", {})
    asked = [minutes, trials]
    if last and last["ended"] is None and last["asked"] == asked:
        return last
    until = None if minutes is None else study.user_attrs["spent"] + 60 * minutes
    count = None if trials is None else len(begun(study)) + trials
    new = {"asked": asked, "until": until, "count": count, "ended": None}
    study.set_user_attr("session", new)
    return new


def end(study: Study) -> None:
    """Record that the session is over and its result written."""
    now = datetime.now(UTC).isoformat()
    study.set_user_attr("session", {**study.user_attrs["session"], "ended": now})


def is_due(layout: Layout, model: str, days: float) -> bool:
    """Whether no search for the model's settings ended in the last `days` days."""
    study = newest(layout, model)
    ended = study and study.user_attrs.get("session", {}).get("ended")
    if not ended:
        return True
    age = datetime.now(UTC) - datetime.fromisoformat(ended)
    return age.total_seconds() >= 86_400 * days
