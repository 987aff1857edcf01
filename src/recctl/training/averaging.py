"""A running average of the weights, validated and saved in place of the last step's."""

from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

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
        self._most_kept = 0.0
        self._averaged = AveragedModel(encoder, multi_avg_fn=self._follow)  # type: ignore[arg-type]

    @torch.no_grad()
    def _follow(self, average: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        kept = min(self._most_kept, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(average, current, 1 - kept)

    @property
    def encoder(self) -> SequenceEncoder:
        """The network with the averaged weights."""
        return cast(SequenceEncoder, self._averaged.module)

    def after(self, batches: int, of: int, encoder: SequenceEncoder) -> None:
        """Add the encoder's weights, if an update is due after so many batches of an epoch."""
        every = max(1, of // _PER_EPOCH)
        if batches % every == 0:
            self._most_kept = 1 - 1 / max(1.0, self._epochs * of / every)
            self._averaged.update_parameters(encoder)

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return dict(self._averaged.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state_dict`."""
        self._averaged.load_state_dict(state)
