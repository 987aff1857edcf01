"""Training and scoring on a GPU: what a CPU says, and without waiting for the host.

Steps of transformers with the full loss are CUDA graphs here. `make test-gpu` runs this.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from recctl.models import NEURAL
from recctl.sequences.store import Histories
from recctl.training import checkpoint as checkpoints
from recctl.training import graphs
from recctl.training.loop import Trainer, on_device
from recctl.training.params import TrainParams

from . import tiny
from .recorders import Eager

pytestmark = tiny.GPU

CUDA = torch.device("cuda")
TRANSFORMERS = ("bert4rec", "sasrec")


def params_of(model: str, **changes: Any) -> TrainParams:
    """The tiny training of a model, without dropout where nothing else is said."""
    network = {"max_length": 10, "hidden_size": 16, "dropout": 0.0, **changes.pop("network", {})}
    plain = {"model": model, "max_epochs": 4}
    return TrainParams.model_validate(
        {**tiny.PARAMS.model_dump(), **plain, **changes, model: network}
    )


@pytest.mark.parametrize("model", ["sasrec", "gru4rec", "lstm", "caser"])
@pytest.mark.parametrize("loss", ["full", "sampled", "gbce"])
def test_where_nothing_is_drawn_the_curve_is_a_cpu_s(tmp_path: Path, model: str, loss: str) -> None:
    params = params_of(model, loss=loss, negatives=8)
    there = tiny.train(tmp_path / "gpu", params, device=CUDA)
    here = tiny.train(tmp_path / "cpu", params)
    assert [row.loss for row in there.curve] == pytest.approx(
        [row.loss for row in here.curve], rel=1e-2
    )
    assert there.best_ndcg == pytest.approx(here.best_ndcg, abs=0.03)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_different_masks_lead_to_the_same(tmp_path: Path, precision: str) -> None:
    """A GPU draws other masks and other dropout."""
    params = tiny.PARAMS.model_copy(update={"average_epochs": 1.0, "precision": precision})
    there = tiny.train(tmp_path / "gpu", params, device=CUDA)
    here = tiny.train(tmp_path / "cpu", params)
    assert there.curve[-1].loss == pytest.approx(here.curve[-1].loss, rel=0.15)
    assert there.best_ndcg == pytest.approx(here.best_ndcg, abs=0.1)


@pytest.mark.parametrize(
    ("model", "network"),
    [*((model, {}) for model in NEURAL), *((one, {"rotary": False}) for one in TRANSFORMERS)],
)
def test_scores_are_a_cpu_s(tmp_path: Path, model: str, network: dict[str, Any]) -> None:
    fitted = tiny.train(tmp_path, params_of(model, network=network)).model
    assert isinstance(fitted, NEURAL[model])
    there = NEURAL[model].restore(fitted.settings(), fitted.tensors(), CUDA)
    histories, _ = tiny.sequences()
    scores = there.score(histories)
    assert scores.device.type == "cuda"
    torch.testing.assert_close(scores.cpu(), fitted.score(histories), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("model", "network"),
    [
        ("bert4rec", {"dropout": 0.2}),
        ("bert4rec", {"attention_dropout": 0.2}),
        ("bert4rec", {"rotary": False}),
        ("sasrec", {"dropout": 0.2, "item_dropout": 0.2}),
        ("sasrec", {"rotary": False}),
        ("gru4rec", {"dropout": 0.2}),
        ("caser", {"dropout": 0.2}),
    ],
)
def test_a_step_does_not_wait(model: str, network: dict[str, Any], precision: str) -> None:
    """With the loss over the whole catalogue; batches of thousands of items."""
    shape = {"max_length": 100, **network}
    params = params_of(model, network=shape, precision=precision, batch_size=64, average_epochs=1.0)
    _, again = _long_rows(params)
    again()  # sets things up and captures
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = again()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(losses).all()


def _long_rows(params: TrainParams) -> tuple[Trainer, Callable[[], torch.Tensor]]:
    """A training on rows of up to 120 items, and what trains its first epoch once more."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(tiny.N_ITEMS, size=size).tolist() for size in rng.integers(1, 121, 200)]
    trainer = Trainer(Histories.of(rows), tiny.N_ITEMS, params, CUDA)
    plan = trainer.plan(1)
    sent = on_device(plan, CUDA)

    def again() -> torch.Tensor:
        trainer.position.batch = 0
        return torch.stack([trainer.train_batch(plan, sent) for _ in range(len(plan))])

    return trainer, again


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_replayed_steps_train_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """As the same steps launched one operation at a time: with the same dropout and masks."""
    network = {"dropout": 0.2, "attention_dropout": 0.2}
    params = params_of(model, network=network, average_epochs=1.0)
    replayed = tiny.train(tmp_path / "replayed", params, device=CUDA)
    monkeypatch.setattr(graphs, "Cuda", lambda *_: Eager())
    eager = tiny.train(tmp_path / "eager", params, device=CUDA)
    assert [row.loss for row in replayed.curve] == pytest.approx(
        [row.loss for row in eager.curve], rel=1e-2
    )
    assert replayed.best_ndcg == pytest.approx(eager.best_ndcg, abs=0.03)


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_steps_are_captured_and_memory_does_not_grow(model: str) -> None:
    shape = {"max_length": 100, "dropout": 0.2, "attention_dropout": 0.2}
    trainer, again = _long_rows(params_of(model, network=shape, batch_size=16, average_epochs=1.0))
    refused: list[str] = []
    assert trainer._graphs is not None
    trainer._graphs.say = refused.append
    again()
    again()
    before = torch.cuda.memory_reserved()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        losses = again()
    launched = sum(one.count for one in profiled.key_averages() if one.key == "cudaGraphLaunch")
    assert launched == len(losses)
    assert torch.cuda.memory_reserved() <= before
    assert not refused


