"""The model registry: every call to it, and nothing that decides.

A registered model NAME holds the models; beside it NAME-decisions holds the decision log, a version
per entry (see `log.py`). Reading from a registry that is empty gives nothing, it is not an error.

A request that failed may have been carried out all the same: the answer can be lost, and MLflow's
client repeats a POST. So what is written here is either the same when done twice
(aliases, tags), or carries a digest by which its writer finds it again (versions, entries).
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl.errors import Gone, UserError
from recctl.layout import Layout
from recctl.promotion.ledger.log import Entry, digest
from recctl.promotion.ledger.requests import NotThere, T, naming_what_is_missing
from recctl.promotion.ledger.runs import ANSWER, Runs
from recctl.promotion.ledger.versions import (
    CONTENT_DIGEST,
    DECISION,
    DIGEST,
    ENTRY,
    FILES,
    HEAD,
    STATE,
    Version,
    entry_of,
    head_of,
    version_of,
)
from recctl.tracking import server
from recctl.tracking.artifacts import place_of
from recctl.tracking.failures import plainly
from recctl.tracking.server import patience

if TYPE_CHECKING:
    from recctl.tracking.artifacts import Artifacts

MODEL = "model"
"""The folder of a registration's run that keeps the version's files."""
EVIDENCE = "decision"
"""The folder of a decision's run that keeps its evidence and pages."""

ENTRY_MAX = 100_000
"""Characters that MLflow takes in a tag of the registry."""

PAGE = 200


