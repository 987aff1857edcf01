"""Which decision's figure a champion is held against."""

from typing import Any

import pytest

from recctl.monitoring.watch import promoted_value
from recctl.promotion.ledger.log import Entry, canonical, digest


def entry(value: object, version: int = 1, **changes: Any) -> Entry:
    """A decision by which a version came to serve; `claimed` may be another's digest."""
    claimed = changes.pop("claimed", None)
    content = {
        "schema": 1,
        "verdict": "promoted",
        "sentence": "",
        "time": "",
        "who": "",
        "kind": "promotion",
        "registered_model": "tiny",
        "challenger": {"version": version, "digest": "", "model": "markov"},
        "sets": {"champion": version, "previous": None, "best": version},
        "users": 100,
        "means": {"full": {"challenger": {"ndcg@10": value}}},
        **changes,
    }
    body = canonical(content)
    return Entry(1, body, claimed or digest(body), "done")


ROLLBACK = {"kind": "rollback", "means": None}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ([], None),
        ([entry(0.25)], 0.25),
        ([entry(0.25), entry(0.5, version=2)], 0.25),
        ([entry(0.25), entry(0.5, version=2), entry(0.375)], 0.375),
        ([entry(0.25), entry(0.5, version=2), entry(None, **ROLLBACK)], 0.25),
        ([entry(0.25), entry(0.375, sets=None)], 0.25),  # judged again, and not promoted
        ([entry(0.25), entry(0.375, claimed="altered")], 0.25),
        ([entry(None)], None),
        ([entry(0.25, means=None)], None),
        ([entry(0.25, means={"full": {"champion": {"ndcg@10": 0.25}}})], None),
    ],
)
def test_it_is_that_of_the_newest_decision_that_made_it_champion(
    line: list[Entry], expected: float | None
) -> None:
    promoted = promoted_value(line, 1, "ndcg@10")
    assert (promoted and promoted[0]) == expected


def test_its_error_is_that_of_the_users_or_the_greatest_there_is() -> None:
    means = {"full": {"challenger": {"ndcg@10": 0.5}}}
    assert promoted_value([entry(0.5)], 1, "ndcg@10") == (0.5, 0.05)
    known = entry(0.5, means={**means, "deviations": {"challenger": {"ndcg@10": 0.3}}})
    assert promoted_value([known], 1, "ndcg@10") == pytest.approx((0.5, 0.03))
