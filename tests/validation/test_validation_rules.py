"""Each rule passes on a small good log and fails, alone, on a log made to break it."""

import gc
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recctl.data import engine
from recctl.errors import UserError
from recctl.files import write_json
from recctl.validation import checks, drift, facts
from recctl.validation.params import SEVERITIES, Counts, Range, ValidateParams
from recctl.validation.rules import rules
from recctl.validation.suite import Outcome, Suite

NOW = datetime(2024, 1, 10, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("weight", pa.float64()),
        ("row", pa.int64()),
    ]
)
PARAMS = ValidateParams(
    users=Counts(minimum=3, maximum=4),
    items=Counts(minimum=3, maximum=4),
    interactions=Counts(minimum=8, maximum=10),
    weight=Range(minimum=0.0, maximum=5.0),
    earliest_time="2024-01-01",
    short_history=3,
    maximum_short_share=0.25,
    maximum_quarantine_share=0.1,
    volume_drift=Range(minimum=0.9, maximum=1.5),
    volume_break=Range(minimum=0.5, maximum=2.0),
    popularity_drift=0.01,
    popularity_break=0.2,
)
DAY = pd.Timestamp("2024-01-01", tz="UTC")


def good() -> pd.DataFrame:
    """Nine interactions: users u1 to u3 with the items a, b, c on the first three days each."""
    return pd.DataFrame(
        [
            {"user_id": user, "item_id": item, "timestamp": DAY + pd.Timedelta(days=day)}
            for user in ("u1", "u2", "u3")
            for day, item in enumerate("abc")
        ]
    ).assign(weight=1.0, row=range(9))


def check(
    tmp_path: Path,
    table: pd.DataFrame,
    params: ValidateParams = PARAMS,
    before: pd.DataFrame | None = None,
    causes: dict[str, int] | None = None,
    change: Callable[[pa.Table], pa.Table] = lambda table: table,
) -> dict[str, Outcome]:
    """All outcomes by rule, of a log with `before` as the version before it."""
    folder, profiles = tmp_path / "interactions", tmp_path / "profiles"
    folder.mkdir()
    write_json(folder / "report.json", {"name": "films"})
    interactions = pa.Table.from_pandas(table, SCHEMA, preserve_index=False)
    pq.write_table(change(interactions), folder / "interactions.parquet")
    names = [cause for cause, rows in (causes or {}).items() for _ in range(rows)]
    pq.write_table(pa.table({"cause": pa.array(names, pa.string())}), folder / "quarantine.parquet")
    if before is not None:
        counts = before.groupby("item_id").size().rename("interactions").reset_index()
        drift.remember(drift.Profile("films", before["user_id"].nunique(), counts), profiles)
    with engine.duckdb(tmp_path / "state") as connection:
        findings = checks.check(
            facts.Log(folder), rules(params, NOW), Suite(), connection, profiles
        )
    return {outcome.rule.name: outcome for outcome in findings.outcomes}


def test_a_good_log_passes_every_rule(tmp_path):
    # The volume before was the same; one item moved a little, within the limits.
    before = good().assign(item_id=["a", "b", "c", "a", "b", "c", "a", "b", "b"])
    params = PARAMS.model_copy(update={"popularity_drift": 0.1})
    outcomes = check(tmp_path, good(), params, before=before)
    assert list(outcomes) == list(SEVERITIES)
    assert {outcome.verdict for outcome in outcomes.values()} == {"passed"}


