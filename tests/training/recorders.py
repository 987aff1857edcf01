"""What stands in for CUDA's capture on a CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recctl.training.graphs import Work


class Eager:
    """Captures nothing: work is done again."""

    def first(self, work: Work) -> Tensor:
        return work()

    def capture(self, work: Work) -> Work:
        return work


class _Tape(TorchDispatchMode):
    """Operators with their arguments, in memory that stays the same, as in a CUDA graph."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            for kept, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(kept, Tensor) and kept.data_ptr() != new.data_ptr():
                    kept.copy_(new)


class Recorded(Eager):
    """Records the operators of the first replay, and repeats only them in the later ones.

    A number that the host computes is repeated as it was, as a CUDA graph does.
    """

    def __init__(self) -> None:
        self.tapes: list[_Tape] = []
        self.replays = 0

    def capture(self, work: Work) -> Work:
        tape, kept = _Tape(), list[Tensor]()
        self.tapes.append(tape)

        def replay() -> Tensor:
            if kept:
                self.replays += 1
                tape.replay()
            else:
                with tape:
                    kept.append(work())
            return kept[0].clone()

        return replay


class Refusing(Eager):
    """Cannot capture anything."""

    def capture(self, work: Work) -> Work:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")


class Nothing(Eager):
    """Computes nothing at a replay: what is left is outside the graph."""

    def capture(self, work: Work) -> Work:
        loss = torch.zeros((), device="meta")
        return loss.clone
