"""BERT4Rec: a bidirectional transformer trained by masking items (Sun et al., CIKM 2019)."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recctl.models.encoder import Neural, SequenceEncoder
from recctl.models.shapes import Shape, TransformerShape
from recctl.models.transformer import Transformer


class Encoder(Transformer):
    """The transformer with the cloze head behind it (section 3.5 of the paper)."""

    causal: ClassVar[bool] = False

    def __init__(self, n_items: int, max_length: int, hidden_size: int, *shape: Any, **more: Any):
        super().__init__(n_items, max_length, hidden_size, *shape, **more)
        self.head = nn.Linear(hidden_size, hidden_size)
        self.head_norm = nn.LayerNorm(hidden_size)

    def forward(
        self,
        tokens: Tensor,
        real: Tensor | None,
        at: Tensor | None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `SequenceEncoder.forward`."""
        hidden = super().forward(tokens, real, at, generator)
        return self.head_norm(F.gelu(self.head(hidden)))  # type: ignore[no-any-return]


class Bert4Rec(Neural):
    """The encoder as a recommender: append [MASK] to the history and score that position."""

    kind: ClassVar[str] = "bert4rec"
    network: ClassVar[type[SequenceEncoder]] = Encoder
    shape: ClassVar[type[Shape]] = TransformerShape