@dataclass(frozen=True)
class Registry(Runs):
    """A registry that answered, and the registered model in it that this project promotes."""

    name: str

    @classmethod
    def connect(cls, layout: Layout, name: str) -> "Registry":
        """Reach the registry; UserError in one line, within seconds, when it does not answer."""
        return cls(server.connect(layout), name)

    @property
    def log_name(self) -> str:
        """The registered model whose versions are the decisions."""
        return f"{self.name}-decisions"

    # Models

    def versions(self) -> list[Version]:
        """Every version of the model, newest first."""
        return [version_of(found) for found in self._search(self.name, "DESC")]

    def version(self, number: int) -> Version:
        """One version; Gone, with the known ones, when there is none of that number."""
        known = self.versions()
        for version in known:
            if version.number == number:
                return version
        if self.holds(number):
            raise self._contradicts(f"lists no version {number} of '{self.name}' and holds one")
        numbers = ", ".join(str(version.number) for version in known) or "none"
        raise Gone(f"'{self.name}' has no version {number}", f"known: {numbers}")

    def holds(self, number: int) -> bool:
        """Whether there is a version of that number, by a request for it alone."""
        try:
            self._read(lambda: self.client.get_model_version(self.name, str(number)))
        except NotThere:
            return False
        return True

    def find(self, content_digest: str, files: str | None = None) -> Version | None:
        """The version that holds this content, the oldest where there are more.

        With `files`, the tag that lists every file, only one that has it.
        """
        found = [
            version
            for version in self.versions()
            if version.digest == content_digest and files in (None, version.tags.get(FILES))
        ]
        return found[-1] if found else None

    def register(
        self,
        folder: Path,
        *,
        digest: str,
        tags: Mapping[str, str],
        run_name: str,
        metrics: Mapping[str, float] | None = None,
        description: str = "",
    ) -> Version:
        """The version that holds the `folder`'s content, made unless there is one already.

        Two processes that register the same content at once end with the same version: the one
        with the lower number stays.
        """
        existing = self.find(digest, tags.get(FILES))
        if existing is not None:
            return existing
        run_id = self.decision_run(run_name, {**tags, "recctl.run": "registration"}, metrics)
        self.log_files(run_id, folder, MODEL)
        all_tags = {**tags, CONTENT_DIGEST: digest}
        made = self._create(self.name, run_id, MODEL, all_tags, description)
        first = self.find(digest, tags.get(FILES))
        assert first is not None
        if first.number < made:
            with contextlib.suppress(NotThere):  # a repeated request finds it deleted
                self._write(lambda: self.client.delete_model_version(self.name, str(made)))
        return first

    def describe(self, number: int, decision: int, text: str) -> None:
        """Set a version's description, then the number of the decision that it names."""
        name, version = self.name, str(number)
        self._write(lambda: self.client.update_model_version(name, version, text))
        self._write(
            lambda: self.client.set_model_version_tag(name, version, DECISION, str(decision))
        )

    def download(self, version: Version, to: Path) -> Path:
        """A local copy of a version's files, below the folder `to`.

        They are brought from the run that registered them; a version whose address leads elsewhere
        is not one that recctl registered, and the address is not followed.

        Raises Gone when there are no files where they should be, Unknown when that could not be
        read.
        """
        with self._files_of(version) as (artifacts, names):
            return self._copy(artifacts, MODEL, to, names)

    def reach(self, version: Version) -> None:
        """Raise what `download` would, as far as that is known without the files' content."""
        with self._files_of(version) as (artifacts, names):
            self._read(lambda: self._sizes(artifacts, MODEL, names))

    @contextlib.contextmanager
    def _files_of(self, version: Version) -> "Iterator[tuple[Artifacts, list[str]]]":
        what = f"the files of version {version.number} of '{self.name}'"
        try:
            artifacts = self._artifacts(version.run_id or "")
        except NotThere as error:
            raise Gone(f"{what} are gone: {error}") from None
        if place_of(self.uri, version.source) != f"{artifacts.place}/{MODEL}":
            raise Gone(f"{what} are not where they were registered: {version.source}")
        try:
            yield artifacts, list(version.files) or ["MLmodel"]
        except Gone as error:
            raise Gone(f"{what} are gone: {error}") from None

    def names(self, prefix: str) -> list[str]:
        """The registered models whose names begin so; the prefix holds no `%`."""
        wanted = f"name LIKE '{prefix}%'"
        found = self._read(lambda: self.client.search_registered_models(wanted, max_results=1000))
        return [str(model.name) for model in found]

    # Aliases

    def shown(self) -> tuple[dict[str, int], tuple[int, str] | None]:
        """Where every alias points, and the head of the log as last noted, in one request."""
        model = self._model(self.name)
        if model is None:
            return {}, None
        aliases = {str(k): int(v) for k, v in model.aliases.items()}
        return aliases, head_of(model.tags.get(HEAD, ""))

    def aliases(self) -> dict[str, int]:
        """Where every alias points."""
        return self.shown()[0]

    def move_alias(self, alias: str, number: int) -> None:
        """Point an alias to a version, whatever it pointed to before; Gone without that version."""
        try:
            self._write(
                lambda: self.client.set_registered_model_alias(self.name, alias, str(number))
            )
        except NotThere as error:
            raise Gone(f"'{alias}' cannot point to version {number}: {error}") from None

    def drop_alias(self, alias: str) -> None:
        """Remove an alias, if there is one."""
        if alias in self.aliases():
            self._write(lambda: self.client.delete_registered_model_alias(self.name, alias))

    # Decisions

    def entries(self) -> list[Entry]:
        """The decision log, oldest first, void entries and all."""
        return [entry_of(found) for found in self._search(self.log_name, "ASC")]

    def append(self, body: str, run_id: str) -> int:
        """Write an entry, in state pending; its position. `run_id` holds its evidence.

        Raises UserError when the server did not confirm it; it may be there all the same.
        """
        if len(body) > ENTRY_MAX:
            raise UserError(
                f"the decision takes {len(body):,} characters, and MLflow keeps {ENTRY_MAX:,}",
                "give a shorter --reason",
            )
        tags = {ENTRY: body, DIGEST: digest(body), STATE: "pending"}
        return self._create(self.log_name, run_id, EVIDENCE, tags)

    def mark(self, position: int, state: str) -> None:
        """Set an entry's state to done or undone.

        Raises MayPass where it is pending afterwards: a server between may have answered in
        MLflow's place. Another process may set it to the other state at the same time.
        """
        name, version = self.log_name, str(position)
        self._write(lambda: self.client.set_model_version_tag(name, version, STATE, state))
        held = self._read(lambda: self.client.get_model_version(name, version))
        if held.tags.get(STATE) == "pending":
            raise self._contradicts(f"took the state of decision {position} and does not hold it")

    def set_head(self, position: int, digest: str) -> None:
        """Note the newest entry in force, so that a log cut off at its end is noticed.

        Two writers may note theirs in the wrong order: what is noted is a lower bound.
        """
        value = f"{position} {digest}"
        self._with(
            self.name,
            lambda: self._write(
                lambda: self.client.set_registered_model_tag(self.name, HEAD, value)
            ),
        )

    # Pages, versions and models

    def _search(self, name: str, order: str) -> Iterator[Any]:
        token = None
        while True:
            page = self._read(partial(self._page, name, order, token))
            yield from page
            token = page.token
            if not token:
                return

    def _page(self, name: str, order: str, token: str | None) -> Any:
        """One page of the versions; MayPass for an empty one where there are some.

        Another process may have written the first one since: the request is repeated.
        """
        wanted = f"name = '{name}'"
        page = self.client.search_model_versions(wanted, PAGE, [f"version_number {order}"], token)
        if not page and (token or self._has_versions(name)):
            raise self._contradicts(f"lists no versions of '{name}' and holds some")
        return page

    def _has_versions(self, name: str) -> bool:
        model = self._model(name)
        return bool(model and model.latest_versions)

    def _model(self, name: str) -> Any:
        try:
            model = self._read(lambda: self.client.get_registered_model(name))
        except NotThere:
            return None
        if model.name != name:
            raise self._contradicts(f"answers for another model than '{name}'")
        return model

    def _with(self, name: str, call: Callable[[], T]) -> T:
        """Call; where the registered model `name` is missing, make it and call again."""
        try:
            return call()
        except NotThere:
            with contextlib.suppress(UserError):  # another process may make it at the same time
                self._write(lambda: self.client.create_registered_model(name))
            return call()

    def _create(
        self, name: str, run_id: str, folder: str, tags: dict[str, str], description: str = ""
    ) -> int:
        """Create a version; not repeated by the client, for a second one is not the first."""
        source = f"{self._artifacts(run_id).place}/{folder}"

        def create() -> Any:
            with plainly(self.uri), patience(ANSWER, retries=0), naming_what_is_missing():
                return self.client.create_model_version(
                    name,
                    source,
                    run_id,
                    tags=tags,
                    description=description or None,
                    await_creation_for=0,
                )

        number = str(self._with(name, create).version)
        if not number.isdecimal():
            raise self._contradicts(f"gives no number for a new version of '{name}'")
        return int(number)
