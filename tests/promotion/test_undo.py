"""A champion is rolled back where users are proven to prefer the one before."""

from pathlib import Path

import pytest
import tiny_project as tiny

from recctl import journal
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.undo import by_clicks

DAY = 24 * 3_600_000_000
USERS = 200


def show(layout: Layout, decision: int, liked: int) -> None:
    """Lists of versions 2 and 1, of which every user clicks the item that one of them gave."""
    lists = [
        (f"d{decision}-{user}", 20_000 * DAY, f"p{user}", 2, decision, ["a", "b"], 1, [2, 1])
        for user in range(USERS)
    ]
    item = "a" if liked == 2 else "b"
    journal.exposures(layout).append([lists])
    journal.events(layout).append([[("u", item, 20_000 * DAY, None, row[0]) for row in lists]])


@pytest.mark.usefixtures("quick_decisions")
def test_only_by_lists_since_the_champion_serves_and_only_where_it_is_asked_for(
    tmp_path: Path,
) -> None:
    layout = tiny.make(tmp_path / "project")
    tiny.promote(layout, 1e6)
    tiny.promote(layout, 10.0)
    tiny.set_params(layout.root, promotion={**tiny.POLICY, "rollback": True})
    assert by_clicks(layout, print) is None  # nothing was kept
    show(layout, decision=1, liked=1)
    assert by_clicks(layout, print) is None  # before version 2 served
    show(layout, decision=2, liked=1)
    tiny.set_params(layout.root, promotion=tiny.POLICY)
    assert by_clicks(layout, print) is None
    tiny.set_params(layout.root, promotion={**tiny.POLICY, "rollback": True})
    done = by_clicks(layout, print)
    assert done is not None
    assert done.record is not None
    assert done.record.sentence == (
        "rolled back from version 2 to version 1: by use: Version 1 is proven better than version "
        "2: of 200 users without a tie 200 preferred version 1 (100.0%, 95.2% to 100.0%)."
    )
    assert history.reading(layout)[1].aliases["champion"] == 1
    assert by_clicks(layout, print) is None  # none served before version 1
