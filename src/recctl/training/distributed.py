"""The processes that train one model together, each with its share of every batch."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from recctl.models.encoder import SequenceEncoder

_PATIENCE = timedelta(minutes=30)
"""How long a process waits for one that writes a checkpoint or compiles."""


@dataclass(frozen=True)
class World:
    """This process's rank among `size` processes; by default the only one."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and prints."""
        return self.rank == 0

    def share(self, begin: int, end: int) -> slice:
        """This process's share of the rows from begin to end: every size-th one."""
        return slice(begin + self.rank, end, self.size)

    def wrap(self, encoder: SequenceEncoder) -> torch.nn.Module:
        """The network with gradients that are the mean over all ranks."""
        if self.size == 1:
            return encoder
        return DistributedDataParallel(encoder, broadcast_buffers=False)

    def mean(self, loss: Tensor) -> Tensor:
        """The mean of a number over all ranks."""
        if self.size == 1:
            return loss
        total = loss.clone()
        dist.all_reduce(total)
        return total / self.size

    def gather(self, own: Any) -> list[Any]:
        """The values of all ranks, in their order."""
        if self.size == 1:
            return [own]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, own)
        return values


@contextlib.contextmanager
def joined(world: World, device: torch.device, meeting: Path) -> Iterator[None]:
    """Join the other ranks through a new file; no port is opened."""
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{meeting}",
        rank=world.rank,
        world_size=world.size,
        timeout=_PATIENCE,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()
