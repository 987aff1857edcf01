"""A running average of the weights, validated and saved in place of the last step's."""

import copy

import torch
from torch import Tensor

from recctl.models.encoder import SequenceEncoder

_PER_EPOCH = 16
"""Updates per epoch, about: each is a pass over all weights, expensive with many items."""


class Average:
    """An exponential moving average of an encoder's weights over about so many epochs.

    Steps at a constant rate end in a noisy orbit around an optimum; the mean of the orbit is nearer
    to it than any of its points (Polyak and Juditsky 1992; Izmailov et al. 2018 for networks). The
    average is shorter at first, so that the first epochs have little weight.
    """

    def __init__(self, encoder: SequenceEncoder, epochs: float) -> None:
        self._epochs = epochs
        self._count = 0  # on the host: torch's AveragedModel asks the device at each update
        self.encoder = copy.deepcopy(encoder)
        """The network with the averaged weights."""

    @torch.no_grad()
    def after(self, batches: int, of: int, encoder: SequenceEncoder) -> None:
        """Add the encoder's weights, if an update is due after so many batches of an epoch."""
        every = max(1, of // _PER_EPOCH)
        if batches % every:
            return
        longest = 1 - 1 / max(1.0, self._epochs * of / every)
        kept = min(longest, (1 + self._count) / (10 + self._count)) if self._count else 0.0
        average, current = tuple(self.encoder.parameters()), tuple(encoder.parameters())
        torch._foreach_lerp_(average, current, 1 - kept)
        self._count += 1

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {**self.encoder.state_dict(), "count": torch.tensor(self._count)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state_dict`."""
        weights = dict(state)
        self._count = int(weights.pop("count"))
        self.encoder.load_state_dict(weights)
