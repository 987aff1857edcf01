"""The `validate` section of params.yaml: thresholds, and how severe each rule is."""

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat, model_validator

from recctl import limits
from recctl.config import Section, Settings, iso_text
from recctl.errors import unknown_name

Severity = Literal["critical", "warning", "ignore"]

SEVERITIES: dict[str, Severity] = {
    "schema": "critical",
    "users-present": "critical",
    "items-present": "critical",
    "times-present": "critical",
    "weights-present": "critical",
    "weights-in-range": "critical",
    "times-not-early": "critical",
    "times-not-future": "critical",
    "interactions-unique": "critical",
    "user-count": "critical",
    "item-count": "critical",
    "interaction-count": "critical",
    "short-histories": "warning",
    "quarantine-share": "critical",
    "volume-drift": "warning",
    "volume-break": "critical",
    "popularity-drift": "warning",
    "popularity-break": "critical",
}
"""Every rule, in the order of the report, with its severity unless params.yaml says otherwise."""


def _iso_time(text: str) -> str:
    try:
        utc(text)
    except (ValueError, OverflowError):
        raise ValueError("must be an ISO 8601 time such as 2015-01-31") from None
    return text


def utc(text: str) -> datetime:
    """An ISO 8601 time, in UTC where it has no offset.

    Raises ValueError where it is none, and OverflowError for one outside the years 1 to 9999.
    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


IsoTime = Annotated[str, BeforeValidator(iso_text), AfterValidator(_iso_time)]


class Range(Settings):
    """The allowed values, both ends included; null: no limit."""

    minimum: FiniteFloat | None = None
    maximum: FiniteFloat | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.minimum, self.maximum
        if low is not None and high is not None and low > high:
            raise ValueError(f"minimum {low} is above maximum {high}")
        return self


class Counts(Range):
    """How many of something there may be, both ends included; null: no limit."""

    minimum: int = Field(default=1, ge=1, le=limits.COUNT)
    maximum: int | None = Field(default=None, ge=1, le=limits.COUNT)


class ValidateParams(Section):
    """Thresholds of the expectations; docs/validation.md explains every rule."""

    section: ClassVar[str] = "validate"

    users: Counts = Counts(minimum=50)
    items: Counts = Counts(minimum=50)
    interactions: Counts = Counts(minimum=1000)
    weight: Range = Range()
    """Weights must be present and finite whatever this says."""
    earliest_time: IsoTime | None = None
    """No interaction is older (UTC if no offset); null for logs without real times."""
    future_tolerance_hours: float = Field(default=24.0, ge=0, le=limits.HOURS)
    """How far in the future a time may be: clocks and time zones can be wrong."""
    short_history: int = Field(default=5, ge=1, le=limits.COUNT)
    """A history with fewer interactions is short."""
    maximum_short_share: float = Field(default=0.5, ge=0, le=1)
    """The share of users that may have a short history."""
    maximum_quarantine_share: float = Field(default=0.05, ge=0, le=1)
    """The share of source rows that may be bad; rows of low weight are left out on purpose."""
    volume_drift: Range = Range(minimum=0.9, maximum=2.0)
    """Interactions now / in the previous version; the rule volume-drift."""
    volume_break: Range = Range(minimum=0.5, maximum=10.0)
    """The same for the rule volume-break."""
    popularity_drift: float = Field(default=0.1, ge=0, le=1)
    """The most bits of Jensen-Shannon divergence between the items' shares; popularity-drift."""
    popularity_break: float = Field(default=0.5, ge=0, le=1)
    """The same for the rule popularity-break."""
    severity: dict[str, Severity] = Field(default={})
    """Severities that differ from the usual ones, by rule."""

    @model_validator(mode="after")
    def _known_rules(self) -> Self:
        for name in self.severity:
            if name not in SEVERITIES:
                raise ValueError(str(unknown_name("rule", name, list(SEVERITIES))))
        if self.severity.get("schema", "critical") != "critical":
            raise ValueError("the rule 'schema' stays critical: all others rely on it")
        return self

    def severity_of(self, rule: str) -> Severity:
        """How severe a failure of `rule` is."""
        return self.severity.get(rule, SEVERITIES[rule])

    @property
    def earliest(self) -> datetime | None:
        """`earliest_time` as a time in UTC."""
        return None if self.earliest_time is None else utc(self.earliest_time)
