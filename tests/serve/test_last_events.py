"""The last events of users, compared with a plain list of all events."""

import numpy as np
import pytest

from recctl.recommend import UserHistory
from recctl.serve import last_events
from recctl.serve.last_events import LastEvents


def test_the_last_events_of_each_user_and_the_last_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle keeps every event in the order of arrival and cuts it anew each time."""
    monkeypatch.setattr(last_events, "EACH", 4)
    monkeypatch.setattr(last_events, "ALL", 11)
    rng = np.random.default_rng(0)
    kept, oracle = LastEvents(minimum_weight=1.0), dict[str, list[tuple[int, str]]]()
    for _ in range(400):
        user, item = f"u{rng.integers(8)}", f"i{rng.integers(4)}"
        us, weight = int(rng.integers(20)), float(rng.choice([0.5, 1.0, 2.0]))
        kept.add([(user, item, us, weight, None)])
        if weight >= 1.0:
            events = oracle.pop(user, [])
            events += [] if (us, item) in events else [(us, item)]
            oracle[user] = sorted(events, key=lambda event: event[0])[-4:]
            while sum(map(len, oracle.values())) > 11:
                del oracle[next(iter(oracle))]
        for number in range(8):
            expected = [item for _, item in oracle.get(f"u{number}", [])]
            assert kept.history(f"u{number}", None) == expected


def test_a_history_has_what_the_split_has_and_what_came_besides() -> None:
    kept = LastEvents()
    split = UserHistory(["a", "b", "c"], [10, 20, 30])
    assert kept.history("u", split) == ["a", "b", "c"]
    kept.add([("u", "b", 20, None), ("u", "d", 20, None), ("u", "a", 40, None)])
    kept.add([("u", "first", 5, None), ("u", "a", 40, None), ("other", "x", 1, None)])
    assert kept.history("u", split) == ["first", "a", "b", "d", "c", "a"]
    assert kept.history("u", None) == ["first", "b", "d", "a"]
    assert kept.history("nobody", None) == []
