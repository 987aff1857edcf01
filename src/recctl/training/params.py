"""The `train` section of params.yaml."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from recctl.config import Section, Settings


class Bert4RecParams(Settings):
    """Shape and cloze task of BERT4Rec (Sun et al. 2019)."""

    max_length: int = Field(default=200, ge=2, le=10**5)
    """Positions the encoder sees: the last max_length - 1 items and [MASK]."""
    hidden_size: int = Field(default=64, ge=1, le=10**5)
    layers: int = Field(default=2, ge=1, le=1000)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    """On attention weights; 0 lets the fused attention kernels run."""
    mask_probability: float = Field(default=0.2, gt=0, lt=1)
    """Share of a sequence's items that are masked; at least one is."""
    last_item_share: float = Field(default=0.5, ge=0, le=1)
    """Extra samples with only the last item masked, as a share of the sequences."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of heads ({self.heads})"
            )
        return self


class TrainParams(Section):
    """Which model is trained, and how."""

    section: ClassVar[str] = "train"

    model: str = "bert4rec"
    """A name of the table in models/__init__.py."""
    seed: int = Field(default=42, ge=0, lt=2**63)
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; auto is bfloat16 on a GPU that has it and float32 elsewhere."""
    compile: bool = False
    """Compile the encoder with torch.compile (slower on a CPU)."""
    max_epochs: int = Field(default=100, ge=1, le=10**9)
    patience: int = Field(default=10, ge=1)
    """Stop after this many validations without a better NDCG@10."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs between validations."""
    batch_size: int = Field(default=32, ge=1, le=10**9)
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    decay_epochs: int | None = Field(default=None, ge=1)
    """The learning rate falls linearly to a tenth until this epoch, then stays; default: two
    thirds of max_epochs, so that training can be seen to converge before the cap."""
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=5.0, gt=0)
    """Largest norm of the gradient."""
    bert4rec: Bert4RecParams = Bert4RecParams()
