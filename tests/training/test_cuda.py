"""Training and scoring on a GPU: what a CPU says, and without waiting for the host."""

from pathlib import Path
from typing import Any

import pytest
import torch

from recctl.models import NEURAL
from recctl.training import checkpoint as checkpoints
from recctl.training.loop import Trainer, on_device
from recctl.training.params import TrainParams

from . import tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

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
    """With the loss over the whole catalogue, and no average of the weights to be taken."""
    params = params_of(model, network=network, precision=precision)
    histories, _ = tiny.sequences()
    trainer = Trainer(histories, tiny.N_ITEMS, params, CUDA)
    plan = trainer.plan(1)
    rows = on_device(plan, CUDA)
    trainer.train_batch(plan, rows)  # the first one sets things up
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            loss_there = trainer.train_batch(plan, rows)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(loss_there)


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
    assert [row.loss for row in resumed.curve] == pytest.approx(
        [row.loss for row in undisturbed.curve], rel=1e-2
    )


def test_compiled_it_learns_the_same(tmp_path: Path) -> None:
    plain = tiny.train(tmp_path / "plain", params_of("sasrec"), device=CUDA)
    compiled = tiny.train(tmp_path / "compiled", params_of("sasrec", compile=True), device=CUDA)
    assert [row.loss for row in compiled.curve] == pytest.approx(
        [row.loss for row in plain.curve], rel=1e-2
    )
