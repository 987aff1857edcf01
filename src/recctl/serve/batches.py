"""Requests that arrive while others are scored are scored together, in one pass of the model."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from recctl.errors import UserError
from recctl.journal import Row
from recctl.recommend import Recommendation, Rules
from recctl.serve.challenger import Challenger
from recctl.serve.champion import Champion, Loaded
from recctl.serve.interleave import team_draft

WAITING = 1024
"""Requests that may wait; one more is refused."""
TOGETHER = 256
"""Requests that are scored at once."""


class Overloaded(Exception):
    """More requests wait than can be answered soon."""


class NotReady(Exception):
    """No version is loaded."""


@dataclass(frozen=True)
class Answer:
    """A list, of recommendations or of similar items, and the version that made it."""

    by: Loaded
    best: list[Recommendation]
    unknown: list[str]
    """Items of the history that the version does not know; it was answered without them."""
    challenger: Loaded | None = None
    """The version whose list was interleaved with this one's ..."""
    given_by: list[int | None] | None = None
    """... and for each item the version that gave it, None where both did."""


Scored = Answer | BaseException
_Repeated = tuple[float, list[Scored]]
"""Seconds, and what came of each request."""


@dataclass(frozen=True)
class _Waiting:
    history: Sequence[str]
    rules: Rules
    similar: bool
    """Items similar to the history's only one are asked for."""
    interleaved: bool
    answer: asyncio.Future[Answer]


class Batches:
    """Answers requests with the champion of the moment in which they are scored."""

    def __init__(
        self,
        champion: Champion,
        challenger: Challenger | None = None,
        keep: Callable[[Row], None] = lambda row: None,
    ) -> None:
        """`keep` gets a row of `journal.SHADOWS` for each pass that the challenger repeated."""
        self._champion = champion
        self._challenger = challenger
        self._keep = keep
        self._rng = random.Random()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scoring")

    async def answer(
        self, history: Sequence[str], rules: Rules, interleaved: bool = False
    ) -> Answer:
        """The list after a history (oldest first); interleaved if the challenger answers as well.

        Raises Overloaded, NotReady, and UserError for rules that the version cannot keep.
        """
        return await self._wait(history, rules, interleaved=interleaved)

    async def similar(self, item: str, k: int) -> Answer:
        """The items nearest to one; `unknown` holds it where the version does not know it.

        Raises as `answer`, and UserError where the version says nothing about pairs of items.
        """
        return await self._wait([item], Rules(k, filter_seen=False), similar=True)

    async def _wait(
        self,
        history: Sequence[str],
        rules: Rules,
        similar: bool = False,
        interleaved: bool = False,
    ) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        one = _Waiting(history, rules, similar, interleaved, answer)
        try:
            self._waiting.put_nowait(one)
        except asyncio.QueueFull:
            raise Overloaded from None
        return await one.answer

    async def run(self) -> None:
        """Score until cancelled; whoever still waits then is refused."""
        self._loop = loop = asyncio.get_running_loop()
        batch: list[_Waiting] = []
        try:
            while True:
                batch = [await self._waiting.get()]
                while len(batch) < TOGETHER and not self._waiting.empty():
                    batch.append(self._waiting.get_nowait())
                batch = [one for one in batch if not one.answer.done()]  # its client has left
                scoring = loop.run_in_executor(self._thread, self._score, batch)
                await asyncio.wait([scoring])
                error = scoring.exception()  # the next batch is scored all the same
                found = scoring.result() if error is None else [error] * len(batch)
                for one, answer in zip(batch, found, strict=True):
                    if one.answer.done():
                        continue
                    if isinstance(answer, Answer):
                        one.answer.set_result(answer)
                    else:
                        one.answer.set_exception(answer)
        finally:
            while not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(NotReady())
            self._thread.shutdown(wait=False)

    def _score(self, batch: list[_Waiting]) -> list[Scored]:
        """An answer or an error for each; one that cannot be answered leaves the others alone."""
        by = self._champion.current
        if by is None:
            return [NotReady() for _ in batch]
        began = time.perf_counter()
        other = self._challenger
        both = [place for place, one in enumerate(batch) if one.interleaved]
        theirs = None
        if other is not None and both:
            theirs = other.submit(lambda loaded: _scored(loaded, [batch[at] for at in both]))
        try:
            found = _scored(by, batch)
        except Exception:  # raised again, once it is noted whether only this version fails
            if other is not None:
                _after_failure(other, by, theirs or other.submit(lambda own: _scored(own, batch)))
            raise
        seconds = time.perf_counter() - began
        if other is not None and theirs is not None:
            lists = other.result(theirs)
            for place, one in zip(both, lists or [], strict=False):
                found[place] = interleave(found[place], one, batch[place].rules.k, self._rng)
        elif other is not None and other.shadows():
            repeated = other.submit(lambda loaded: _timed(loaded, batch))
            if repeated is not None:
                row = [time.time_ns() // 1000, by.version, other.number, seconds]
                repeated.add_done_callback(lambda done: self._compare(row, found, done, other))
        return found

    def _compare(
        self,
        row: list[Any],
        found: list[Scored],
        repeated: Future[_Repeated],
        other: Challenger,
    ) -> None:
        """Keep how the challenger repeated a pass."""
        failed = repeated.exception() is not None
        seconds, theirs = (None, []) if failed else repeated.result()
        other.compare(row[1], row[2], row[3], seconds)
        lists = [one for one in found if isinstance(one, Answer)]
        shares = [
            overlap(one, other)
            for one, other in zip(found, theirs, strict=False)
            if isinstance(one, Answer) and isinstance(other, Answer)
        ]
        row += [seconds, len(lists), len(lists) - len(shares), sum(shares)]
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._keep, row)


