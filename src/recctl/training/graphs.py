"""Whole training steps as CUDA graphs: one launch a step instead of some hundred."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from recctl.models.encoder import SequenceEncoder
from recctl.models.transformer import Transformer
from recctl.sequences.batching import Sizes
from recctl.training.distributed import World
from recctl.training.params import TrainParams

Rows = tuple[Tensor, ...]
Step = Callable[[Sizes, Rows, Tensor], Tensor]
"""Trains some rows with a rate, a tensor of no dimension; gives the loss. Asks the device nothing,
and takes from the host only what the sizes say and the generators' seeds."""
Work = Callable[[], Tensor]


def usable(
    params: TrainParams, encoder: SequenceEncoder, world: World, device: torch.device
) -> bool:
    """Whether a training's steps are captured: where it is asked for and can be done.

    Not with lazy Adam, whose work depends on the rows that a batch touches, and neither with the
    compiler nor with several processes, which have been run uncaptured only.
    """
    plain = params.loss == "full" and not params.compile and world.size == 1
    wanted = params.cuda_graphs and device.type == "cuda"
    return wanted and plain and isinstance(encoder, Transformer)


class Recorder(Protocol):
    """What captures work on a device."""

    def first(self, work: Work) -> Tensor:
        """Do the work, so that all that it needs only once is there when it is captured."""

    def capture(self, work: Work) -> Work:
        """Work that replays this one; nothing is computed yet. RuntimeError: it is impossible."""


class Graphs:
    """Trains steps of a few sizes: the first one of each as it is, later ones by replaying it."""

    def __init__(self, step: Step, rows: int, device: torch.device, recorder: Recorder) -> None:
        self._step, self._recorder = step, recorder
        kinds = (torch.int64, torch.int64, torch.int64, torch.bool)  # as `on_device` has them
        self._rows = tuple(torch.zeros(rows, dtype=kind, device=device) for kind in kinds)
        self._rate = torch.zeros((), device=device)
        self._known: dict[Sizes, Work] = {}
        self._refused = False
        self.say: Callable[[str], None] = lambda text: None
        """Is given a line where the device refuses to capture."""

    @property
    def rows(self) -> int:
        """The number of rows of a step."""
        return len(self._rows[0])

    def __call__(self, sizes: Sizes, rows: Sequence[Tensor], rate: float) -> Tensor:
        """Train some rows, padded with rows of length zero; the loss, on the device."""
        self._rate.fill_(rate)
        for kept, given in zip(self._rows, rows, strict=True):
            kept[: len(given)].copy_(given)
            if len(given) < len(kept):
                kept[len(given) :].zero_()
        if sizes in self._known:
            return self._known[sizes]()

        def work() -> Tensor:
            return self._step(sizes, self._rows, self._rate)

        loss = self._recorder.first(work)
        self._known[sizes] = self._captured(work)
        return loss

    def _captured(self, work: Work) -> Work:
        if not self._refused:
            try:
                return self._recorder.capture(work)
            except RuntimeError as error:
                self._refused, reason = True, str(error).splitlines()[0]
                self.say(f"train: steps are launched one operation at a time: {reason}")
        return work


class Cuda:
    """Captures CUDA graphs.

    They share one pool of memory: nothing that one leaves there is used by the next, since weights,
    moments, rows and rate are outside, and the loss is copied.
    """

    def __init__(self, device: torch.device, generator: torch.Generator) -> None:
        self._device, self._generator = device, generator
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def first(self, work: Work) -> Tensor:
        """Do the work on the stream that captures, as PyTorch's notes on CUDA graphs demand."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            loss = work()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        return loss

    def capture(self, work: Work) -> Work:
        """See `Recorder`; the graph draws from the generators as they are seeded at a replay."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)  # torch's own one is always registered
        captured = torch.cuda.graph(graph, pool=self._pool, stream=self._stream)
        try:
            # the outer one leaves the stream after a failure, too
            with torch.cuda.stream(self._stream), captured:
                loss = work()
        except RuntimeError:
            self._renew_generators()
            raise

        def replay() -> Tensor:
            graph.replay()
            return loss.clone()

        return replay

    def _renew_generators(self) -> None:
        """After a capture that failed a generator's state stays marked as being captured."""
        own = torch.cuda.default_generators[torch.cuda.current_device()]
        for one in (own, self._generator):
            one.graphsafe_set_state(torch.Generator(self._device).graphsafe_get_state())
