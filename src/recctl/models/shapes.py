"""The settings that fix a network's size, with limits: in params.yaml and in model folders."""

from typing import Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from recctl import limits
from recctl.settings import Settings


class Shape(Settings):
    """Shape of a network that sees the end of a history."""

    max_length: int = Field(default=200, ge=2, le=limits.LENGTH)
    """Positions the network sees: the last max_length - 1 items and one more token."""
    hidden_size: int = Field(default=64, ge=1, le=limits.WIDTH)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class TransformerShape(Shape):
    """Shape of a transformer."""

    layers: int = Field(default=2, ge=1, le=limits.LAYERS)
    heads: int = Field(default=2, ge=1, le=limits.WIDTH)
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    """On attention weights; 0 lets the fused attention kernels run."""
    rotary: bool = True
    """Attention knows how far apart two positions are (Su et al. 2021)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of heads ({self.heads})"
            )
        if self.rotary and self.hidden_size // self.heads % 2:
            raise ValueError(
                f"hidden_size / heads ({self.hidden_size} / {self.heads}) must be even with rotary"
            )
        return self


class RecurrentShape(Shape):
    """Shape of GRU4Rec (Hidasi et al. 2016) and of its LSTM sibling."""

    state_size: int = Field(default=128, ge=1, le=limits.WIDTH)
    layers: int = Field(default=1, ge=1, le=limits.LAYERS)


class CaserShape(Shape):
    """Shape of Caser (Tang and Wang 2018); a filter is counted per height."""

    window: int = Field(default=5, ge=1, le=limits.LAYERS)
    """Items before the predicted one that the network sees."""
    horizontal: int = Field(default=16, ge=1, le=limits.WIDTH)
    vertical: int = Field(default=4, ge=1, le=limits.WIDTH)


class Smoothing(Settings):
    """The settings of a Markov chain in addition to its counts."""

    smoothing: float = Field(gt=0, le=limits.COUNT)


class Nothing(Settings):
    """The settings of a model that is fully described by its tensors."""


Kind = TypeVar("Kind", bound=Settings)


def validated(kind: type[Kind], given: dict[str, Any]) -> Kind:
    """The settings of a model folder; ValueError with one line about what is wrong."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        where = ".".join(map(str, mistake["loc"])) or "settings"
        raise ValueError(f"{where}: {mistake['msg']}") from None
