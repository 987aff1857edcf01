"""The champion, as the decision log names it, loaded and ready to answer.

The service reads the registry every few seconds. A new champion is fetched, checked against the
digests of its decision, loaded and tried beside the old one, then takes its place in one
assignment. One that cannot be loaded never replaces one that works, and a registry that does not
answer leaves everything as it is.
"""

import gc
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from recctl.errors import UserError
from recctl.files import read_json, replacing
from recctl.layout import Layout
from recctl.promotion import history, manifest
from recctl.promotion.ledger.aliases import Serving
from recctl.promotion.serving import answering
from recctl.promotion.trial import contenders, package
from recctl.promotion.view import words
from recctl.promotion.view.schema import HistoryRow
from recctl.recommend import Rules, Served, Users

SECONDS = 3.0
"""Between two reads of the registry."""


@dataclass(frozen=True)
class Loaded:
    """A version that answers."""

    version: int
    decision: int
    """The decision that let it serve."""
    since: str
    """When that was decided; UTC, ISO 8601."""
    served: Served


class Champion:
    """What answers now, renewed by `follow`; `current` and `problem` may be read at any time."""

    def __init__(
        self,
        layout: Layout,
        say: Callable[[str], None],
        also: Callable[[Serving, int], None] | None = None,
    ) -> None:
        """`also` is called while it answers, with the registry's state and the version."""
        self.layout = layout
        self.say = say
        self._also = also
        self._now: Serving | None = None
        self.current: Loaded | None = None
        self.problem: str | None = "no version is loaded yet"
        """Why the version that should serve does not; None where it does."""
        self.log: list[HistoryRow] = []
        """The decisions since which another version serves, oldest first; empty until the registry
        was read."""
        self.users: Users | None = None
        self._split: float | None = None

    def follow(self, stop: threading.Event, seconds: float = SECONDS) -> None:
        """Read the registry until `stop` is set; an unexpected error ends one read only."""
        with ThreadPoolExecutor(1, "following") as reading:
            while not stop.is_set():
                before = self.current
                error = reading.submit(self.renew).exception()
                if error is not None:
                    self.problem = f"the registry was not read: {error!r}"
                    self.say(self.problem)
                if self.current is not before:
                    _keep_from_collection()
                stop.wait(seconds)

    def renew(self) -> None:
        """Load the champion of this moment, unless it is loaded."""
        wrong = self._trying(self._look)
        if wrong is not None and self.current is None:
            self._trying(self._from_copy)
        problem = self._trying(self._read_users) or wrong
        if problem is not None and problem != self.problem:
            self.say(problem)
        self.problem = problem
        if wrong is None and self.current and self._now and self._also:
            self._also(self._now, self.current.version)

    @staticmethod
    def _trying(step: Callable[[], str | None]) -> str | None:
        try:
            return step()
        except (UserError, OSError) as error:
            return " ".join(str(error).split())

    def _look(self) -> str | None:
        now = history.reading(self.layout)[1]
        self._now = now
        rows = [history.row(entry, in_force=True) for entry in now.line]
        self.log = [row for _, row in words.served(rows)]
        found = words.serving(rows)
        if found is None:
            self.current = None
            return "no version serves yet: let one be judged, 'recctl promote'"
        number, row = found
        if (wrong := _unsettled(now)) is not None:
            return wrong
        if self.current is not None and self.current.version == number:
            return None
        assert row.body is not None, "a decision that lets a version serve can be read"
        registry = history.open_registry(self.layout)
        contender = contenders.registered(registry, self.layout, number, now.line)
        loaded = Loaded(number, row.position, row.body.time, contender.answers)
        try_lists(loaded.served)
        self.current = loaded
        self.say(f"version {number} answers, by decision {row.position}")
        kept = {
            "version": number,
            "decision": row.position,
            "since": row.body.time,
            "digest": contender.digest,
            "files": registry.version(number).files,
        }
        with replacing(self._kept) as temporary:
            temporary.write_text(json.dumps(kept), encoding="utf-8")
        return None

    @property
    def _kept(self) -> Path:
        """Which version answered last, and its manifest: for a start without the registry."""
        return self.layout.state / "serving.json"

    def _from_copy(self) -> None:
        """Load the version that answered last from its copy here, if all its files are sound."""
        names = ["version", "decision", "since", "digest", "files"]
        kept = read_json(self._kept, "serve", names)
        folder = contenders.copy_of(self.layout, int(kept["version"]), str(kept["digest"]))
        served = sound(folder, kept["files"], kept["digest"])
        loaded = Loaded(kept["version"], kept["decision"], kept["since"], served)
        self.current = loaded
        self.say(f"version {loaded.version} answers, from its copy here")

    def _read_users(self) -> None:
        """The histories of the newest split; the last one's while another is made."""
        path = self.layout.sequences / "users.parquet"
        changed = path.stat().st_mtime if path.is_file() else self._split
        if changed != self._split:
            self.users = Users(self.layout.sequences)
            self._split = changed


def _unsettled(now: Serving) -> str | None:
    """Why the log's champion must not be followed at this moment."""
    if now.broken:
        return f"the decision log is damaged: {now.broken[0]}; see 'recctl verify'"
    if not now.agree:
        return "the alias 'champion' differs from the log of decisions: see 'recctl verify'"
    return None


def sound(folder: Path, files: manifest.Manifest, digest: str) -> Served:
    """The model of a version's folder; UserError where a file is another or it gives no lists."""
    package.check(folder, files)
    if package.content_digest(folder / package.RECOMMENDER) != digest:
        raise UserError(f"{folder} holds another model", "see 'recctl verify'")
    served = Served.load(answering(folder))
    try_lists(served)
    return served


def _keep_from_collection() -> None:
    """Leave the present objects out of garbage collections, which would halt all answers.

    With the imported libraries a full collection takes half a second, and busy services have one
    every few seconds. Those left out before stay out: models are in no cycles, so that one which
    was replaced is freed all the same.
    """
    gc.collect()
    gc.freeze()


def try_lists(served: Served) -> None:
    """Raise UserError unless the model gives lists for a newcomer, a short and a long history."""
    items = served.vocabulary.items
    rules = Rules(min(10, len(items)), served.leaves_out_seen(False))
    histories = [[], items[:1], [items[at % len(items)] for at in range(300)]]
    newcomer, short, _ = served.answer([(one, rules) for one in histories])
    if not newcomer or (not short and len(items) > 1):
        raise UserError("the model gives no recommendations", "see 'recctl verify'")
