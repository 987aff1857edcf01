import json
import tempfile
from dataclasses import replace
from pathlib import Path

import leak_cases
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from leak_cases import NOON, Event, log

from recctl.errors import UserError
from recctl.promotion.trial import training_record
from recctl.promotion.trial.training_record import ABOUT, TENSORS, TrainingRecord, leaking
from recctl.sequences.store import SequenceData

YESTERDAY = log("u: a b c d e, v: b c a d e f, w: c c a b")


class Days:
    """Yesterday's training against today's test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def trained(self, events: list[Event], protocol: str = "leave-one-out", **more: object):
        data = leak_cases.split(self.folder / "yesterday", events, protocol, **more)
        return TrainingRecord.of(data, {})

    def leaks(
        self, record: TrainingRecord, events: list[Event], protocol: str = "leave-one-out"
    ) -> dict[str, bool]:
        """By user, those with a test target."""
        data = leak_cases.split(self.folder / "today", events, protocol)
        users = [data.user_ids[user] for user in data.cases("test").users]
        return dict(zip(users, leaking(record, data).tolist(), strict=True))


@pytest.fixture
def days(tmp_path: Path) -> Days:
    return Days(tmp_path)


def test_a_model_does_not_leak_on_its_own_split(days: Days) -> None:
    record = days.trained(YESTERDAY)
    assert days.leaks(record, YESTERDAY) == {"u": False, "v": False, "w": False}


def test_leave_one_out_tomorrow_moves_every_target_and_leaks_none(days: Days) -> None:
    record = days.trained(YESTERDAY)
    today = [*YESTERDAY, *log("u: f, v: g h, w: a", since=NOON + 10**9)]
    assert days.leaks(record, today) == {"u": False, "v": False, "w": False}


def test_a_user_the_model_never_saw_cannot_leak(days: Days) -> None:
    record = days.trained(YESTERDAY)
    today = [*YESTERDAY, *log("new: a b c d", since=NOON - 10**9)]
    assert days.leaks(record, today)["new"] is False


def test_deleted_interactions_leak_once_the_target_falls_into_training(days: Days) -> None:
    """u trained on a b c of a b c d e."""
    record = days.trained(log("u: a b c d e, v: a b c d e"))
    # Without e the target is d: validation's. Without d and e it is c, the last of training.
    assert days.leaks(record, log("u: a b c d, v: a b c d e"))["u"] is False
    assert days.leaks(record, log("u: a b c, v: a b c d e"))["u"] is True


def test_a_user_who_shrank_below_training_leaks_by_time(days: Days) -> None:
    """u trained on four of six; only three of the four are left."""
    record = days.trained(log("u: a b c d e f, v: a b c d e"))
    assert days.leaks(record, log("u: a b c, v: a b c d e"))["u"] is True


def test_a_log_that_forgets_its_oldest_interactions_is_judged_by_time(days: Days) -> None:
    """A window of retention: no prefix fits, but the target is later than all of training."""
    record = days.trained(YESTERDAY)
    assert days.leaks(record, YESTERDAY[2:]) == {"u": False, "v": False, "w": False}


def test_a_late_interaction_before_the_target_leaks_nothing(days: Days) -> None:
    record = days.trained(YESTERDAY)
    late = [Event("u", "f", NOON + 500_000), *YESTERDAY]
    assert days.leaks(record, late)["u"] is False


def test_a_model_of_leave_one_out_leaks_on_a_global_cut(days: Days) -> None:
    """Training held all but the last two of each; the cut (5 of 13 before it) is inside it."""
    events = log(
        "x: a, u: a, v: b, u: b, v: c,"  # before the cut
        "u: c, v: a, u: d, v: d, u: e, v: e, x: b, x: c"
    )
    record = days.trained(events)
    data = leak_cases.split(
        days.folder / "cut", events, "global-time", test_share=0.65, validation_share=0.3
    )
    wanted = [(target.user, target.item) for target in leak_cases.targets(data, events)]
    assert wanted == [("u", "c"), ("v", "a"), ("x", "b")]
    assert leaking(record, data).tolist() == [True, True, False]


def test_a_model_of_a_global_cut_leaks_where_all_of_a_user_lay_before_it(days: Days) -> None:
    events = [
        *log("early: a b c d", since=NOON),
        *log("late: a b, other: b c", since=NOON + 10**8),
        *log("late: c d e, other: d", since=NOON + 10**9),
    ]
    cut = "2023-11-14T22:20:00"  # 400 seconds after NOON
    record = days.trained(events, "global-time", test_from=cut, validation_share=0.01)
    assert days.leaks(record, events) == {"early": True, "late": False, "other": False}


def test_times_all_moved_do_not_hide_a_leak(days: Days) -> None:
    """A corrected time zone: the same items an hour later, the target among those trained on."""
    record = days.trained(log("u: a b c d e, v: a b c d e"))
    moved = log("u: a b c, v: a b c d e", since=NOON + 3600 * 10**6)
    assert days.leaks(record, moved)["u"] is True


def test_a_repeated_item_put_before_is_distinguished_by_its_time(days: Days) -> None:
    """Training was a a a; an older a came late and pushed the last of them to the target's place.

    Items alone are the same three; only times show that the target was trained on.
    """
    record = days.trained(log("u: a a a b c, v: a b c d e"))
    today = [
        Event("u", "a", NOON - 1),
        *log("u: a a a"),
        *log("v: a b c d e", since=NOON + 5 * 10**6),
    ]
    data = leak_cases.split(days.folder / "today", today)
    assert leak_cases.targets(data, today)[0] == Event("u", "a", NOON + 2_000_000)
    assert bool(leaking(record, data)[0]) is True


def test_equal_times_in_another_order_count_as_a_leak(days: Days) -> None:
    """Rows of one second sorted again: the prefix differs and the times are equal."""
    same = [Event("u", item, NOON) for item in "abcde"]
    others = log("v: a b c d e", since=NOON)
    record = days.trained([*same, *others])
    assert days.leaks(record, [*same, *others])["u"] is False
    assert days.leaks(record, [*same[::-1], *others])["u"] is True


def test_equal_times_are_distinguished_where_the_rest_of_the_log_changed(days: Days) -> None:
    """u trained on a, then b c of a basket b c d e at one time. Then a is forgotten."""
    basket = [Event("u", item, NOON + 10**9) for item in "bcde"]
    others = log("v: a b c d e")
    first = Event("u", "a", NOON)
    record = days.trained([first, *basket, *others])
    # The target e follows b and c, which are still the first of their time.
    assert days.leaks(record, [*basket, *others])["u"] is False
    # Without e and d it is c itself.
    assert days.leaks(record, [*basket[:2], Event("u", "a", NOON - 9), *others])["u"] is True
    # Without b the first of that time are others: not known, so a leak.
    assert days.leaks(record, [*basket[1:], *others])["u"] is True


def test_another_core_is_judged_by_time(days: Days) -> None:
    """z is too rare for today's core of items; without it no prefix fits, and time decides."""
    events = log("u: a z b c d, v: a b c d a, w: b a c d b")
    record = days.trained(events)
    data = leak_cases.split(days.folder / "core", events, minimum_item_interactions=2)
    assert len(data.items) == len(events) - 1
    assert leaking(record, data).tolist() == [False, False, False]


