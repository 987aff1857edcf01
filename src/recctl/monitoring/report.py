"""The result of watching the champion: its figures, the verdict and one sentence."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from recctl.monitoring.figures import Alike, Day
from recctl.render.numbers import figure, label

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
    """ISO 8601: later interactions are the events."""
    promoted_value: float | None
    """The metric in the decision that made it champion; None where that has no such figure."""
    promoted_least: float | None
    """The lower bound of what it was then."""
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
    alike: Alike | None
    """The window's events that resemble the promotion's test cases; the verdict is about them.
    None where there is no window."""

    @property
    def verdict(self) -> Verdict:
        """Fallen: the most that it may be now is below the least that it was, less the margin."""
        window = self.window
        if window is None:
            return "nothing after its training"
        if window.events < self.minimum_events or window.users < self.minimum_users:
            return "too few events"
        found = self.alike
        assert found is not None, "a window has them"
        if self.promoted_least is None:
            return "no promotion figure"
        if found.events < self.minimum_events or found.users < self.minimum_users:
            return "not comparable"
        return "fallen" if found.at_most < self.promoted_least - self.margin else "holds"

    @property
    def sentence(self) -> str:
        """What was seen, in one line."""
        name, window, needed = f"version {self.version}", self.window, self._needed()
        if window is None:
            return f"Nothing came after the training of {name}, whose log ends {self.log_end}."
        if self.verdict == "too few events":
            return (
                f"No conclusion about {name}: {window.span} had {window.events:,} events of "
                f"{window.users:,} users after its training, and {needed}."
            )
        found = self.alike
        assert found is not None, "a window has them"
        if self.verdict == "not comparable":
            return (
                f"Not compared: of {window.events:,} events of {window.span} only "
                f"{found.events:,}, of {found.users:,} users, are of users with {found.fewest} "
                f"items before, as the test users had when {name} was promoted; {needed}."
            )
        return self._compared(name, window, found)

    def _needed(self) -> str:
        return f"{self.minimum_events:,} of {self.minimum_users:,} users are needed"

    def _compared(self, name: str, window: Day, found: Alike) -> str:
        metric = label(self.metric)
        seen = f"{metric} of {name} is {figure(found.value)} (at most {figure(found.at_most)})"
        seen += f" on {found.events:,} events of {window.span}"
        if found.events < window.events:
            seen += f" by users with {found.fewest} items before"
        seen += ", each user once"  # the table's figure counts each event: another number
        if self.promoted_value is None:
            return f"{seen}; the decision that made it champion has no {metric} to compare with."
        before = f"{figure(self.promoted_value)} (at least {figure(self.promoted_least)})"
        return (
            f"{self.verdict.capitalize()}: {seen}; at its promotion it was {before}, "
            f"the margin is {figure(self.margin)}."
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {"schema": 1, "verdict": self.verdict, "sentence": self.sentence, **asdict(self)}
