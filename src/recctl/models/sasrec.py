"""SASRec: a causal transformer that predicts each next item (Kang and McAuley, ICDM 2018)."""

from typing import ClassVar

from recctl.models.encoder import Neural, SequenceEncoder
from recctl.models.shapes import Shape, TransformerShape
from recctl.models.transformer import Transformer


class CausalEncoder(Transformer):
    """The transformer in which each position sees only what is before it.

    Its layers are those of BERT4Rec here: normalised before each part, a GELU between, feed-forward
    four times as wide. The paper's feed-forward has a ReLU and the width of the layer.
    """

    causal: ClassVar[bool] = True


class SASRec(Neural):
    """The encoder as a recommender: the last position's vector scores what comes next."""

    kind: ClassVar[str] = "sasrec"
    network: ClassVar[type[SequenceEncoder]] = CausalEncoder
    shape: ClassVar[type[Shape]] = TransformerShape