def test_an_item_without_a_name_today_makes_the_prefix_unlike(days: Days) -> None:
    """x was trained on; today nobody trains on it, so its place in u's history has no id."""
    record = days.trained(log("u: a b x c d, v: a b c d e"))
    data = leak_cases.split(days.folder / "today", log("u: a b x c, v: a b c d e"))
    assert data.items[2] == -1
    hidden = replace(data, times=np.asarray(data.times) - NOON)  # without times nothing else tells
    assert leaking(record, hidden).tolist() == [True, False]


def test_row_numbers_for_times_are_recognised_by_their_size(days: Days) -> None:
    rows = leak_cases.split(days.folder / "rows", log("u: a b c, v: a b c", since=0, step=1))
    before = leak_cases.split(days.folder / "old", log("u: a b c, v: a b c", since=-(10**15)))
    real = leak_cases.split(days.folder / "real", log("u: a b c, v: a b c"))
    assert [data.real_times for data in (rows, before, real)] == [False, True, True]


def test_without_times_appended_sequences_do_not_leak_and_others_do(days: Days) -> None:
    """Row numbers move for everyone when a line grows; items in their order do not."""
    record = days.trained(log("u: a b c d e, v: b c a d e", since=0, step=1))
    grown = log("u: a b c d e f, v: b c a d e", since=0, step=1)
    assert days.leaks(record, grown) == {"u": False, "v": False}
    put_before = log("u: f a b c d e, v: b c a d e", since=0, step=1)
    assert days.leaks(record, put_before) == {"u": True, "v": False}


