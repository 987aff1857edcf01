"""Steps of rounded sizes that are captured and replayed, here by stand-ins for CUDA."""

import contextlib
from pathlib import Path
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
from .recorders import Eager, Recorded, Refusing

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
    plan = exact.plan(1)
    rows = on_device(plan, device)
    assert len(plan.lengths) % params.batch_size  # the last batch is padded with rows
    for _ in range(len(plan)):
        rounded.encoder.load_state_dict(exact.encoder.state_dict())
        losses = [trainer.train_batch(plan, rows) for trainer in (exact, rounded)]
        torch.testing.assert_close(*losses)
        for one, other in zip(
            exact.encoder.parameters(), rounded.encoder.parameters(), strict=True
        ):
            assert one.grad is not None
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6)


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
        self.operators += 1
        return out


@pytest.mark.parametrize(
    ("model", "rounded"), [("bert4rec", True), ("sasrec", True), ("sasrec", False)]
)
def test_a_step_asks_the_device_nothing(
    monkeypatch: pytest.MonkeyPatch, model: str, rounded: bool
) -> None:
    """On the meta device, where tensors have no values: who reads one gets an error."""
    monkeypatch.setattr(torch, "Generator", _OfHost)
    monkeypatch.setattr(loop, "prepare", lambda device: None)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)  # has no kernel there
    histories, _ = tiny.sequences()
    meta = torch.device("meta")
    trainer = Trainer(histories, tiny.N_ITEMS, params_of(model, 0.2, average_epochs=1.0), meta)
    if rounded:
        trainer.replay_steps(Eager())
    plan = trainer.plan(1)
    rows = on_device(plan, meta)
    with _OnDevice() as watched:
        losses = [trainer.train_batch(plan, rows) for _ in range(2)]
    assert losses[1].device == meta
    assert watched.operators > 400


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


@pytest.mark.parametrize(
    ("changes", "world", "device"),
    [
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
