"""Steps of rounded sizes that are captured and replayed, here by stand-ins for CUDA."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recctl.sequences import cloze
from recctl.training import checkpoint as checkpoints
from recctl.training import graphs, loop
from recctl.training.distributed import World
from recctl.training.loop import Fit, Trainer, on_device
from recctl.training.params import TrainParams

from . import tiny
from .recorders import Eager, Nothing, Recorded, Refusing

TRANSFORMERS = ("bert4rec", "sasrec")


def params_of(model: str, drop: float = 0.0, **changes: Any) -> TrainParams:
    """The tiny training of a model, without seen items as rivals."""
    network = {"max_length": 10, "hidden_size": 16, "dropout": drop, "attention_dropout": drop}
    plain = {"model": model, "max_epochs": 2, "batch_size": 20, "filter_seen": True}
    return TrainParams.model_validate(
        {**tiny.PARAMS.model_dump(), **plain, **changes, model: network}
    )


def _last_ones(
    lengths: Tensor, last_only: Tensor, inside: Tensor, most_masked: int, generator: object
) -> Tensor:
    """Masks a row's last items; nothing is drawn, which would depend on the sizes."""
    places = torch.arange(most_masked, device=lengths.device)
    return (lengths[:, None] - 1 - places).clamp(min=0)


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=tiny.GPU)])
@pytest.mark.parametrize(("model", "filter_seen"), [("bert4rec", True), ("sasrec", False)])
def test_a_step_of_rounded_sizes_is_the_exact_one(
    monkeypatch: pytest.MonkeyPatch, model: str, filter_seen: bool, name: str
) -> None:
    """Loss and gradients of each batch, of one of few rows too; without random draws."""
    monkeypatch.setattr(cloze, "_positions", _last_ones)
    monkeypatch.setattr(graphs, "usable", lambda *_: False)
    params, device = params_of(model, filter_seen=filter_seen, batch_size=25), torch.device(name)
    histories, _ = tiny.sequences()
    exact, rounded = (Trainer(histories, tiny.N_ITEMS, params, device) for _ in range(2))
    torch.set_float32_matmul_precision("highest")  # a GPU would round to TF32
    rounded.replay_steps(Eager())
    near = {"rtol": 1e-4, "atol": 1e-6} if name == "cpu" else {"rtol": 1e-3, "atol": 1e-4}
    plan = exact.plan(1)
    rows = on_device(plan, device)
    assert len(plan.lengths) % params.batch_size  # the last batch is padded with rows
    for _ in range(len(plan)):
        rounded.encoder.load_state_dict(exact.encoder.state_dict())
        losses = [trainer.train_batch(plan, rows) for trainer in (exact, rounded)]
        torch.testing.assert_close(*losses, **near)
        for one, other in zip(
            exact.encoder.parameters(), rounded.encoder.parameters(), strict=True
        ):
            assert one.grad is not None
            torch.testing.assert_close(other.grad, one.grad, **near)


def _trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch, params: TrainParams, recorder: graphs.Recorder
) -> Fit:
    with monkeypatch.context() as patch:
        patch.setattr(graphs, "usable", lambda *_: True)
        patch.setattr(graphs, "Cuda", lambda *_: recorder)
        return tiny.train(folder, params)


def _same(a: Fit, b: Fit) -> bool:
    return a.curve == b.curve and all(
        map(torch.equal, a.model.tensors().values(), b.model.tensors().values())
    )


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_replayed_steps_train_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """To the last bit, with dropout, masks and a rate that change at each step."""
    params = params_of(model, 0.2, average_epochs=1.0)
    recorder = Recorded()
    replayed = _trained(tmp_path / "replayed", monkeypatch, params, recorder)
    assert recorder.replays > 4
    assert len(recorder.tapes) <= 12
    assert _same(replayed, _trained(tmp_path / "eager", monkeypatch, params, Eager()))
    refused = _trained(tmp_path / "refused", monkeypatch, params, Refusing())
    assert _same(replayed, refused)
    plain = tiny.train(tmp_path / "plain", params)  # draws other masks
    assert replayed.curve[-1].loss == pytest.approx(plain.curve[-1].loss, rel=0.15)


def test_replayed_steps_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed training captures again; moments, average and random numbers go on."""
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0.0)
    params = params_of("bert4rec", 0.2, average_epochs=1.0)
    undisturbed = _trained(tmp_path / "undisturbed", monkeypatch, params, Recorded())
    trained = Trainer._step

    def step(self: Trainer, *arguments: Any) -> Tensor:
        if (self.position.epoch, self.position.batch) == (2, 2):
            raise KeyboardInterrupt
        return trained(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(KeyboardInterrupt):
            _trained(tmp_path, monkeypatch, params, Recorded())
    assert _same(undisturbed, _trained(tmp_path, monkeypatch, params, Recorded()))


class _OfHost(torch.Generator):
    """The meta device has no generator, but takes one of the host."""

    def __new__(cls, device: object = None) -> Self:
        return super().__new__(cls)


class _OnDevice(TorchDispatchMode):
    """Fails where an operator reads or writes memory of the host."""

    def __init__(self) -> None:
        super().__init__()
        self.operators = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        assert all(one.device.type == "meta" for one in tensors), func
        self.operators += not func.is_view
        return out


def _on_meta(monkeypatch: pytest.MonkeyPatch, model: str) -> Trainer:
    """A training on the device where tensors have no values: who reads one gets an error."""
    monkeypatch.setattr(torch, "Generator", _OfHost)
    monkeypatch.setattr(loop, "prepare", lambda device: None)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)  # has no kernel there
    params = params_of(model, 0.2, average_epochs=1.0)
    return Trainer(tiny.sequences()[0], tiny.N_ITEMS, params, torch.device("meta"))


@pytest.mark.parametrize(
    ("model", "rounded"), [("bert4rec", True), ("sasrec", True), ("sasrec", False)]
)
def test_a_step_asks_the_device_nothing(
    monkeypatch: pytest.MonkeyPatch, model: str, rounded: bool
) -> None:
    trainer = _on_meta(monkeypatch, model)
    if rounded:
        trainer.replay_steps(Eager())
    plan = trainer.plan(1)
    rows = on_device(plan, trainer.device)
    with _OnDevice() as watched:
        losses = [trainer.train_batch(plan, rows) for _ in range(2)]
    assert losses[1].device == trainer.device
    assert watched.operators > 400


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_a_replayed_step_launches_little_beside_the_graph(
    monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Copies of the rows, the rate and the loss; an average where it is due."""
    trainer = _on_meta(monkeypatch, model)
    trainer.replay_steps(Nothing())
    plan = trainer.plan(1)
    rows = on_device(plan, trainer.device)
    operators = []
    for _ in range(2):
        trainer.position.batch = 0
        with _OnDevice() as watched:
            trainer.train_batch(plan, rows)
        operators.append(watched.operators)
    print(f"{model}: {operators[0]} operators launched, {operators[1]} beside a graph")
    assert operators[1] <= 7 < 200 < operators[0]