def test_after_a_refused_capture_the_device_works() -> None:
    generator = torch.Generator(CUDA)
    recorder = graphs.Cuda(CUDA, generator)

    def reads() -> torch.Tensor:
        drawn = torch.rand(3, device=CUDA, generator=generator) + torch.rand(3, device=CUDA)
        return drawn * drawn.sum().item()

    with pytest.raises(RuntimeError):
        recorder.capture(reads)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.isfinite(reads()).all()
    torch.cuda.manual_seed(1)
    first = torch.rand(3, device=CUDA)
    torch.cuda.manual_seed(1)
    assert torch.equal(torch.rand(3, device=CUDA), first)


@pytest.mark.parametrize("model", ["bert4rec", "sasrec"])
def test_killed_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """Nothing is trained twice or left out; sums on a GPU differ in their last digits."""
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0.0)
    params = params_of(model, network={"dropout": 0.2}, average_epochs=1.0)
    trained, steps, killed = Trainer._step, 0, True

    def step(self: Trainer, *arguments: Any) -> torch.Tensor:
        nonlocal steps, killed
        if not killed and (self.position.epoch, self.position.batch) == (2, 3):
            killed = True
            raise KeyboardInterrupt
        steps += 1
        return trained(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", step)
    undisturbed = tiny.train(tmp_path / "undisturbed", params, device=CUDA)
    once, killed = steps, False
    with pytest.raises(KeyboardInterrupt):
        tiny.train(tmp_path, params, device=CUDA)
    resumed = tiny.train(tmp_path, params, device=CUDA)
    assert steps == 2 * once
    ours, theirs = undisturbed.model.tensors(), resumed.model.tensors()
    same = all(map(torch.equal, ours.values(), theirs.values()))
    print(f"{model}: resumed weights are the same to the last bit: {same}")
    assert [row.loss for row in resumed.curve] == pytest.approx(
        [row.loss for row in undisturbed.curve], rel=1e-2
    )


def test_compiled_it_learns_the_same(tmp_path: Path) -> None:
    plain = tiny.train(tmp_path / "plain", params_of("sasrec"), device=CUDA)
    compiled = tiny.train(tmp_path / "compiled", params_of("sasrec", compile=True), device=CUDA)
    assert [row.loss for row in compiled.curve] == pytest.approx(
        [row.loss for row in plain.curve], rel=1e-2
    )
