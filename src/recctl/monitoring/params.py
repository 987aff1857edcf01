"""The `monitor` section of params.yaml: when the champion counts as fallen."""

from typing import ClassVar

from pydantic import Field

from recctl import limits
from recctl.config import Section


class MonitorParams(Section):
    """The champion's figure is taken over the events of the last days that there are."""

    section: ClassVar[str] = "monitor"
    optional: ClassVar[bool] = True

    window_days: int = Field(default=7, ge=1, le=limits.DAYS)
    """Days of events in a figure, the last ones."""
    minimum_events: int = Field(default=200, ge=1, le=limits.COUNT)
    """With fewer, nothing is concluded."""
    minimum_users: int = Field(default=30, ge=2, le=limits.COUNT)
    """Nor with fewer users: the interval is drawn over them, and of a few it is too narrow."""
    false_alarms_per_year: float = Field(default=0.05, gt=0, le=1)
    """The chance that a champion which is as good as ever is called fallen within a year of daily
    looks: half of it for the figure at its promotion, half for the 365 looks."""
