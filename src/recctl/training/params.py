"""The `train` section of params.yaml."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from recctl.config import Section, Settings
from recctl.errors import UserError


class NetworkParams(Settings):
    """Shape of a network that sees the end of a history."""

    max_length: int = Field(default=200, ge=2, le=10**5)
    """Positions the network sees: the last max_length - 1 items, and one token beside them."""
    hidden_size: int = Field(default=64, ge=1, le=10**5)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    def shape(self) -> dict[str, Any]:
        """The arguments of the network, its number of items apart."""
        return self.model_dump()


class TransformerParams(NetworkParams):
    """Shape of a transformer."""

    layers: int = Field(default=2, ge=1, le=1000)
    heads: int = Field(default=2, ge=1)
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


class Bert4RecParams(TransformerParams):
    """Shape and cloze task of BERT4Rec (Sun et al. 2019)."""

    mask_probability: float = Field(default=0.2, gt=0, lt=1)
    """Share of a sequence's items that are masked; at least one is."""
    last_item_share: float = Field(default=0.5, ge=0, le=1)
    """Extra samples with only the last item masked, as a share of the sequences."""

    def shape(self) -> dict[str, Any]:
        """The arguments of the network, its number of items apart."""
        return self.model_dump(exclude={"mask_probability", "last_item_share"})


class SasRecParams(TransformerParams):
    """Shape of SASRec (Kang and McAuley 2018)."""

    item_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of a history's items that training hides from the network."""

    def shape(self) -> dict[str, Any]:
        """The arguments of the network, its number of items apart."""
        return self.model_dump(exclude={"item_dropout"})


class RecurrentParams(NetworkParams):
    """Shape of GRU4Rec (Hidasi et al. 2016) and of its LSTM sibling."""

    state_size: int = Field(default=128, ge=1, le=10**5)
    layers: int = Field(default=1, ge=1, le=1000)


class CaserParams(NetworkParams):
    """Shape of Caser (Tang and Wang 2018); a filter is counted per height."""

    window: int = Field(default=5, ge=1, le=1000)
    """Items before the predicted one that are looked at."""
    horizontal: int = Field(default=16, ge=1, le=10**5)
    vertical: int = Field(default=4, ge=1, le=10**5)


def _processes(value: Any) -> Any:
    if value == "auto" or (type(value) is int and 1 <= value <= 1024):
        return value
    raise ValueError("it should be auto or a whole number from 1 to 1024")


class TrainParams(Section):
    """Which model is trained, and how."""

    section: ClassVar[str] = "train"

    model: str = "bert4rec"
    """A name of the table in models/__init__.py."""
    seed: int = Field(default=42, ge=0, lt=2**63)
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    processes: Annotated[int | Literal["auto"], BeforeValidator(_processes)] = 1
    """That train together, each with its share of every batch; auto is one per GPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products; a GPU rounds what it multiplies to TF32. bfloat16 pays where these
    products take most of the time: networks many times wider than usual here."""
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
    average_epochs: float = Field(default=0.0, ge=0, le=10**6)
    """Keep a running average of the weights over about so many epochs; 0 keeps the last step's."""
    loss: Literal["full", "sampled", "gbce"] = "full"
    """Over the whole catalogue; sampled softmax and gBCE are for 100,000s of items."""
    negatives: int = Field(default=256, ge=1, le=10**7)
    """Items that a batch's targets are compared with, where the loss samples."""
    filter_seen: bool | None = None
    """The loss compares a target with what the user has not seen yet, as a ranking without seen
    items does; left out: as `evaluate.filter_seen`."""
    gbce_calibration: float = Field(default=0.75, ge=0, le=1)
    """t of gBCE: 0 is plain binary cross-entropy, 1 gives calibrated scores."""
    bert4rec: Bert4RecParams = Bert4RecParams()
    sasrec: SasRecParams = SasRecParams()
    gru4rec: RecurrentParams = RecurrentParams()
    lstm: RecurrentParams = RecurrentParams()
    caser: CaserParams = CaserParams()

    def ranked(self, filter_seen: bool) -> Self:
        """With what is left out because it follows from how the model will be ranked.

        Raises UserError where seen items are to be ranked and nothing is learnt about them.
        """
        if self.filter_seen and not filter_seen:
            raise UserError(
                "train.filter_seen is true and evaluate.filter_seen is false: seen items would be "
                "ranked by scores that mean nothing",
                "leave train.filter_seen out of params.yaml",
            )
        if self.filter_seen is not None:
            return self
        return self.model_copy(update={"filter_seen": filter_seen})

    def network(self) -> NetworkParams:
        """The settings of the network that `model` names."""
        found = getattr(self, self.model)
        assert isinstance(found, NetworkParams)
        return found