def edit(row: int, column: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype({column: object}) if value is None else table
        table.loc[row, column] = value
        return table

    return change


def extra(**values: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: pd.concat(
        [table, table.iloc[[-1]].assign(row=9, **values)], ignore_index=True
    )


BREAKS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], float, int]] = {
    # rule: what breaks it, the number observed then, the sample rows shown
    "users-present": (edit(0, "user_id", None), 1, 1),
    "items-present": (edit(4, "item_id", None), 1, 1),
    "times-present": (edit(4, "timestamp", pd.NaT), 1, 1),
    "weights-present": (edit(4, "weight", float("nan")), 1, 1),
    "weights-in-range": (edit(4, "weight", 5.5), 1, 1),
    "times-not-early": (edit(0, "timestamp", DAY - pd.Timedelta(seconds=1)), 1, 1),
    # A tolerance of a day after NOW, the 10th.
    "times-not-future": (edit(2, "timestamp", pd.Timestamp("2024-01-11 00:01", tz="UTC")), 1, 1),
    "interactions-unique": (extra(), 2, 2),
    "user-count": (lambda table: table[table.user_id != "u3"], 2, 0),
    "item-count": (lambda table: table.assign(item_id=["a", "b"] * 4 + ["a"]), 2, 0),
    "interaction-count": (lambda table: table.iloc[:7], 7, 0),
    "short-histories": (lambda table: table.iloc[:8], 1 / 3, 1),
}


COUNTS = ("user-count", "item-count", "interaction-count")
"""A log too small for one of these may be too small for another or leave histories short."""


@pytest.mark.parametrize("rule", BREAKS)
def test_a_rule_fails_on_a_log_made_to_break_it(tmp_path, rule):
    breaking, observed, samples = BREAKS[rule]
    # One row taken out may leave a history short; only the rule about that is to notice.
    params = PARAMS.model_copy(update={"short_history": 3 if rule == "short-histories" else 1})
    outcomes = check(tmp_path, breaking(good()), params)
    assert outcomes[rule].observed == pytest.approx(observed)
    assert len(outcomes[rule].samples) == samples
    failed = [name for name in outcomes if outcomes[name].verdict == "failed"]
    assert rule in failed if rule in COUNTS else failed == [rule]


@pytest.mark.parametrize(
    ("rule", "table"),
    [
        ("user-count", extra(user_id="u4")),
        ("item-count", extra(item_id="d")),
        ("interaction-count", extra(item_id="d")),
    ],
)
def test_a_maximum_counts_as_a_limit(tmp_path, rule, table):
    params = PARAMS.model_copy(
        update={
            "users": Counts(minimum=1, maximum=3),
            "items": Counts(minimum=1, maximum=3),
            "interactions": Counts(minimum=1, maximum=9),
        }
    )
    assert check(tmp_path, table(good()), params)[rule].verdict == "failed"


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_weights_are_finite_whatever_the_range(tmp_path, value):
    params = PARAMS.model_copy(update={"weight": Range()})
    outcome = check(tmp_path, edit(4, "weight", value)(good()), params)["weights-in-range"]
    assert outcome.verdict == "failed"
    assert outcome.samples[0]["weight"] == str(value)  # for JSON has no infinity


def test_a_time_of_1970_is_fine_where_no_earliest_time_is_set(tmp_path):
    table = good()
    table["timestamp"] = pd.to_datetime(table["row"], unit="us", utc=True)
    outcomes = check(tmp_path, table, PARAMS.model_copy(update={"earliest_time": None}))
    assert "times-not-early" not in outcomes
    assert outcomes["times-not-future"].verdict == "passed"


def test_sample_rows_are_the_rows_that_fail(tmp_path):
    outcome = check(tmp_path, edit(4, "item_id", None)(good()))["items-present"]
    assert outcome.samples == [
        {
            "user_id": "u2",
            "item_id": None,
            "timestamp": "2024-01-02T00:00:00+00:00",
            "weight": 1.0,
            "row": 4,
        }
    ]


def test_a_log_seen_in_parts_is_checked_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "PART_ROWS", 2)
    table = good()
    table.loc[[1, 4, 8], "weight"] = [9.0, 9.0, 9.0]
    outcome = check(tmp_path, table)["weights-in-range"]
    assert outcome.observed == 3
    assert [row["row"] for row in outcome.samples] == [1, 4, 8]


