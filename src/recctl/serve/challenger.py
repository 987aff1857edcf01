"""A registered version that is compared with the champion in use, at no risk for the answers.

Its lists are interleaved with the champion's for a share of the users. It is checked like a
champion; where it cannot be loaded, fails or is late, the champion answers alone.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.ledger.log import Entry, retired
from recctl.promotion.trial import contenders, pseudonyms
from recctl.serve.champion import Loaded, try_lists
from recctl.serve.params import Interleave

LATE = 0.1
"""Seconds for which answers wait for its lists."""
AGAIN = 60.0
"""Seconds until a version that could not be loaded, or failed, is loaded again."""

T = TypeVar("T")


class Challenger:
    """What is interleaved now, renewed by `follow`; `problem` says why nothing is."""

    def __init__(self, layout: Layout, say: Callable[[str], None], asked: Interleave) -> None:
        self._layout = layout
        self._say = say
        self._asked = asked
        self._key = pseudonyms.key(layout)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="challenging")
        self._busy: Future[Any] | None = None
        self._tried = -AGAIN
        self.current: Loaded | None = None
        self.problem: str | None = None

    def follow(self, line: Sequence[Entry], champion: int) -> None:
        """Load the version that was asked for, unless it is loaded or must not be shown.

        `line` is the log's entries in force, `champion` the version that serves.
        """
        number = self._asked.version
        if number == champion:
            self._stop(f"version {number} is not interleaved: it is the champion")
        elif number in retired(line, promoting=True):
            self._stop(
                f"version {number} is not interleaved: it was trained on users who were forgotten"
            )
        elif self.current is None and time.monotonic() - self._tried >= AGAIN:
            self._tried = time.monotonic()
            try:
                registry = history.open_registry(self._layout)
                served = contenders.registered(registry, self._layout, number, line).served
                try_lists(served)
            except (UserError, OSError) as error:
                self._stop(f"no version is interleaved: {' '.join(str(error).split())}")
                return
            self.current, self.problem = Loaded(number, 0, "", served), None
            self._say(f"version {number} is interleaved")

    def _stop(self, why: str) -> None:
        if self.problem != why:
            self._say(why)
        self.current, self.problem = None, why

    def takes(self, user: str) -> bool:
        """Whether a user gets lists of both: always the same answer for the same version."""
        number = int(pseudonyms.of(self._key, [f"{self._asked.version} {user}"])[0][:8], 16)
        return number < self._asked.share * 2**32

    def begin(self, step: Callable[[Loaded], T]) -> Callable[[], T | None]:
        """Take a step with it in a thread; what is returned gives the result.

        None where it answers nothing, is still at an earlier step, fails, or is late.
        """
        by = self.current
        if by is None or (self._busy is not None and not self._busy.done()):
            return lambda: None
        self._busy = taken = self._thread.submit(step, by)

        def result() -> T | None:
            try:
                error = taken.exception(LATE)
            except TimeoutError:
                return None
            if error is None:
                return taken.result()
            self._tried = time.monotonic()
            self._stop(f"version {by.version} is not interleaved: it failed ({error!r})")
            return None

        return result
