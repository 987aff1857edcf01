"""The `sequence-split` section of params.yaml."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from recctl import limits
from recctl.config import Section, iso_text


class SequenceSplitParams(Section):
    """How interactions become histories with held-out targets."""

    section: ClassVar[str] = "sequence-split"

    protocol: str = "leave-one-out"
    """`leave-one-out` or `global-time`; sequences/protocols.py holds the table."""
    minimum_user_interactions: int = Field(default=5, ge=1, le=limits.COUNT)
    """Users with fewer interactions are left out."""
    minimum_item_interactions: int = Field(default=1, ge=1, le=limits.COUNT)
    """Items with fewer are left out; above 1 both rules are repeated until they hold."""
    test_from: Annotated[str | None, BeforeValidator(iso_text)] = None
    """global-time: the test set begins at this ISO 8601 time (UTC if no offset)."""
    test_share: float = Field(default=0.1, gt=0, lt=1)
    """global-time without test_from: the share of interactions that come last."""
    validation_share: float = Field(default=0.1, gt=0, lt=1)
    """global-time: the share of the interactions before the test set kept for validation."""
    targets: Literal["first", "last", "successive", "all"] = "first"
    """global-time: which of a user's interactions after the test cut are targets; `successive`:
    each, after a history that grows; `all`: each, after the history before the cut."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.protocol != "global-time":
            for name, default in (("test_from", None), ("targets", "first")):
                if getattr(self, name) != default:
                    raise ValueError(f"{name} belongs to the protocol global-time")
        return self
