"""AdamW for a network; lazy Adam for the embedding where a step sees few of its rows."""

from typing import Any

import torch
from torch import Tensor, nn

from recctl.models.encoder import SequenceEncoder


class Optimiser:
    """One step for all of a network's weights, with clipped gradients.

    With `lazy` the item embedding gets sparse gradients, and only rows that a batch touched are
    updated (moments and all, as torch's SparseAdam does it, without decay): a step then costs
    what its batch costs, whatever the size of the catalogue. All other weights have AdamW; biases
    and norms are not decayed, as in BERT's own training.
    """

    def __init__(
        self,
        encoder: SequenceEncoder,
        *,
        decay: float,
        clip_norm: float,
        lazy: bool = False,
    ) -> None:
        self._clip_norm = clip_norm
        self._named = dict(encoder.named_parameters())
        encoder.item.sparse = lazy
        self._embedding = encoder.item.weight if lazy else None
        dense = [weight for weight in self._named.values() if weight is not self._embedding]
        groups = [
            {"params": [weight for weight in dense if weight.dim() > 1], "weight_decay": decay},
            {"params": [weight for weight in dense if weight.dim() == 1], "weight_decay": 0.0},
        ]
        fused = encoder.item.weight.device.type in ("cpu", "cuda")
        self._parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, fused=fused)]
        if self._embedding is not None:
            self._parts.append(torch.optim.SparseAdam([self._embedding]))

    def step(self, loss: Tensor, rate: float | Tensor) -> None:
        """Follow the gradient of a loss with a learning rate; gradients are cleared before.

        A CUDA graph reads the rate at each replay if it is a tensor on the device.
        """
        on_gpu = isinstance(rate, Tensor) and rate.is_cuda
        for part in self._parts:
            part.zero_grad(set_to_none=True)
            for group in part.param_groups:
                group["lr"] = rate
                if on_gpu:  # torch warns if it is set and nothing is captured
                    group["capturable"] = torch.cuda.is_current_stream_capturing()
        loss.backward()  # type: ignore[no-untyped-call]
        self._clip()
        for part in self._parts:
            part.step()

    def _clip(self) -> None:
        """Scale all gradients so that their norm is `clip_norm` at most."""
        values = [_values(one) for one in self._named.values() if one.grad is not None]
        norm = nn.utils.get_total_norm(values)
        scale = (self._clip_norm / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(values, scale)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: moments and steps by parameter, the same lazy or not."""
        states = {name: self._part(one).state.get(one) for name, one in self._named.items()}
        return {
            name: {**state, "step": float(state["step"])} for name, state in states.items() if state
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name, kept in state.items():
            one = self._named[name]
            moments = {
                key: kept[key].to(one.device, copy=True) for key in ("exp_avg", "exp_avg_sq")
            }
            self._part(one).state[one] = {"step": self._steps(kept["step"], one), **moments}

    def _part(self, parameter: Tensor) -> torch.optim.Optimizer:
        return self._parts[1 if parameter is self._embedding else 0]

    def _steps(self, count: float, parameter: Tensor) -> int | Tensor:
        """A number of steps as torch keeps it."""
        if parameter is self._embedding:
            return int(count)
        fused = self._parts[0].defaults["fused"]
        return torch.tensor(count, device=parameter.device if fused else None)


def _values(parameter: Tensor) -> Tensor:
    """The values of a gradient; of a sparse one those of its rows, each row once."""
    gradient = parameter.grad
    assert gradient is not None
    if not gradient.is_sparse:
        return gradient
    parameter.grad = gradient.coalesce()
    return parameter.grad._values()
