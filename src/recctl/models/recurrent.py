"""GRU4Rec and its LSTM sibling: a recurrent network that predicts each next item.

After Hidasi et al. (ICLR 2016), trained on whole histories with cross-entropy over the catalogue.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recctl.models.dropout import dropout
from recctl.models.encoder import Neural, SequenceEncoder
from recctl.models.shapes import RecurrentShape, Shape


class Recurrent(SequenceEncoder):
    """Items -> recurrent layers -> a linear map back to the items' space, normalised."""

    causal: ClassVar[bool] = True
    cell: ClassVar[type[nn.GRU] | type[nn.LSTM]]

    def __init__(
        self,
        n_items: int,
        max_length: int,
        hidden_size: int,
        state_size: int,
        layers: int,
        dropout: float,
    ) -> None:
        super().__init__(n_items, max_length, hidden_size)
        self.state_size, self.drop = state_size, dropout
        sizes = [hidden_size, *[state_size] * layers]
        self.cells = nn.ModuleList(
            self.cell(size, state_size, batch_first=True) for size in sizes[:-1]
        )
        self.out = nn.Linear(state_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def std(self, name: str, parameter: Tensor) -> float:
        """One over the root of what a unit adds up, so that its sum is of size one."""
        return float(parameter.shape[1] ** -0.5)

    def forward(
        self,
        tokens: Tensor,
        real: Tensor | None,
        at: Tensor | None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `SequenceEncoder.forward`; padding comes last and changes nothing before it."""
        x = dropout(self.item(tokens), self.drop, generator)
        for cell in self.cells:
            # autocast would run a GPU's recurrent kernels in float16, whose range is too small here
            with torch.autocast(x.device.type, enabled=False):
                x, _ = cell(x.float())
            x = dropout(x, self.drop, generator)
        if at is not None:
            x = x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))
        return self.norm(self.out(x))  # type: ignore[no-any-return]

    def settings(self) -> dict[str, Any]:
        """The network's shape."""
        return {
            "n_items": self.n_items,
            "max_length": self.max_length,
            "hidden_size": self.hidden_size,
            "state_size": self.state_size,
            "layers": len(self.cells),
            "dropout": self.drop,
        }


class Gru(Recurrent):
    """Of gated recurrent units."""

    cell: ClassVar[type[nn.GRU] | type[nn.LSTM]] = nn.GRU


class Lstm(Recurrent):
    """Of long short-term memory."""

    cell: ClassVar[type[nn.GRU] | type[nn.LSTM]] = nn.LSTM


class Gru4Rec(Neural):
    """The GRU as a recommender."""

    kind: ClassVar[str] = "gru4rec"
    network: ClassVar[type[SequenceEncoder]] = Gru
    shape: ClassVar[type[Shape]] = RecurrentShape


class LstmRec(Neural):
    """The LSTM as a recommender."""

    kind: ClassVar[str] = "lstm"
    network: ClassVar[type[SequenceEncoder]] = Lstm
    shape: ClassVar[type[Shape]] = RecurrentShape
