"""What use says about versions: clicks by version, which of two users prefer, lists not shown.

The intervals hold on all days of a year together, as those of `watch` do (docs/decisions/0012).
"""

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.online import clicks
from recctl.online.clicks import Clicks, Shadow
from recctl.online.interval import through_a_year
from recctl.render.numbers import percent


@dataclass(frozen=True)
class Share:
    """A mean over users of values in [0, 1], with its interval; None where nothing is known."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Version:
    """Lists that one version made alone."""

    version: int
    lists: int
    users: int
    """Known by their id; lists for a history have none."""
    clicks: int
    ctr: float
    """The share of the lists with at least one click."""
    by_user: Share
    """The mean over users of their own share of lists with a click."""
    positions: dict[int, int]
    """Clicks by position, from 1."""


@dataclass(frozen=True)
class Preference:
    """Lists in which two versions were interleaved."""

    champion: int
    """The version that served."""
    challenger: int
    lists: int
    users: int
    clicks: int
    wins: int
    """Users who clicked more of the items that the challenger gave."""
    ties: int
    losses: int
    preferred: Share
    """The share of the challenger among users without a tie."""

    @property
    def better(self) -> int | None:
        """The version that is proven better; None where neither is."""
        if self.preferred.low is not None and self.preferred.low > 0.5:
            return self.challenger
        if self.preferred.high is not None and self.preferred.high < 0.5:
            return self.champion
        return None

    @property
    def sentence(self) -> str:
        """Which is proven better, or neither, and why."""
        decided, share = self.wins + self.losses, self.preferred
        names = f"version {self.challenger}", f"version {self.champion}"
        if self.better is None:
            text = f"Neither {names[1]} nor {names[0]} is proven better"
        else:
            best, other = names if self.better == self.challenger else names[::-1]
            text = f"V{best[1:]} is proven better than {other}"
        if not decided:
            return f"{text}: no user clicked more items of one than of the other."
        text += f": of {decided:,} users without a tie {self.wins:,} preferred {names[0]}"
        if share.value is None or share.low is None or share.high is None:
            return f"{text}; it is judged when the first day has ended."
        return f"{text} ({percent(share.value)}, {percent(share.low)} to {percent(share.high)})."


@dataclass(frozen=True)
class Report:
    """All that the logs say."""

    until: str
    """ISO 8601: lists and clicks before it count."""
    ended: bool
    """Whether that is the end of a day; without one nothing is judged."""
    later: int
    """Lists since then."""
    versions: list[Version]
    interleaved: list[Preference]
    shadows: list[Shadow]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        pairs = [
            {**asdict(one), "better": one.better, "sentence": one.sentence}
            for one in self.interleaved
        ]
        return {"schema": 1, **asdict(self), "interleaved": pairs}


class NothingKept(UserError):
    """The service kept no list."""


def read(layout: Layout, decision: int = 0) -> Report:
    """Read what the service kept; of lists only those by this decision and later ones.

    Raises NothingKept, and UserError where a file is damaged.
    """
    now = time.time_ns() // 1000
    found, shadows = clicks.read(layout, now, decision), clicks.read_shadows(layout)
    if not found.clicks and not shadows:
        raise NothingKept(
            "the service kept no list",
            "set 'serve.exposures' or 'serve.challenger' in params.yaml and start it again",
        )
    ended = found.until != now
    alone, pairs = [], []
    for (version, challenger), one in found.clicks.items():
        if challenger is None:
            alone.append(_version(version, one, ended))
        else:
            pairs.append(_preference(version, challenger, one, ended))
    until = datetime.fromtimestamp(found.until // 10**6, UTC).isoformat(timespec="seconds")
    return Report(until, ended, found.later, alone, pairs, shadows)


def share(values: NDArray[np.float64]) -> Share:
    """The mean of one value per user, each in [0, 1], with bounds for a year of daily looks."""
    if not len(values):
        return Share(None)
    return Share(float(values.mean()), *through_a_year(values))


def preferred(credit: NDArray[np.int64]) -> Share:
    """The share of users with a credit above 0 among those with one that is not 0.

    If neither version is better, each of them falls on either side with equal chances.
    """
    return share((credit[credit != 0] > 0).astype(np.float64))


def _judged(found: Share, ended: bool) -> Share:
    return found if ended else Share(found.value)


def _version(number: int, one: Clicks, ended: bool) -> Version:
    return Version(
        version=number,
        lists=int(one.lists.sum()),
        users=int(one.known.sum()),
        clicks=sum(one.positions.values()),
        ctr=float(one.clicked.sum() / one.lists.sum()),
        by_user=_judged(share((one.clicked / one.lists)[one.known]), ended),
        positions=one.positions,
    )


def _preference(version: int, challenger: int, one: Clicks, ended: bool) -> Preference:
    return Preference(
        champion=version,
        challenger=challenger,
        lists=int(one.lists.sum()),
        users=len(one.known),
        clicks=sum(one.positions.values()),
        wins=int((one.credit > 0).sum()),
        ties=int((one.credit == 0).sum()),
        losses=int((one.credit < 0).sum()),
        preferred=_judged(preferred(one.credit), ended),
    )