def test_the_same_values_in_other_columns_are_no_duplicates(tmp_path):
    # The hash combines the columns; it must tell user 1 with item 2 from user 2 with item 1.
    table = good()
    table.loc[[0, 1], "user_id"] = ["1", "2"]
    table.loc[[0, 1], "item_id"] = ["2", "1"]
    table["timestamp"] = DAY
    table.loc[2:, "item_id"] = [f"i{row}" for row in range(2, 9)]
    assert check(tmp_path, table)["interactions-unique"].verdict == "passed"


def test_no_part_of_the_log_stays_in_memory():
    """Great Expectations keeps each part in a reference cycle, and `recctl` seldom collects."""
    alive, most = [], 0

    def parts():
        nonlocal most
        for first in range(0, 45, 9):
            part = good().set_index(pd.RangeIndex(first, first + 9))
            alive.append(weakref.ref(part["user_id"].array))
            yield part
            del part
            most = max(most, sum(one() is not None for one in alive))

    of_rows = [rule for rule in rules(PARAMS, NOW) if rule.frame == "interactions"]
    gc.disable()
    try:
        outcomes = Suite().check("interactions", of_rows, parts())
    finally:
        gc.enable()
    assert {outcome.verdict for outcome in outcomes} == {"passed"}
    assert most == 1


def test_a_large_hash_collision_is_compared_by_value():
    # All that Great Expectations is given are suspects; equal hashes alone are no failure.
    suspects = good().iloc[:4]
    rule = [rule for rule in rules(PARAMS, NOW) if rule.name == "interactions-unique"]
    assert Suite().check("duplicates", rule, [suspects])[0].verdict == "passed"


@pytest.mark.parametrize(
    ("short", "verdict"), [(0.3, "passed"), (0.29, "failed"), (1.0, "passed"), (0.0, "failed")]
)
def test_a_share_at_the_limit_passes(short, verdict):
    # Three of ten histories are short, and 1 - 0.3 must not become a little more than 0.7.
    users = pd.DataFrame({"user_id": list("abcdefghij"), "interactions": [1] * 3 + [9] * 7})
    params = PARAMS.model_copy(update={"maximum_short_share": short})
    rule = [rule for rule in rules(params, NOW) if rule.name == "short-histories"]
    assert Suite().check("users", rule, [users])[0].verdict == verdict


@pytest.mark.parametrize(
    ("causes", "observed", "verdict"),
    [
        ({}, 0, "passed"),
        ({"bad-time": 1}, 1 / 10, "passed"),
        ({"bad-time": 1, "no-item": 1}, 2 / 11, "failed"),
        ({"low-weight": 90, "duplicate": 1}, 1 / 100, "passed"),
    ],
)
def test_quarantine_counts_faults_and_not_what_was_asked_for(tmp_path, causes, observed, verdict):
    outcome = check(tmp_path, good(), causes=causes)["quarantine-share"]
    assert outcome.observed == pytest.approx(observed)
    assert outcome.verdict == verdict


@pytest.mark.parametrize(
    ("rows_before", "drifted", "broken"),
    [(8, "passed", "passed"), (5, "failed", "passed"), (4, "failed", "failed")],
)
def test_volume_drifts_then_breaks(tmp_path, rows_before, drifted, broken):
    outcomes = check(tmp_path, good(), before=good().iloc[:rows_before])
    assert outcomes["volume-drift"].observed == pytest.approx(9 / rows_before)
    assert (outcomes["volume-drift"].verdict, outcomes["volume-break"].verdict) == (drifted, broken)


@pytest.mark.parametrize(
    ("items_before", "drifted", "broken"),
    [
        ("abcabc", "passed", "passed"),
        ("abcabcaaa", "failed", "passed"),
        ("xyzxyzxyz", "failed", "failed"),
    ],
)
def test_popularity_drifts_then_breaks(tmp_path, items_before, drifted, broken):
    before = good().iloc[: len(items_before)].assign(item_id=list(items_before))
    outcomes = check(tmp_path, good(), before=before)
    assert outcomes["popularity-drift"].verdict == drifted
    assert outcomes["popularity-break"].verdict == broken


