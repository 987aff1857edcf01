"""However events are cut into files and windows, the interactions are the same; counts by hand."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import intake_cases as cases
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intake_cases import BASE, drop, ingested, set_params, take, text

from recctl.layout import Layout

QUICK = settings(max_examples=12, deadline=None)

users = st.sampled_from(["u1", "u2", "u3", ""])
items = st.sampled_from(["i1", "i2", ""])
times = st.sampled_from([0, 1, 2, 3, 4, 5, 60, "soon", ""])
events = st.tuples(users, items, times)


@pytest.fixture(scope="module", autouse=True)
def _without_dvc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        cases.without_dvc(patch)
        yield


def project(root: Path, sources: list[dict[str, Any]]) -> Layout:
    layout = cases.plain(root)
    set_params(root, sources)
    return layout


def cause(event: tuple[Any, Any, Any]) -> str | None:
    user, item, time = event
    if not user:
        return "no-user"
    if not item:
        return "no-item"
    if time == "":
        return "no-time"
    return None if isinstance(time, int) else "bad-time"


@QUICK
@given(st.lists(st.lists(events, max_size=12), min_size=1, max_size=4))
def test_counts_are_those_of_a_loop(files: list[list[tuple[Any, Any, Any]]]) -> None:
    with TemporaryDirectory() as folder:
        layout = project(Path(folder) / "p", [cases.FOLDER])
        for number, rows in enumerate(files):
            # No two files are equal: equal ones are recognised without reading.
            drop(layout, f"{number}.csv", text([("x", "x", 1000 + number), *rows]))
        taken = {batch.name: batch for batch in take(layout).batches}
        held: set[Any] = set(BASE)
        newest = max(time for _, _, time in BASE)
        for number, rows in enumerate(files):
            new = late = out_of_order = 0
            bad: dict[str, int] = {}
            above: int | None = None
            in_file: list[int] = []
            bad_before = {row for row in held if cause(row)}
            for row in [("x", "x", 1000 + number), *rows]:
                why = cause(row)
                if why:
                    if row not in bad_before:
                        bad[why] = bad.get(why, 0) + 1
                        held.add(row)
                    continue
                if row not in held:
                    held.add(row)
                    new += 1
                    in_file.append(row[2])
                    late += row[2] <= newest
                    out_of_order += above is not None and row[2] < above
                above = row[2]
            newest = max([*in_file, newest])
            batch = taken[f"{number}.csv"]
            assert (batch.rows, batch.new, batch.bad) == (len(rows) + 1, new, bad)
            assert batch.duplicates == batch.rows - new - sum(bad.values())
            assert (batch.late, batch.out_of_order) == (late, out_of_order)
            assert batch.last_us == max(in_file) * 10**6


@QUICK
@given(
    st.lists(events, min_size=1, max_size=25),
    st.lists(st.tuples(st.integers(0, 25), st.integers(1, 25)), max_size=5),
    st.sets(st.integers(1, 25), max_size=3),
    st.integers(0, 5),
)
def test_any_split_gives_the_interactions_of_one_file(
    log: list[tuple[Any, Any, Any]],
    windows: list[tuple[int, int]],
    stops: set[int],
    overlap: int,
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        whole = project(folder / "whole", [cases.FOLDER])
        (whole.data / "log.csv").write_text(text([*BASE, *log]))
        select = "select * from events where id > :watermark"
        query = {**cases.SHOP, "query": select, "overlap": float(overlap)}
        split = project(folder / "split", [cases.FOLDER, query])
        database = sqlite3.connect(split.root / "shop.db")
        database.execute(
            "create table events (id integer primary key, user_id, item_id, timestamp)"
        )
        done = 0
        for stop in sorted({*stops, len(log)}):
            rows = [(n + 1, *log[n]) for n in range(done, min(stop, len(log)))]
            database.executemany("insert into events values (?, ?, ?, ?)", rows)
            database.commit()
            done = max(done, min(stop, len(log)))
            for number, (first, size) in enumerate(windows):
                part = log[first : first + size]
                drop(split, f"{stop}-{number}.csv", text(part))
            take(split)
        take(split)
        database.close()
        expected, set_aside = ingested(whole)
        good, aside = ingested(split)
        assert good == expected
        assert {one for one in aside if one[0] != "duplicate"} <= set(set_aside)
        shutil.rmtree(split.root / "artifacts")
