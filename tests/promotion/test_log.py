"""Which entries are in force when writers race, and how tampering is found; no registry."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.promotion.ledger.log import (
    Entry,
    acknowledged,
    broken,
    canonical,
    digest,
    in_force,
    moving,
)


def entry(position: int, previous: str | None, moves: int | None = None, **more: object) -> Entry:
    """An entry that was honestly written, at a place in the log."""
    sets = None if moves is None else {"champion": moves, "previous": None, "best": moves}
    body = canonical({"previous": previous, "sets": sets, "at": position, **more})
    return Entry(position, body, digest(body), "pending")


def chain(length: int) -> list[Entry]:
    """A log without a race; every second entry moves something."""
    entries: list[Entry] = []
    for position in range(1, length + 1):
        before = entries[-1].claimed if entries else None
        entries.append(entry(position, before, moves=position if position % 2 else None))
    return entries


def positions(entries: list[Entry]) -> list[int]:
    return [one.position for one in entries]


def head_of(entries: list[Entry]) -> tuple[int, str]:
    return entries[-1].position, entries[-1].claimed


def test_of_two_that_saw_the_same_the_first_is_in_force() -> None:
    first = entry(1, None, moves=1)
    early, late = entry(2, first.claimed, moves=2), entry(3, first.claimed, moves=3)
    assert in_force([first, early, late]) == [first, early]
    after = entry(4, early.claimed)
    upon_the_void = entry(5, late.claimed)
    log = [first, early, late, after, upon_the_void]
    assert in_force(log) == [first, early, after]
    assert moving(in_force(log)) == [first, early]
    assert broken(log, head_of(log[:4])) == []


def test_a_request_carried_out_twice_counts_once() -> None:
    first = entry(1, None, moves=1)
    once = entry(2, first.claimed, moves=2)
    again = replace(once, position=3)
    late = replace(once, position=5)
    between = entry(4, once.claimed)
    assert in_force([first, once, again, between, late]) == [first, once, between]


@given(
    # Each writer reads the log, later writes upon what it read; a request may arrive twice.
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["read", "write", "twice"])), max_size=40)
)
def test_any_interleaving_of_writers_has_one_line_that_all_readers_see(
    events: list[tuple[int, str]],
) -> None:
    log: list[Entry] = []
    seen: dict[int, str | None] = {}
    fates: list[tuple[Entry, bool]] = []
    for number, (writer, event) in enumerate(events):
        line = in_force(log)
        head = line[-1].claimed if line else None
        if event == "read":
            seen[writer] = head
        elif writer in seen:
            new = entry(len(log) + 1, seen[writer], moves=number, nonce=number)
            log.append(new)
            if event == "twice":
                log.append(replace(new, position=len(log) + 1))
            fates.append((new, seen[writer] == head))
            # what was in force stays in force, whatever comes after it
            assert in_force(log)[: len(line)] == line
    line = in_force(log)
    assert [new for new, won in fates if won] == line
    assert in_force(reversed(log)) == line
    assert [one.names for one in line] == [None, *(one.claimed for one in line)][: len(line)]
    for named in {one.names for one in log}:
        assert sum(one.names == named for one in line) <= 1
    assert broken(log, head_of(line) if line else None) == []


def test_a_whole_log_is_not_broken() -> None:
    log = chain(5)
    assert positions(in_force(log)) == [1, 2, 3, 4, 5]
    assert broken(log, head_of(log)) == []
    assert broken(log, head_of(log[:3])) == []  # what is noted may lag behind
    assert broken(log, None) == []
    assert broken([], None) == []


@given(st.integers(2, 8), st.data())
def test_deleted_entries_are_named_and_the_rest_counts(length: int, data: st.DataObject) -> None:
    log = chain(length)
    gone = data.draw(st.sets(st.integers(1, length), min_size=1, max_size=length - 1))
    left = [one for one in log if one.position not in gone]
    said = broken(left, head_of(log))
    assert said
    assert positions(in_force(left)) == positions(left)
    reported = {
        number
        for number in gone
        for sentence in said
        for first, last in [_range(sentence)]
        if first <= number <= last
    }
    assert reported == gone


def _range(sentence: str) -> tuple[int, int]:
    numbers = [int(word.strip(":")) for word in sentence.split() if word.strip(":").isdecimal()]
    if sentence.startswith("the log has been cut off"):
        return numbers[0] + 1, numbers[-1]
    return numbers[0], numbers[-1]


def test_sentences() -> None:
    log = chain(6)
    assert broken([log[0], *log[4:]], None) == ["decisions 2 to 4 have been deleted"]
    assert broken([log[0], *log[2:]], None) == ["decision 2 has been deleted"]
    assert broken(log[:5], head_of(log)) == [
        "the log has been cut off after decision 5: decision 6 existed once"
    ]
    assert broken([], head_of(log)) == [
        "the log has been cut off after decision 0: decisions 1 to 6 existed once"
    ]
    replaced = [*log[:5], entry(6, log[4].claimed, other=True)]
    assert broken(replaced, head_of(log)) == ["decision 6 has been replaced by another one"]
    stranger = [*log, entry(7, "0" * 64)]
    assert positions(in_force(stranger)) == [1, 2, 3, 4, 5, 6]
    assert broken(stranger, head_of(log)) == [
        "decision 7 names one before it that is not in the log"
    ]


@pytest.mark.parametrize("place", [1, 3, 6])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("not JSON", "cannot be read"),
        ("[1, 2]", "cannot be read"),
        ("", "cannot be read"),
        ('{"previous":7,"sets":3}', "has been altered"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_an_altered_body_is_reported_and_voids_nothing_after_it(
    place: int, body: str, says: str
) -> None:
    log = chain(6)
    log[place - 1] = replace(log[place - 1], body=body)
    assert len(broken(log, head_of(log))) == 1
    assert says in broken(log, head_of(log))[0]
    assert f"decision {place} " in broken(log, head_of(log))[0]
    kept = positions(in_force(log))
    assert kept == [1, 2, 3, 4, 5, 6] if place < 6 else [1, 2, 3, 4, 5]


def test_an_altered_sentence_in_an_otherwise_good_body_is_reported() -> None:
    log = chain(3)
    content = {**json.loads(log[1].body), "sentence": "all was well"}
    log[1] = replace(log[1], body=canonical(content))
    assert broken(log, head_of(log)) == ["decision 2 has been altered since it was written"]
    assert positions(in_force(log)) == [1, 2, 3]


def test_an_entry_written_by_hand_is_reported() -> None:
    log = [*chain(2), Entry(3, "", "", "pending")]
    assert broken(log, None) == ["decision 3 was not written by recctl"]
    assert positions(in_force(log)) == [1, 2]


def test_what_people_have_acknowledged() -> None:
    log = chain(2)
    noted = entry(3, log[-1].claimed, acknowledges=["decision 1 has been deleted"])
    assert acknowledged([*log, noted]) == {"decision 1 has been deleted"}
    assert acknowledged(log) == set()
    assert acknowledged([entry(1, None, acknowledges="no list")]) == set()


def test_nan_never_enters_a_body() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"ndcg": float("nan")})
