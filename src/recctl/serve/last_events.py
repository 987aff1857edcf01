"""What users did since the split: their last events, in memory of bounded size."""

import threading
from bisect import insort
from collections import OrderedDict
from collections.abc import Iterable
from operator import itemgetter

from recctl.journal import Row
from recctl.recommend import UserHistory

EACH = 200
"""Events that are kept of a user."""
ALL = 200_000
"""Events that are kept in all; users whose last one came first are dropped first."""

Event = tuple[int, str]
"""Microseconds since 1970, and the item."""


class LastEvents:
    """The last events by user; for several threads."""

    def __init__(self, minimum_weight: float | None = None) -> None:
        self._minimum = minimum_weight
        self._users: OrderedDict[str, list[Event]] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def add(self, rows: Iterable[Row]) -> None:
        """Add events: user, item, microseconds, weight; one that is there is not added again."""
        with self._lock:
            for user, item, us, weight, *_ in rows:
                if self._minimum is None or (weight is not None and weight >= self._minimum):
                    self._add(user, (us, item))
            while self._count > ALL:
                self._count -= len(self._users.popitem(last=False)[1])

    def _add(self, user: str, event: Event) -> None:
        own = self._users.setdefault(user, [])
        self._users.move_to_end(user)
        if event not in own:
            insort(own, event, key=itemgetter(0))
            self._count += 1
        if len(own) > EACH:
            del own[0]
            self._count -= 1

    def history(self, user: str, found: UserHistory | None) -> list[str]:
        """All items of a user in time order: those of the split, and those of later events."""
        with self._lock:
            posted = [*self._users.get(user, ())]
        if found is None:
            return [item for _, item in posted]
        known = list(zip(found.times, found.item_ids, strict=True))
        held = set(known)
        new = [event for event in posted if event not in held]
        if not new:
            return found.item_ids
        return [item for _, item in sorted([*known, *new], key=itemgetter(0))]
