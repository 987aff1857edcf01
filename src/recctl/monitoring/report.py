"""What watching the champion came to, as data, as a sentence and as a page."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from recctl.monitoring import page
from recctl.monitoring.figures import Alike, Day

Verdict = Literal[
    "holds",
    "fallen",
    "too few events",
    "not comparable",
    "nothing after its training",
    "no promotion figure",
]


@dataclass(frozen=True)
class Former:
    """The series of a version that served before."""

    version: int
    series: list[Day]


@dataclass(frozen=True)
class Report:
    """The champion on what came after its training."""

    version: int
    model: str
    """What kind it is, such as bert4rec."""
    registered_model: str
    metric: str
    """The policy's first primary metric; the verdict is about it."""
    log_end: str
    """ISO 8601: what came later is what is looked at."""
    promoted_value: float | None
    """The metric in the decision that made it champion; None where that has no such figure."""
    margin: float
    minimum_events: int
    minimum_users: int
    window_days: int
    series: list[Day]
    """Every day that has an event, oldest first."""
    window: Day | None
    """The last days that have events, together; None where there is no event."""
    former: list[Former]
    """Champions before it, in the order in which they were first watched."""
    alike: Alike | None = None
    """The window's events that are like the promotion's test cases: what the verdict is about."""

    @property
    def verdict(self) -> Verdict:
        window = self.window
        if window is None:
            return "nothing after its training"
        if window.events < self.minimum_events or window.users < self.minimum_users:
            return "too few events"
        found = self.judged
        if self.promoted_value is None:
            return "no promotion figure"
        if found.events < self.minimum_events or found.users < self.minimum_users:
            return "not comparable"
        return judge(found, self.promoted_value, self.margin)

    @property
    def judged(self) -> Alike:
        """What is compared with the promotion's figure; there is a window."""
        window = self.window
        assert window is not None, "nothing to judge"
        value = window.values[self.metric]
        every = Alike(window.events, window.users, 0, value, window.low, window.high)
        return self.alike or every

    @property
    def sentence(self) -> str:
        """What was seen, in one line."""
        return page.sentence(self)

    @property
    def fallen(self) -> bool:
        return self.verdict == "fallen"

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "schema": 1,
            "version": self.version,
            "model": self.model,
            "registered_model": self.registered_model,
            "metric": self.metric,
            "log_end": self.log_end,
            "promoted_value": self.promoted_value,
            "margin": self.margin,
            "minimum_events": self.minimum_events,
            "minimum_users": self.minimum_users,
            "window_days": self.window_days,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "window": self.window.as_dict() if self.window else None,
            "alike": asdict(self.alike) if self.alike else None,
            "series": [day.as_dict() for day in self.series],
            "former": [
                {"version": one.version, "series": [day.as_dict() for day in one.series]}
                for one in self.former
            ],
        }

    def markdown(self) -> str:
        """A page for people: the sentence, the figures, how to read them."""
        return page.markdown(self)


def judge(found: Alike, promoted: float | None, margin: float) -> Verdict:
    """Whether the champion does clearly worse than when it was promoted.

    Fallen: even the upper end of the interval lies below the promotion figure less the margin.
    """
    if promoted is None:
        return "no promotion figure"
    return "fallen" if found.high < promoted - margin else "holds"