def _after_failure(other: Challenger, by: Loaded, repeated: Future[Any] | None) -> None:
    """Count a pass in which the champion failed, once the challenger has tried it."""
    number = other.number
    if repeated is not None and number is not None:
        repeated.add_done_callback(
            lambda done: other.compare(by.version, number, None, None if done.exception() else 0.0)
        )


def _timed(by: Loaded, batch: list[_Waiting]) -> _Repeated:
    began = time.perf_counter()
    found = _scored(by, batch)
    return time.perf_counter() - began, found


def overlap(one: Answer, other: Answer) -> float:
    """The share of the first list's items that the other has; 1 where it has no item."""
    items = {best.item_id for best in one.best}
    return len(items & {best.item_id for best in other.best}) / len(items) if items else 1.0


def _scored(by: Loaded, batch: list[_Waiting]) -> list[Scored]:
    found: list[Scored] = [NotReady()] * len(batch)
    asked, unknown = {}, {}
    for place, one in enumerate(batch):
        known, unknown[place] = by.served.known(one.history)
        try:
            if one.similar:
                best = by.served.similar(known[0], one.rules.k) if known else []
                found[place] = Answer(by, best, unknown[place])
            else:
                by.served.check(filter_seen=one.rules.filter_seen, diversity=one.rules.diversity)
                asked[place] = known, one.rules
        except UserError as error:
            found[place] = error
    lists = by.served.answer(list(asked.values()))
    for place, best in zip(asked, lists, strict=True):
        found[place] = Answer(by, best, unknown[place])
    return found


def interleave(one: Scored, other: Scored, k: int, rng: random.Random) -> Scored:
    """The champion's answer with items of the challenger's; scores are of who gave the item.

    The champion's alone where one of them is an error, or the challenger has become the champion.
    """
    if not isinstance(one, Answer) or not isinstance(other, Answer):
        return one
    by, challenger = one.by, other.by
    if by.version == challenger.version:
        return one
    lists = [{best.item_id: best for best in answer.best} for answer in (one, other)]
    drafted = team_draft([*lists[0]], [*lists[1]], k, rng)
    best = [
        replace(lists[team or 0][item], rank=rank)
        for rank, (item, team) in enumerate(drafted, start=1)
    ]
    versions = {None: None, 0: by.version, 1: challenger.version}
    return Answer(by, best, one.unknown, challenger, [versions[team] for _, team in drafted])
