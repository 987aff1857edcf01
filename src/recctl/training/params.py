"""The `train` section of params.yaml."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field

from recctl import limits
from recctl.config import Section
from recctl.errors import UserError
from recctl.models.blend import Blend
from recctl.models.shapes import CaserShape, RecurrentShape, Shape, TransformerShape
from recctl.settings import Settings


class Bert4RecParams(TransformerShape):
    """Shape and cloze task of BERT4Rec (Sun et al. 2019)."""

    mask_probability: float = Field(default=0.2, gt=0, lt=1)
    """Share of a sequence's items that are masked; at least one is."""
    last_item_share: float = Field(default=0.5, ge=0, le=1)
    """Extra samples with only the last item masked, as a share of the sequences."""


class SasRecParams(TransformerShape):
    """Shape of SASRec (Kang and McAuley 2018)."""

    item_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of a history's items that training hides from the network."""


class BlendParams(Settings):
    """What a blend is made of beside counted models."""

    network: Literal["bert4rec", "sasrec", "gru4rec", "lstm", "caser"] = "sasrec"
    """Trained by its own settings in this section."""


def _processes(value: Any) -> Any:
    if value == "auto" or (type(value) is int and 1 <= value <= limits.PROCESSES):
        return value
    raise ValueError(f"it should be auto or a whole number from 1 to {limits.PROCESSES:,}")


class TrainParams(Section):
    """Which model is trained, and how."""

    section: ClassVar[str] = "train"

    model: str = "bert4rec"
    """A name of the table in models/__init__.py."""
    seed: int = Field(default=42, ge=0, le=limits.SEED)
    """Of weights, batches, masks and dropout."""
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """auto: a GPU where there is one."""
    processes: Annotated[int | Literal["auto"], BeforeValidator(_processes)] = 1
    """Processes that train together, each on its share of every batch; auto: one per GPU."""
    item_vectors: Literal["cooccurrence", "random"] = "cooccurrence"
    """What training begins with: vectors and biases counted in the log, or random vectors; gBCE,
    whose scores are no log-probabilities, always begins with random ones."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products; a GPU rounds factors to TF32. bfloat16 is faster where these products
    take most of the time: networks many times wider than the defaults."""
    compile: bool = False
    """Compile the encoder with torch.compile (slower on a CPU)."""
    cuda_graphs: bool = False
    """On CUDA, replay steps of bert4rec and sasrec as CUDA graphs; try `make test-gpu` before."""
    max_epochs: int = Field(default=100, ge=1, le=limits.EPOCHS)
    """Training ends here at the latest."""
    patience: int = Field(default=10, ge=1, le=limits.EPOCHS)
    """Stop after this many validations without a better NDCG@10."""
    validate_every: int = Field(default=1, ge=1, le=limits.EPOCHS)
    """Epochs between validations."""
    batch_size: int = Field(default=32, ge=1, le=limits.BATCH)
    """Sequences of a step."""
    learning_rate: float = Field(default=2e-3, gt=0, le=limits.RATE)
    """The highest rate, reached after the warm-up."""
    warmup_steps: int = Field(default=100, ge=0, le=limits.STEPS)
    """Steps in which the rate rises linearly."""
    decay_epochs: int | None = Field(default=None, ge=1, le=limits.EPOCHS)
    """The learning rate falls linearly to a tenth until this epoch, then stays; default: two
    thirds of max_epochs, so that training can be seen to converge before the cap."""
    weight_decay: float = Field(default=0.01, ge=0, le=limits.RATE)
    """Of AdamW."""
    clip_norm: float = Field(default=5.0, gt=0, le=limits.RATE)
    """Largest norm of the gradient."""
    average_epochs: float = Field(default=0.0, ge=0, le=10**6)
    """Keep a running average of the weights over about so many epochs; 0 keeps the last step's."""
    loss: Literal["full", "sampled", "gbce"] = "full"
    """Over the whole catalogue; sampled softmax and gBCE are for 100,000s of items."""
    negatives: int = Field(default=256, ge=1, le=limits.TRAIN_NEGATIVES)
    """Items that a batch's targets are compared with by a sampled loss."""
    filter_seen: bool | None = None
    """Whether the loss compares a target only with items that the user has not seen yet, as a
    ranking with the seen filter does; default: `evaluate.filter_seen`."""
    gbce_calibration: float = Field(default=0.75, ge=0, le=1)
    """t of gBCE: 0 is plain binary cross-entropy, 1 gives calibrated scores."""
    bert4rec: Bert4RecParams = Bert4RecParams()
    sasrec: SasRecParams = SasRecParams()
    gru4rec: RecurrentShape = RecurrentShape()
    lstm: RecurrentShape = RecurrentShape()
    caser: CaserShape = CaserShape()
    blend: BlendParams = BlendParams()

    def ranked(self, filter_seen: bool) -> Self:
        """With the default of `filter_seen`, which follows from how the model will be ranked.

        Raises UserError where seen items will be ranked but nothing is learnt about them.
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

    @property
    def decays_until(self) -> int:
        """The epoch at which the rate has fallen to its end."""
        return self.decay_epochs or max(1, self.max_epochs * 2 // 3)

    def of_network(self) -> Self:
        """With the network of a blend as the model; for any other model these settings."""
        if self.model != Blend.kind:
            return self
        return self.model_copy(update={"model": self.blend.network})

    def network(self) -> Shape:
        """The settings of the network that `model` names."""
        found = getattr(self, self.model)
        assert isinstance(found, Shape)
        return found
