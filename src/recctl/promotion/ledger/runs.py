"""Runs of MLflow and the files that they keep; and how MLflow is asked."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl.errors import Gone, MayPass
from recctl.promotion.ledger.requests import NotThere, T, again, naming_what_is_missing
from recctl.redact import redact
from recctl.tracking import batches
from recctl.tracking.failures import plainly
from recctl.tracking.server import UNHURRIED, Tracking, patience

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from recctl.tracking.artifacts import Artifacts

ANSWER = 10
"""Seconds that a server gets for a question that it can answer in milliseconds."""


@dataclass(frozen=True)
class Runs:
    """A tracking server that answered, and what runs on it keep."""

    tracking: Tracking

    @property
    def client(self) -> "MlflowClient":
        return self.tracking.client

    @property
    def uri(self) -> str:
        return self.tracking.uri

    def decision_run(
        self,
        name: str,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> str:
        """A finished MLflow run that holds the evidence of a decision; its id."""
        from mlflow.entities import RunTag

        given = (tags or {}).items()
        short = [RunTag(key, value) for key, value in given if len(value) <= 5000]
        with plainly(self.uri), patience(*UNHURRIED):
            run = self.client.create_run(self.tracking.experiment_id, run_name=name)
            identifier: str = run.info.run_id
            if not identifier:
                raise self._contradicts("gives no id for a new run")
            for start in range(0, len(short), batches.BATCH_PARAMS):
                batch = short[start : start + batches.BATCH_PARAMS]
                self.client.log_batch(identifier, tags=batch)
            batches.log_metrics(self.client, identifier, batches.metrics(metrics or {}, 0))
            self.client.set_terminated(identifier, "FINISHED")
        return identifier

    def log_files(self, run_id: str, folder: Path, sub: str) -> None:
        """Keep a copy of a folder's content with a run, below `sub`.

        Raises MayPass where the store does not hold all of it afterwards: a server between may
        have answered in its place.
        """
        with plainly(self.uri), patience(*UNHURRIED):
            self.client.log_artifacts(run_id, str(folder), sub)
        artifacts = self._artifacts(run_id)
        held = self._read(lambda: artifacts.sizes(sub))
        files = {path: path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        for path, name in files.items():
            if path.is_file() and held.get(f"{sub}/{name}", -1) not in (None, path.stat().st_size):
                raise self._contradicts(f"took {name} and does not hold it")

    def fetch(self, run_id: str, sub: str, to: Path, names: Sequence[str]) -> Path:
        """A local copy of what a run keeps below `sub`, where the files `names` should be.

        Raises Gone where the store says that there is nothing of it, Unknown where that could not
        be read.
        """
        try:
            return self._copy(self._artifacts(run_id), sub, to, names)
        except NotThere as error:
            raise Gone(f"run {run_id} keeps no {sub}: {error}") from None

    def _copy(self, artifacts: "Artifacts", sub: str, to: Path, names: Sequence[str]) -> Path:
        def copy() -> Path:
            sizes = self._sizes(artifacts, sub, names)
            with self._listed():
                artifacts.copy(sizes, to)
            return to / sub

        return self._read(copy)

    def _sizes(
        self, artifacts: "Artifacts", sub: str, names: Sequence[str]
    ) -> dict[str, int | None]:
        """What there is; that a file is not is asked again, of that file (see `artifacts.py`)."""
        found = artifacts.sizes(sub)
        lacking = [name for name in names if f"{sub}/{name}" not in found]
        if lacking and not artifacts.lacks(f"{sub}/{lacking[0]}"):
            raise self._contradicts(f"does not list {sub}/{lacking[0]} and holds it")
        if not found:
            raise Gone(f"{artifacts.place}/{sub} holds nothing")
        return found

    @contextlib.contextmanager
    def _listed(self) -> Iterator[None]:
        """For what the store has just listed: that it is not there is no answer."""
        try:
            with naming_what_is_missing():
                yield
        except NotThere as error:
            raise self._contradicts(f"lists a file and does not give it ({error})") from None

    # How MLflow is asked

    def _artifacts(self, run_id: str) -> "Artifacts":
        found: Artifacts = self._read(lambda: self.client.get_artifacts(run_id))
        return found

    def _read(self, call: Callable[[], T]) -> T:
        with plainly(self.uri), patience(ANSWER, retries=1):
            return again(call)

    def _write(self, call: Callable[[], Any]) -> None:
        """Only for what is the same when it is done twice."""
        self._read(call)

    def _contradicts(self, what: str) -> MayPass:
        """The error for an answer that cannot be MLflow's own, or not a whole one."""
        return MayPass(f"MLflow at {redact(self.uri)} {what}", "run the command again")
