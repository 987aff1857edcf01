"""Rows on their way to a journal: those that wait together are written together, by one thread."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from recctl.errors import circumstance
from recctl.journal import Journal, Row
from recctl.serve.batches import Overloaded

TICK = 1.0
"""Seconds between two looks at what waits."""
FINISHED = 60.0
"""Seconds after which rows are in a whole file ..."""
ROWS = 10_000
"""... or as soon as there are this many."""


class NotKept(Exception):
    """The rows could not be written."""


class Writer:
    """Writes what it is given; `problem` says why it cannot, None where it can."""

    def __init__(self, journal: Journal, most: int, say: Callable[[str], None]) -> None:
        self.journal = journal
        self._most = most
        self._say = say
        self._problems: dict[str, str] = {}
        self._waiting: list[tuple[list[Row], asyncio.Future[None]]] = []
        self._size = 0
        self._rows = 0
        self._since = -FINISHED  # what a killed process left is finished first
        self._thread = ThreadPoolExecutor(1, "writing")
        self._ending = False
        self._wake = asyncio.Event()

    @property
    def problem(self) -> str | None:
        """Why rows cannot be written now, or not be made whole files."""
        return next(iter(self._problems.values()), None)

    def put(self, rows: list[Row], size: int) -> asyncio.Future[None]:
        """Give it rows, whose result comes when they are on disk; it fails with NotKept.

        Raises Overloaded where rows of more than `most` sizes would wait.
        """
        if self._size + size > self._most:
            raise Overloaded
        self._size += size
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, written))
        return written

    def soon(self) -> None:
        """Write what waits now, not at the next tick."""
        self._wake.set()

    async def run(self) -> None:
        """Write until `end`, and then what is left."""
        ending = False
        while not ending:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK)
            self._wake.clear()
            ending = self._ending
            await self.step()
        await self._try(self.journal.finish)
        self._thread.shutdown()

    def end(self) -> None:
        """Let `run` end."""
        self._ending = True
        self._wake.set()

    async def step(self) -> None:
        """Write what waits; make a whole file where it is time."""
        if self._rows >= ROWS or time.monotonic() - self._since >= FINISHED:
            self._since = time.monotonic()
            self._rows = 0
            await self._try(self.journal.finish)
        waiting, self._waiting, self._size = self._waiting, [], 0
        if waiting:
            groups = [rows for rows, _ in waiting]
            self._rows += sum(map(len, groups))
            error = await self._try(self.write, groups)
            for _, written in waiting:
                if written.done():  # its client has left
                    continue
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(NotKept(error))

    def write(self, groups: list[list[Row]]) -> None:
        """Write groups of rows, in the thread."""
        self.journal.append(groups)

    async def _try(self, step: Callable[..., None], *given: Any) -> str | None:
        """Take a step in the thread; why it could not be taken."""
        loop = asyncio.get_running_loop()
        taking = loop.run_in_executor(self._thread, step, *given)
        await asyncio.wait([taking])
        error, name = taking.exception(), step.__name__
        if error is None:
            self._problems.pop(name, None)
            return None
        known = circumstance(error)
        text = f"{self.journal.folder.name} cannot be written: "
        text += known.what if known else repr(error)
        if self._problems.get(name) != text:
            self._say(text)
        self._problems[name] = text
        return text


@contextlib.asynccontextmanager
async def running(writer: Writer) -> AsyncIterator[None]:
    """Let a writer run as long as the block; at its end nothing waits any more."""
    await writer.step()
    task = asyncio.create_task(writer.run())
    try:
        yield
    finally:
        writer.end()
        await task