def test_no_item_in_common_is_one_bit_of_drift(tmp_path):
    outcome = check(tmp_path, good(), before=good().assign(item_id=list("xyz") * 3))
    assert outcome["popularity-break"].observed == pytest.approx(1)
    parts = [row["divergence"] for row in outcome["popularity-break"].samples]
    assert parts == pytest.approx([1 / 6] * 5)  # of six items, each a sixth


def test_a_first_version_has_nothing_to_differ_from(tmp_path):
    outcomes = check(tmp_path, good())
    for name in ("volume-drift", "volume-break", "popularity-drift", "popularity-break"):
        assert outcomes[name].verdict == "not checked"
        assert outcomes[name].note == "no previous version"


def typed(column: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        position = table.column_names.index(column)
        return table.set_column(position, column, pa.nulls(len(table), kind))

    return change


@pytest.mark.parametrize(
    ("change", "sample"),
    [
        (
            lambda table: table.drop_columns("weight"),
            {"column": "weight", "expected": "double", "found": "absent"},
        ),
        (
            lambda table: table.append_column("price", table["weight"]),
            {"column": "price", "expected": "absent", "found": "double"},
        ),
        (
            typed("user_id", pa.int64()),
            {"column": "user_id", "expected": "string", "found": "int64"},
        ),
        (
            typed("timestamp", pa.timestamp("us")),
            {"column": "timestamp", "expected": "timestamp[us, tz=UTC]", "found": "timestamp[us]"},
        ),
    ],
)
def test_a_wrong_schema_fails_and_nothing_else_is_checked(tmp_path, change, sample):
    outcomes = check(tmp_path, good(), change=change)
    assert outcomes["schema"].verdict == "failed"
    assert outcomes["schema"].samples == [sample]
    assert {outcomes[name].verdict for name in outcomes if name != "schema"} == {"not checked"}


def test_text_of_64_bit_offsets_is_text(tmp_path):
    def large(table: pa.Table) -> pa.Table:
        return table.set_column(0, "user_id", table["user_id"].cast(pa.large_string()))

    assert check(tmp_path, good(), change=large)["schema"].verdict == "passed"


def test_an_empty_log_fails_its_counts_and_does_not_crash(tmp_path):
    outcomes = check(tmp_path, good().iloc[:0], before=good())
    failed = [name for name in outcomes if outcomes[name].verdict == "failed"]
    assert failed == ["user-count", "item-count", "interaction-count"]
    assert outcomes["volume-break"].note == "no interactions to compare"


def test_an_expectation_that_cannot_be_evaluated_is_no_verdict():
    rule = [rule for rule in rules(PARAMS, NOW) if rule.name == "weights-in-range"]
    with pytest.raises(RuntimeError, match="rule weights-in-range"):
        Suite().check("interactions", rule, [pd.DataFrame({"other": [1]})])


def test_damaged_files_are_user_errors(tmp_path):
    folder = tmp_path / "interactions"
    folder.mkdir()
    for name in ("interactions.parquet", "quarantine.parquet"):
        with pytest.raises(UserError, match=f"no .*{name}; .*dvc repro ingest"):
            facts.schema(facts.Log(folder))
        (folder / name).write_bytes(b"PAR1 broken PAR1")
    with pytest.raises(UserError, match=r"is damaged .*; run 'dvc repro -f ingest'"):
        facts.schema(facts.Log(folder))


def test_ids_are_escaped_in_the_pages(tmp_path: Path) -> None:
    """Great Expectations puts values into its pages as they are."""
    names = ["<script>x()</script>", "<script>x()</script>", "a&b", None]
    rows = {"user_id": names, "item_id": "i", "timestamp": DAY, "weight": 1.0, "row": range(4)}
    [rule] = [one for one in rules(PARAMS, NOW) if one.name == "interactions-unique"]
    suite = Suite()
    [outcome] = suite.check("duplicates", [rule], [pd.DataFrame(rows)])
    assert outcome.samples[0]["user_id"] == names[0]
    suite.write_docs(tmp_path)
    pages = [page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")]
    [text] = [page for page in pages if "x()" in page]
    assert "&lt;script&gt;x()" in text
    assert "<script>x()" not in text
