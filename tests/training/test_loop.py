import json
import math
from pathlib import Path

import pytest
import torch

from recctl.errors import UserError
from recctl.training import checkpoint as checkpoints
from recctl.training.loop import Fit, Trainer

from . import tiny

GOLDEN = Path(__file__).parent.parent / "golden" / "bert4rec.json"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    return tiny.train(tmp_path_factory.mktemp("undisturbed"))


def weights(fit: Fit) -> dict[str, torch.Tensor]:
    return fit.model.tensors()


def same(a: Fit, b: Fit) -> bool:
    return all(torch.equal(weights(a)[name], weights(b)[name]) for name in weights(a))


def test_golden_run(undisturbed: Fit) -> None:
    """The loss curve is the one on record; other CPUs round differently, in the last digits."""
    golden = json.loads(GOLDEN.read_text())
    assert [row.loss for row in undisturbed.curve] == pytest.approx(golden["loss"], rel=2e-3)
    assert [row.ndcg for row in undisturbed.curve] == pytest.approx(golden["ndcg@10"], abs=0.03)


def test_it_learns(undisturbed: Fit) -> None:
    assert undisturbed.curve[0].loss == pytest.approx(math.log(tiny.N_ITEMS), rel=0.15)
    assert undisturbed.curve[-1].loss < undisturbed.curve[0].loss - 0.3
    assert undisturbed.best_ndcg > 0.3  # chance: the sum of 1 / log2(r + 1) to 10, over 24: 0.19


def test_the_seed_decides(undisturbed: Fit, tmp_path: Path) -> None:
    assert same(undisturbed, tiny.train(tmp_path / "again"))
    other = tiny.train(tmp_path / "other", tiny.PARAMS.model_copy(update={"seed": 1}))
    assert not same(undisturbed, other)


@pytest.mark.parametrize("stop_at", [(1, 2), (3, 4), (4, 0)])
def test_killed_and_resumed_ends_with_the_same_weights(
    undisturbed: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: tuple[int, int]
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0.0)
    trained = Trainer._step
    steps = 0

    class Killed(BaseException):
        pass

    def step(self: Trainer, *arguments: object) -> torch.Tensor:
        nonlocal steps
        if (self.position.epoch, self.position.batch) == stop_at:
            raise Killed
        steps += 1
        return trained(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Killed):
            tiny.train(tmp_path)
        before, stop_at = steps, (0, 0)
        resumed = tiny.train(tmp_path)
    assert same(undisturbed, resumed)
    assert resumed.curve == undisturbed.curve
    batches = math.ceil((tiny.USERS + tiny.USERS // 10) / 8)
    assert before > 0
    assert steps == tiny.PARAMS.max_epochs * batches  # nothing was trained twice


def test_a_finished_training_is_not_trained_again(undisturbed: Fit, tmp_path: Path) -> None:
    tiny.train(tmp_path)
    again = tiny.train(tmp_path)
    assert same(undisturbed, again)
    assert again.sequences_per_second == 0


def test_a_checkpoint_of_other_params_is_set_aside(undisturbed: Fit, tmp_path: Path) -> None:
    for number in range(6):
        tiny.train(
            tmp_path, tiny.PARAMS.model_copy(update={"seed": 9, "max_epochs": 1}), f"{number}" * 64
        )
    assert same(undisturbed, tiny.train(tmp_path))
    assert len(list(tmp_path.glob("*.pt"))) == 4  # three aside, and its own


@pytest.mark.parametrize("damage", ["cut", "text", "another's"])
def test_a_damaged_checkpoint_is_named_in_one_line(tmp_path: Path, damage: str) -> None:
    tiny.train(tmp_path, tiny.PARAMS.model_copy(update={"max_epochs": 1}))
    (path,) = tmp_path.glob("*.pt")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    elif damage == "text":
        path.write_text("not a checkpoint")
    else:
        path.rename(tmp_path / f"{'e' * 16}.pt")
    with pytest.raises(UserError) as caught:
        tiny.train(tmp_path, fingerprint=("e" if damage == "another's" else "f") * 64)
    assert str(caught.value).startswith(f"checkpoint {tmp_path}")
    assert "delete it" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(list(tmp_path.glob("*.pt"))) == 1  # and it is still there


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not finite in epoch \d+; lower train\.learning_rate"):
        tiny.train(tmp_path, tiny.PARAMS.model_copy(update={"learning_rate": 1e30}))


def test_early_stopping_and_the_cap(undisturbed: Fit, tmp_path: Path) -> None:
    still = tiny.PARAMS.model_copy(
        update={"learning_rate": 1e-12, "patience": 2, "max_epochs": 50, "warmup_steps": 0}
    )
    stopped = tiny.train(tmp_path / "a", still)
    assert len(stopped.curve) == stopped.best_epoch + 2 < 50
    assert not stopped.capped
    capped = tiny.train(tmp_path / "b", tiny.PARAMS.model_copy(update={"max_epochs": 1}))
    assert capped.capped


def test_unknown_model_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown model 'bert4rek'; did you mean 'bert4rec'"):
        tiny.train(tmp_path, tiny.PARAMS.model_copy(update={"model": "bert4rek"}))


@pytest.mark.parametrize("model", ["popularity", "markov", "item-knn"])
def test_models_without_epochs(tmp_path: Path, model: str) -> None:
    fit = tiny.train(tmp_path, tiny.PARAMS.model_copy(update={"model": model}))
    assert fit.model.kind == model
    assert 0 < fit.best_ndcg <= 1
    assert not fit.curve
    assert not list(tmp_path.glob("*.pt"))
