"""Tables as Prefect's pages show them whole."""

import in_prefect

from recctl.render.grid import Grid


def test_a_table_shows_every_cell_whole_and_literally() -> None:
    name = "a-name-of-two-hundred-letters-" * 7
    rows = [{"expectation": name, "observed": 0.25}, {"expectation": "a|b", "limit": None}]
    assert in_prefect.as_markdown(Grid.of(rows)).splitlines() == [
        "| expectation | observed | limit |",
        "| --- | --- | --- |",
        f"| {name} | 0.25 |  |",
        r"| a\|b |  |  |",
    ]


def test_a_table_that_is_too_wide_for_the_page_is_a_line_per_row() -> None:
    rows = [{"name": "a.csv", **{f"column {n}": n for n in range(7)}, "late": None}, {"name": "b"}]
    assert in_prefect.as_markdown(Grid.of(rows)).splitlines() == [
        "- name a.csv; " + "; ".join(f"column {n} {n}" for n in range(7)),
        "- name b",
    ]
