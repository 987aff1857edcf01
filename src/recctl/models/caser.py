"""Caser: convolutions over the last items, as over an image (Tang and Wang, WSDM 2018)."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recctl.models.dropout import dropout
from recctl.models.encoder import Neural, SequenceEncoder
from recctl.models.shapes import CaserShape, Shape


class Convolutions(SequenceEncoder):
    """Horizontal and vertical filters over a window that ends at each position.

    A horizontal filter of height h (1 to `window`) spans h items, and its maximum in the window is
    kept; a vertical one is a weighted sum of the window's items (section 3.2 of the paper). Both
    are convolutions along the history, computed for all positions together. The paper adds a vector
    learnt for each user; here only the history is used, so that new users are served.
    """

    causal: ClassVar[bool] = True

    def __init__(
        self,
        n_items: int,
        max_length: int,
        hidden_size: int,
        window: int,
        horizontal: int,
        vertical: int,
        dropout: float,
    ) -> None:
        super().__init__(n_items, max_length, hidden_size)
        self.window, self.drop = window, dropout
        self.horizontal, self.vertical = horizontal, vertical
        self.across = nn.ModuleList(
            nn.Conv1d(hidden_size, horizontal, height) for height in range(1, window + 1)
        )
        self.down = nn.Conv1d(1, vertical, window)
        self.out = nn.Linear(horizontal * window + vertical * hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def std(self, name: str, parameter: Tensor) -> float:
        """One over the root of what a unit adds up, so that its sum is of size one."""
        return float(parameter[0].numel() ** -0.5)

    def forward(
        self,
        tokens: Tensor,
        real: Tensor | None,
        at: Tensor | None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `SequenceEncoder.forward`; before the first item the window is zero."""
        batch, length = tokens.shape
        image = F.pad(self.item(tokens).transpose(1, 2), (self.window - 1, 0))
        # an answer per place of a filter, of which as many as fit into a window are compared
        found = [
            F.max_pool1d(F.relu(conv(image)), self.window - height, stride=1)
            for height, conv in enumerate(self.across)
        ]
        summed = self.down(image.reshape(batch * self.hidden_size, 1, -1))
        found.append(summed.reshape(batch, self.hidden_size * self.vertical, length))
        x = torch.cat(found, dim=1).transpose(1, 2)
        if at is not None:
            x = x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))
        return self.norm(F.relu(self.out(dropout(x, self.drop, generator))))  # type: ignore[no-any-return]

    def settings(self) -> dict[str, Any]:
        """The network's shape."""
        return {
            "n_items": self.n_items,
            "max_length": self.max_length,
            "hidden_size": self.hidden_size,
            "window": self.window,
            "horizontal": self.horizontal,
            "vertical": self.vertical,
            "dropout": self.drop,
        }


class Caser(Neural):
    """The convolutions as a recommender."""

    kind: ClassVar[str] = "caser"
    network: ClassVar[type[SequenceEncoder]] = Convolutions
    shape: ClassVar[type[Shape]] = CaserShape