def test_it_says_why_steps_are_not_captured() -> None:
    said: list[str] = []
    steps = graphs.Graphs(lambda sizes, rows, rate: rate * 2, 3, tiny.CPU, Refusing())
    steps.say = said.append
    histories, _ = tiny.sequences()
    plan = Trainer(histories, tiny.N_ITEMS, params_of("sasrec"), tiny.CPU).plan(1)
    rows = [one[:2] for one in on_device(plan, tiny.CPU)]
    for part, rate in ((slice(2), 0.5), (slice(2), 1.0), (slice(1, 3), 2.0)):
        assert float(steps(plan.sizes(part), rows, rate)) == 2 * rate
    assert said == ["train: steps are launched one operation at a time: operation not permitted"]


class _Cuda:
    """Stands in for torch.cuda, and notes what is asked of it."""

    def __init__(self, generator: Any) -> None:
        self.calls: list[str] = []
        self.default_generators = [generator]
        self.fails = False

    def Stream(self, device: object) -> Any:
        return self._stream("side")

    def current_stream(self, device: object) -> Any:
        return self._stream("main")

    def _stream(self, name: str) -> Any:
        def wait_stream(other: Any) -> None:
            self.calls.append(f"{name} waits for {other.name}")

        return SimpleNamespace(name=name, wait_stream=wait_stream)

    def current_device(self) -> int:
        return 0

    def graph_pool_handle(self) -> str:
        return "pool"

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.calls.append(f"on {stream.name}")
        try:
            yield
        finally:
            self.calls.append("back")

    def CUDAGraph(self) -> Any:
        return SimpleNamespace(
            register_generator_state=lambda generator: self.calls.append("registers"),
            replay=lambda: self.calls.append("replays"),
        )

    @contextlib.contextmanager
    def graph(self, graph: Any, pool: str, stream: Any) -> Iterator[None]:
        self.calls.append(f"captures on {stream.name} into {pool}")
        yield
        if self.fails:
            raise RuntimeError("operation not permitted")


def test_what_is_asked_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of PyTorch's notes on CUDA graphs. It has not run on a GPU (docs/models.md)."""
    renewed: list[str] = []
    generator: Any = SimpleNamespace(graphsafe_set_state=renewed.append)
    cuda, loss = _Cuda(generator), torch.ones(())
    monkeypatch.setattr(torch, "cuda", cuda)
    fresh = SimpleNamespace(graphsafe_get_state=lambda: "fresh")
    monkeypatch.setattr(torch, "Generator", lambda device: fresh)
    recorder = graphs.Cuda(tiny.CPU, generator)

    def work() -> Tensor:
        cuda.calls.append("works")
        return loss

    def asked() -> list[str]:
        calls, cuda.calls = cuda.calls, []
        return calls

    assert recorder.first(work) is loss
    assert asked() == ["side waits for main", "on side", "works", "back", "main waits for side"]
    replay = recorder.capture(work)
    capture = ["registers", "on side", "captures on side into pool", "works", "back"]
    assert asked() == capture
    copied = replay()
    assert asked() == ["replays"]
    loss.fill_(2.0)  # as the next replay does
    assert float(copied) == 1
    assert not renewed
    cuda.fails = True
    with pytest.raises(RuntimeError, match="not permitted"):
        recorder.capture(work)
    assert asked() == capture
    assert renewed == ["fresh", "fresh"]


@pytest.mark.parametrize(
    ("changes", "world", "device"),
    [
        ({"cuda_graphs": False}, World(), "cuda"),
        ({"loss": "sampled"}, World(), "cuda"),
        ({"compile": True}, World(), "cuda"),
        ({}, World(1, 2), "cuda"),
        ({"model": "gru4rec"}, World(), "cuda"),
        ({}, World(), "mps"),
        ({}, World(), "cpu"),
    ],
)
def test_what_is_not_captured(changes: dict[str, Any], world: World, device: str) -> None:
    def usable(params: TrainParams, world: World, device: str) -> bool:
        encoder = loop._build(tiny.sequences()[0], tiny.N_ITEMS, params)
        return graphs.usable(params, encoder, world, torch.device(device))

    params = tiny.PARAMS.model_dump()
    assert usable(tiny.PARAMS, World(), "cuda")
    assert not usable(TrainParams.model_validate({**params, **changes}), world, device)
