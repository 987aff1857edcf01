"""The `tune` section of params.yaml: the budget of a search and the values that it tries."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from recctl import limits
from recctl.config import Section, Settings
from recctl.models.shapes import validated


class Range(Settings):
    """All values from `low` to `high`; of a setting that is a whole number, whole numbers."""

    low: int | float = Field(ge=0, le=limits.RATE)
    high: int | float = Field(ge=0, le=limits.RATE)
    log: bool = False
    """Drawn uniformly on a logarithmic scale."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.low >= self.high or (self.log and not self.low):
            raise ValueError(f"low ({self.low}) must be less than high, and above 0 with log")
        return self


def _values(given: Any) -> Any:
    if isinstance(given, dict):
        return validated(Range, given)
    if given is None or isinstance(given, Range) or (isinstance(given, list) and given):
        return given
    raise ValueError("it should be {low: ..., high: ...}, a list of values, or null")


Values = Range | list[Any]


class TuneParams(Section):
    """How `recctl tune` searches."""

    section: ClassVar[str] = "tune"
    optional: ClassVar[bool] = True

    budget_minutes: float = Field(default=60.0, gt=0, le=limits.TUNE_MINUTES)
    """Without a number of trials: the time after which a search ends."""
    jobs: int = Field(default=1, ge=1, le=limits.PROCESSES)
    """Trials side by side, each in its own process, with GPUs in turn."""
    space: dict[str, dict[str, Annotated[Values | None, BeforeValidator(_values)]]] = Field(
        default={}
    )
    """By model and setting: values that replace the default ones; null: the setting stays fixed."""
