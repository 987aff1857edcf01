"""What users were shown: a row for each list, or for a share of them, beside the answers.

And how a challenger would have answered: a row for each pass of the champion that it repeated.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter

from recctl import journal
from recctl.journal import Row
from recctl.layout import Layout
from recctl.promotion.trial import pseudonyms
from recctl.serve.batches import Answer, Overloaded
from recctl.serve.writer import Writer

WAITING = 100_000
"""Items of lists that may wait to be written; lists for which there is no room are dropped."""


class Exposures(Writer):
    """Never delays an answer: what cannot be kept is counted."""

    def __init__(
        self,
        layout: Layout,
        share: float,
        registry: CollectorRegistry,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(journal.exposures(layout), WAITING, say)
        self._share = share
        self._key = pseudonyms.key(layout)
        self._counted = Counter(
            "recctl_exposures", "Lists kept, and lists dropped.", ["what"], registry=registry
        )

    def add(self, request: str, user: str | None, answer: Answer) -> None:
        """Keep a list, if the request is in the share or the list interleaved."""
        other = answer.challenger
        if other is None and int(request[:8], 16) >= self._share * 2**32:  # a random number
            return
        named = None if user is None else pseudonyms.of(self._key, [user])[0]
        items = [one.item_id for one in answer.best]
        by, us = answer.by, time.time_ns() // 1000
        row = [request, us, named, by.version, by.decision, items]
        if other is not None:
            row += [other.version, answer.given_by]
        try:
            written = self.put([row], len(items))
        except Overloaded:
            self._counted.labels("dropped").inc()
        else:
            written.add_done_callback(self._count)

    def _count(self, written: asyncio.Future[None]) -> None:
        self._counted.labels("dropped" if written.exception() else "kept").inc()


class Shadows(Writer):
    """Figures of passes; those for which there is no room are dropped."""

    def __init__(self, layout: Layout, say: Callable[[str], None]) -> None:
        super().__init__(journal.shadows(layout), WAITING, say)

    def add(self, row: Row) -> None:
        """Keep a row of `journal.SHADOWS`."""
        with contextlib.suppress(Overloaded):
            self.put([row], 1).add_done_callback(asyncio.Future.exception)
