"""A registered version that is compared with the champion in use, at no risk for the answers.

Its lists are interleaved with the champion's for a share of the users, or made in its shadow and
not shown. It is checked like a champion; where it cannot be loaded, fails or is late, the champion
answers alone.
"""

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion import confirmation, history, undo
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.ledger.aliases import Serving
from recctl.promotion.ledger.log import retired
from recctl.promotion.promote import Outcome
from recctl.promotion.trial import contenders, pseudonyms
from recctl.serve.champion import Loaded, try_lists
from recctl.serve.health import Health
from recctl.serve.params import Compared

LATE = 0.1
"""Seconds for which answers wait for its lists."""
AGAIN = 60.0
"""Seconds until a version that could not be loaded, or failed, is loaded again."""

T = TypeVar("T")


class Challenger:
    """What answers beside the champion, renewed by `follow`; `problem` says why nothing does."""

    def __init__(
        self,
        layout: Layout,
        say: Callable[[str], None],
        asked: Compared,
        undone: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        """`undone` gets what rolled the champion back."""
        self._layout = layout
        self._undone = undone
        self._health: Health | None = None
        self._say = say
        self._asked = asked
        self._key = pseudonyms.key(layout)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="challenging")
        self._rng = random.Random()
        self._step: Future[Any] | None = None
        self._tried = -AGAIN
        self.number = asked.version if isinstance(asked.version, int) else None
        """The version that was asked for, when the registry was read."""
        self.current: Loaded | None = None
        self.problem: str | None = None

    def follow(self, now: Serving, champion: int) -> None:
        """Load the version that was asked for, unless it is loaded or must not be shown.

        `champion` is the version that serves.
        """
        number = self._wanted(now)
        if number != self.number:
            self.current, self.number, self._tried = None, number, -AGAIN
        if number is None:
            what = "served before it"
            if self._asked.version == "provisional":
                what = "waits for its confirmation"
            self._stop(f"no version is compared with the champion: none {what}")
        elif number == champion:
            self._stop(f"version {number} is not compared: it is the champion")
        elif number in retired(now.line, promoting=True):
            self._stop(
                f"version {number} is not compared: it was trained on users who were forgotten"
            )
        elif self.current is None and time.monotonic() - self._tried >= AGAIN:
            self._tried = time.monotonic()
            try:
                self._load(number, now)
            except (UserError, OSError) as error:
                why = " ".join(str(error).split())
                self._stop(f"no version is compared with the champion: {why}")

        if self._health and self._health.pair == (champion, number):
            self._undo(self._health)

    def _wanted(self, now: Serving) -> int | None:
        """The number of the version that settings ask for."""
        asked = self._asked.version
        if isinstance(asked, int):
            return asked
        if asked == "previous":
            return now.wanted["previous"]
        rules = PromotionParams.load(self._layout.params).confirmation
        entry = confirmation.provisional(now.line, rules, None)
        record = entry.record if entry else None
        return record.challenger.version if record and record.challenger else None

    def compare(
        self, champion: int, number: int, seconds: float | None, others: float | None
    ) -> None:
        """Note the seconds that a pass took with the champion and with version `number`.

        None: it failed.
        """
        if self._health is None or self._health.pair != (champion, number):
            self._health = Health(champion, number)
        self._health.add(seconds, others)

    def _undo(self, health: Health) -> None:
        """Roll a champion back that is proven to fail or be slow where the one before does not."""
        if self._asked.version != "previous" or health.worse is None:
            return
        try:
            if undo.wanted(self._layout):
                done = undo.back(self._layout, *health.pair, health.worse, self._say)
                if done is not None:
                    self._undone(done)
        except UserError as error:
            self._say(f"the champion was not rolled back: {error}")
        self._health = None

    def _load(self, number: int, now: Serving) -> None:
        registry = history.open_registry(self._layout)
        served = contenders.registered(registry, self._layout, number, now.line).answers
        try_lists(served)
        self.current, self.problem = Loaded(number, 0, "", served), None
        self._say(f"version {number} is compared with the champion")

    def _stop(self, why: str) -> None:
        if self.problem != why:
            self._say(why)
        self.current, self.problem = None, why

    def takes(self, user: str) -> bool:
        """Whether a user gets lists of both: always the same answer for the same version."""
        number = int(pseudonyms.of(self._key, [f"{self.number} {user}"])[0][:8], 16)
        return number < self._asked.interleave * 2**32

    def shadows(self) -> bool:
        """Whether to repeat a pass of the champion, at random."""
        return self._rng.random() < self._asked.shadow

    def submit(self, step: Callable[[Loaded], T]) -> Future[T] | None:
        """Take a step with it in a thread; None where it is not loaded, or still at another one."""
        by = self.current
        if by is None or (self._step is not None and not self._step.done()):
            return None
        self._step = taken = self._thread.submit(step, by)
        return taken

    def result(self, taken: Future[T]) -> T | None:
        """What a step gave; None where it is late, or failed, which stops the challenger."""
        try:
            error = taken.exception(LATE)
        except TimeoutError:
            return None
        if error is None:
            return taken.result()
        self._tried = time.monotonic()
        self._stop(f"version {self.number} is not compared: it failed ({error!r})")
        return None