def test_two_users_of_one_hash_count_as_a_leak(days: Days) -> None:
    record = days.trained(YESTERDAY)
    u = training_record.user_hashes(["u"])[0]
    doubled = replace(
        record, **{name: np.repeat(getattr(record, name), 2) for name in training_record._TYPES}
    )
    assert np.count_nonzero(doubled.users == u) == 2
    assert days.leaks(doubled, YESTERDAY) == {"u": True, "v": True, "w": True}


# --- the hashes, against plain integers --------------------------------------------------------


def plain_hash(items: list[str], times: list[int] | None) -> int:
    """The formula of docs/decisions/0004-leaks.md with Python's own integers."""
    import hashlib

    mask = 2**64 - 1

    def mixed(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    total = 0
    for place, item in enumerate(items, start=1):
        digest = hashlib.blake2b(item.encode(), digest_size=8, person=b"recctl-item").digest()
        term = mixed((int.from_bytes(digest, "little") + place * 0x9E3779B97F4A7C15) & mask)
        if times is not None:
            term = mixed(term ^ mixed(times[place - 1] & mask))
        total = (total + term) & mask
    return total


def test_the_hashes_are_those_of_plain_integers(days: Days) -> None:
    record = days.trained(YESTERDAY)
    by_user = {
        user: row
        for user in "uvw"
        for row in [record.users.tolist().index(int(training_record.user_hashes([user])[0]))]
    }
    for user, row in by_user.items():
        mine = [event for event in YESTERDAY if event.user == user][:-2]
        items, times = [event.item for event in mine], [event.time for event in mine]
        assert record.counts[row] == len(mine)
        assert record.last_times[row] == times[-1]
        assert int(record.items[row]) == plain_hash(items, None)
        assert int(record.events[row]) == plain_hash(items, times)


@pytest.mark.parametrize("block", [1, 3, 5, 1000])
def test_blocks_do_not_change_the_hashes(
    days: Days, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    whole = days.trained(YESTERDAY)
    monkeypatch.setattr(training_record, "_BLOCK", block)
    again = days.trained(YESTERDAY)
    assert again.items.tolist() == whole.items.tolist()
    assert again.events.tolist() == whole.events.tolist()


def test_order_place_and_repetition_change_the_hash() -> None:
    kinds = ["a b", "b a", "a", "a a", "a a a", "a b a", "b a a"]
    assert len({plain_hash(one.split(), None) for one in kinds}) == len(kinds)


# --- never silent: random logs, any change, any protocol ---------------------------------------

EVENT = st.builds(
    lambda user, item, at: Event(user, item, NOON + at * 1_000_000),
    st.sampled_from("uvw"), st.sampled_from("abc"), st.integers(0, 8),
)  # fmt: skip
PROTOCOL = st.sampled_from(["leave-one-out", "global-time"])
MORE = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


def attempt(folder: Path, events: list[Event], protocol: str) -> SequenceData:
    """The split, or this example given up where nothing is left to train or test on."""
    try:
        return leak_cases.split(folder, events, protocol, test_share=0.4, validation_share=0.3)
    except UserError:
        assume(False)
        raise AssertionError from None


@MORE
@given(
    before=st.lists(EVENT, min_size=6, max_size=25, unique=True),
    added=st.lists(EVENT, max_size=8, unique=True),
    deleted=st.sets(st.integers(0, 24), max_size=8),
    shuffle=st.randoms(use_true_random=False),
    shuffled=st.booleans(),
    protocols=st.tuples(PROTOCOL, PROTOCOL),
)
def test_a_target_that_was_trained_on_is_never_called_clean(
    before, added, deleted, shuffle, shuffled, protocols
) -> None:
    kept = [event for n, event in enumerate(before) if n not in deleted]
    after = [*kept, *(event for event in added if event not in before)]
    if shuffled:
        shuffle.shuffle(after)
    with tempfile.TemporaryDirectory() as folder:
        yesterday = attempt(Path(folder) / "yesterday", before, protocols[0])
        today = attempt(Path(folder) / "today", after, protocols[1])
        leaks = leaking(TrainingRecord.of(yesterday, {}), today)
        trained = leak_cases.training(yesterday, before)
        wanted = leak_cases.targets(today, after)
    for target, found in zip(wanted, leaks.tolist(), strict=True):
        assert found or target not in trained


@MORE
@given(
    before=st.lists(EVENT, min_size=6, max_size=25, unique=True),
    added=st.lists(EVENT, max_size=8, unique=True),
    protocols=st.tuples(PROTOCOL, PROTOCOL),
    real=st.booleans(),
)
def test_on_a_log_that_only_grows_the_check_is_exact(before, added, protocols, real) -> None:
    last = {user: max((e.time for e in before if e.user == user), default=0) for user in "uvw"}
    later = [event for event in added if event.time >= last[event.user] and event not in before]
    if real:
        after = [*before, *later]
    else:  # lines of items: what stands behind is later, and rows are renumbered
        before = [event for user in "uvw" for event in before if event.user == user]
        after = [event for user in "uvw" for event in [*before, *later] if event.user == user]
        before = [Event(e.user, e.item, row) for row, e in enumerate(before)]
        after = [Event(e.user, e.item, row) for row, e in enumerate(after)]
    with tempfile.TemporaryDirectory() as folder:
        yesterday = attempt(Path(folder) / "yesterday", before, protocols[0])
        today = attempt(Path(folder) / "today", after, protocols[1])
        leaks = leaking(TrainingRecord.of(yesterday, {}), today)
    expected = []
    for user in np.flatnonzero(today.test >= 0).tolist():
        place = int(today.test[user] - today.offsets[user])
        name = today.user_ids[user]
        known = yesterday.user_ids.index(name) if name in yesterday.user_ids else None
        count = 0 if known is None else int(yesterday.train_end[known] - yesterday.offsets[known])
        expected.append(place < count)
    # A cold item, which has no id, may stand in a prefix: then yes is right whatever the place.
    for found, wanted, user in zip(
        leaks.tolist(), expected, np.flatnonzero(today.test >= 0).tolist(), strict=True
    ):
        prefix = today.items[today.offsets[user] : today.test[user]]
        assert found == wanted or (found and -1 in prefix)
    if protocols == ("leave-one-out", "leave-one-out"):
        assert not any(expected)


# --- files -------------------------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded(days: Days, tmp_path: Path) -> None:
    record = days.trained(YESTERDAY)
    record.save(tmp_path / "a")
    record.save(tmp_path / "b")
    assert (tmp_path / "a" / TENSORS).read_bytes() == (tmp_path / "b" / TENSORS).read_bytes()
    again = TrainingRecord.load(tmp_path / "a")
    assert again.about == record.about
    assert days.leaks(again, YESTERDAY[:-1]) == days.leaks(record, YESTERDAY[:-1])


def test_the_record_names_nobody(days: Days, tmp_path: Path) -> None:
    days.trained(log("secret-person: secret-item b c d, v: a b c")).save(tmp_path / "a")
    for name in (TENSORS, ABOUT):
        assert b"secret" not in (tmp_path / "a" / name).read_bytes()


def _cut(folder: Path) -> None:
    path = folder / TENSORS
    path.write_bytes(path.read_bytes()[:-5])


def _set(folder: Path, key: str, value: object) -> None:
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps({**about, key: value}))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: (folder / TENSORS).unlink(), "missing"),
        (lambda folder: (folder / ABOUT).unlink(), ABOUT),
        (lambda folder: (folder / ABOUT).write_text("{"), "not valid JSON"),
        (lambda folder: (folder / ABOUT).write_text("[]"), "has no"),
        (lambda folder: (folder / TENSORS).write_bytes(b""), "damaged"),
        (lambda folder: (folder / TENSORS).write_bytes(b"\x80\x04."), "damaged"),
        (_cut, "damaged"),
        (lambda folder: _set(folder, "users", 7), "does not fit"),
        (lambda folder: _set(folder, "schema", 2), "schema 2"),
    ],
)
def test_a_damaged_record_is_one_line(days: Days, tmp_path: Path, harm, says: str) -> None:
    folder = tmp_path / "record"
    days.trained(YESTERDAY).save(folder)
    harm(folder)
    with pytest.raises(UserError, match=says) as caught:
        TrainingRecord.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "harm",
    [
        lambda record: replace(record, users=record.users[::-1]),
        lambda record: replace(record, counts=record.counts - 10),
        lambda record: replace(record, counts=record.counts.astype(np.int64)),
        lambda record: replace(record, last_times=record.last_times[1:]),
    ],
)
def test_a_record_that_cannot_be_is_refused(days: Days, tmp_path: Path, harm) -> None:
    harm(days.trained(YESTERDAY)).save(tmp_path)
    with pytest.raises(UserError, match="damaged"):
        TrainingRecord.load(tmp_path)
