"""Metrics: functions of the target's rank, and nothing else.

Every case has one target, so that each metric of a case follows from the target's rank r
(1 = first). With a cutoff k:

- `hr@k` (hit rate; also called recall@k): 1 where r <= k, else 0
- `ndcg@k`: 1 / log2(r + 1) where r <= k, else 0; the ideal gain is 1, as there is one target
- `mrr`, `mrr@k` (mean reciprocal rank): 1 / r where r <= k, else 0; `mrr` has no cutoff

A cutoff is at most the catalogue's size: a target that cannot be recommended has the rank
n_items + 1 and scores zero by every metric.
"""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from recctl.errors import unknown_name

VERSION = 1
"""Part of the fingerprint: raise it when the meaning of a metric, a rank or a tie changes."""

METRICS: dict[str, Callable[[NDArray[np.int64]], NDArray[np.float64]]] = {
    "hr": lambda ranks: np.ones(len(ranks)),
    "ndcg": lambda ranks: 1 / np.log2(ranks + 1),
    "mrr": lambda ranks: 1 / ranks,
}
"""The gain of a target within the cutoff, by its rank."""

_NAME = re.compile(r"(hr|ndcg)@([1-9]\d*)|(mrr)(?:@([1-9]\d*))?")


def parse(name: str) -> tuple[str, int | None]:
    """A metric's kind and cutoff; UserError for an unknown one.

    >>> parse("ndcg@10"), parse("mrr")
    (('ndcg', 10), ('mrr', None))
    """
    match = _NAME.fullmatch(name)
    if match is None:
        known = ["hr@10", "ndcg@10", "mrr", "mrr@10"]
        raise unknown_name("metric", name, [*known, "any other whole number after @"])
    kind, cutoff = match[1] or match[3], match[2] or match[4]
    return kind, int(cutoff) if cutoff else None


def per_case(name: str, ranks: NDArray[np.int64], n_items: int) -> NDArray[np.float64]:
    """The metric of every case, from the targets' ranks in a catalogue of n_items.

    >>> ranks = np.array([1, 3, 11, 21])  # the last cannot be recommended
    >>> per_case("hr@10", ranks, n_items=20)
    array([1., 1., 0., 0.])
    >>> per_case("ndcg@10", ranks, n_items=20)  # 1 / log2(2), 1 / log2(4)
    array([1. , 0.5, 0. , 0. ])
    >>> per_case("hr@50", ranks, n_items=20)
    array([1., 1., 1., 0.])
    """
    kind, cutoff = parse(name)
    within = ranks <= (n_items if cutoff is None else min(cutoff, n_items))
    return np.where(within, METRICS[kind](ranks), 0.0)


def means(names: list[str], ranks: NDArray[np.int64], n_items: int) -> dict[str, float]:
    """The mean of each metric over the cases.

    >>> means(["hr@1", "mrr"], np.array([1, 4]), n_items=20)
    {'hr@1': 0.5, 'mrr': 0.625}
    """
    return {name: float(per_case(name, ranks, n_items).mean()) for name in names}
