"""Requests that arrive while others are scored are scored together, in one pass of the model."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from recctl.errors import UserError
from recctl.recommend import Recommendation, Rules
from recctl.serve.champion import Champion, Loaded

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


@dataclass(frozen=True)
class _Waiting:
    history: Sequence[str]
    rules: Rules
    similar: bool
    """Items similar to the history's only one are asked for."""
    answer: asyncio.Future[Answer]


class Batches:
    """Answers requests with the champion of the moment in which they are scored."""

    def __init__(self, champion: Champion) -> None:
        self._champion = champion
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scoring")

    async def answer(self, history: Sequence[str], rules: Rules) -> Answer:
        """The list after a history (oldest first).

        Raises Overloaded, NotReady, and UserError for rules that the version cannot keep.
        """
        return await self._wait(history, rules)

    async def similar(self, item: str, k: int) -> Answer:
        """The items nearest to one; `unknown` holds it where the version does not know it.

        Raises as `answer`, and UserError where the version says nothing about pairs of items.
        """
        return await self._wait([item], Rules(k, filter_seen=False), similar=True)

    async def _wait(self, history: Sequence[str], rules: Rules, similar: bool = False) -> Answer:
        one = _Waiting(history, rules, similar, asyncio.get_running_loop().create_future())
        try:
            self._waiting.put_nowait(one)
        except asyncio.QueueFull:
            raise Overloaded from None
        return await one.answer

    async def run(self) -> None:
        """Score until cancelled; whoever still waits then is refused."""
        loop = asyncio.get_running_loop()
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

    def _score(self, batch: list[_Waiting]) -> list[Answer | BaseException]:
        """An answer or an error for each; one that cannot be answered leaves the others alone."""
        by = self._champion.current
        if by is None:
            return [NotReady() for _ in batch]
        found: list[Answer | BaseException] = [NotReady()] * len(batch)
        asked, unknown = {}, {}
        for place, one in enumerate(batch):
            known, unknown[place] = by.served.known(one.history)
            try:
                if one.similar:
                    best = by.served.similar(known[0], one.rules.k) if known else []
                    found[place] = Answer(by, best, unknown[place])
                else:
                    by.served.check(
                        filter_seen=one.rules.filter_seen, diversity=one.rules.diversity
                    )
                    asked[place] = known, one.rules
            except UserError as error:
                found[place] = error
        lists = by.served.answer(list(asked.values()))
        for place, best in zip(asked, lists, strict=True):
            found[place] = Answer(by, best, unknown[place])
        return found
