"""The service's status page: what answers, the recent requests, the versions that served."""

import os
from collections import defaultdict, deque
from datetime import UTC, datetime

import numpy as np

from recctl import __version__
from recctl.promotion.view import tables, words
from recctl.render import page
from recctl.render.grid import Cell, Grid, left, right
from recctl.render.numbers import count
from recctl.serve.champion import Champion
from recctl.serve.door import Passed

KEPT = 1000
"""Requests to each path that count as recent."""
VERSIONS = 20
"""Newest decisions that are shown."""
REFRESH = 10
"""Seconds after which a browser loads the page again."""


class Recent:
    """The last requests to each path, of this process."""

    def __init__(self, alone: bool = True) -> None:
        self._alone = alone
        self._seen: dict[str, deque[tuple[str, Passed]]] = defaultdict(lambda: deque(maxlen=KEPT))

    def add(self, one: Passed) -> None:
        """Keep a request that was answered now."""
        self._seen[one.path].append((_now(), one))

    def grid(self) -> Grid:
        """Number, errors and times by path."""
        names = ("requests", "4xx", "5xx", "p50 ms", "p99 ms", "since")
        whose = "" if self._alone else f" of process {os.getpid()}, one of several"
        note = f"The last {KEPT:,} to each path{whose}; 4xx was refused, 5xx failed; times in UTC."
        grid = Grid("requests", [*left("path"), *right(*names)], note)
        for path, seen in sorted(self._seen.items()):
            refused, failed = (sum(one.status // 100 == n for _, one in seen) for n in (4, 5))
            half, most = np.quantile(
                [one.seconds * 1000 for _, one in seen], [0.5, 0.99], method="inverted_cdf"
            )
            grid.add(
                *(path, count(len(seen)), count(refused)),
                Cell(count(failed), "bad" if failed else ""),
                *(f"{half:.1f}", f"{most:.1f}", words.when(seen[0][0])),
            )
        return grid


def html(champion: Champion, recent: Recent, other: str | None = None) -> str:
    """The page of this moment; `other` is a problem besides those of the champion."""
    now, problem = champion.current, champion.problem or other
    word = f"VERSION {now.version} SERVES" if now else "NONE SERVES"
    texts = [f"since {words.when(now.since)} UTC, by decision {now.decision}"] if now else []
    texts += [f"problem: {problem}"] if problem else []
    newest = champion.log[: -VERSIONS - 1 : -1]
    blocks: list[page.Block] = [
        page.heading("Recent requests"),
        recent.grid(),
        page.heading("Versions that served"),
        tables.log(newest) if newest else page.paragraph("none by the decisions that were read"),
        *(page.paragraph(note) for row in newest for note in words.row_notes(row)),
        page.paragraph(f"{words.when(_now())} UTC, recctl {__version__}"),
    ]
    return page.html(
        f"Recommendations of {champion.layout.root.name}",
        blocks,
        verdict=("rejected" if problem else "promoted", word, "; ".join(texts)),
        refresh=REFRESH,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()
