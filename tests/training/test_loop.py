import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from recctl.errors import UserError
from recctl.training import checkpoint as checkpoints
from recctl.training.fit import fingerprint
from recctl.training.loop import Fit, Trainer, on_device
from recctl.training.params import TrainParams

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


@pytest.mark.parametrize(
    ("stop_at", "attention_dropout"),
    [((1, 2), 0.0), ((3, 4), 0.0), ((4, 0), 0.0), ((3, 4), 0.3), ((2, "validation"), 0.0)],
)
def test_killed_and_resumed_ends_with_the_same_weights(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: tuple[int, int | str],
    attention_dropout: float,
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0.0)
    shape = tiny.PARAMS.bert4rec.model_copy(update={"attention_dropout": attention_dropout})
    params = tiny.PARAMS.model_copy(update={"max_epochs": 4, "bert4rec": shape})
    undisturbed = tiny.train(tmp_path / "undisturbed", params)
    trained, validated = Trainer._step, Trainer._validate
    steps = 0

    class Killed(BaseException):
        pass

    def step(self: Trainer, *arguments: object) -> torch.Tensor:
        nonlocal steps
        if (self.position.epoch, self.position.batch) == stop_at:
            raise Killed
        steps += 1
        return trained(self, *arguments)  # type: ignore[arg-type]

    def validate(self: Trainer, *arguments: object) -> float:
        if (self.position.epoch, "validation") == stop_at:
            raise Killed
        return validated(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        patch.setattr(Trainer, "_validate", validate)
        with pytest.raises(Killed):
            tiny.train(tmp_path, params)
        before, stop_at = steps, (0, 0)
        torch.rand(7)  # whatever else drew from torch's own generator must not matter
        resumed = tiny.train(tmp_path, params)
    assert same(undisturbed, resumed)
    assert resumed.curve == undisturbed.curve
    batches = math.ceil((tiny.USERS + tiny.USERS // 10) / 8)
    assert before > 0
    assert steps == 4 * batches  # nothing was trained twice


@pytest.mark.parametrize(("model", "loss"), [("sasrec", "sampled"), ("gru4rec", "gbce")])
def test_a_network_of_any_kind_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, loss: str
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0.0)
    small = {"max_length": 10, "hidden_size": 16, "dropout": 0.2}
    if model == "sasrec":
        small |= {"attention_dropout": 0.2, "item_dropout": 0.2}
    changes = {"model": model, "loss": loss, "negatives": 8, "max_epochs": 3, model: small}
    changes["average_epochs"] = 1.0
    params = TrainParams.model_validate({**tiny.PARAMS.model_dump(), **changes})
    undisturbed = tiny.train(tmp_path / "undisturbed", params)
    trained = Trainer._step

    def step(self: Trainer, *arguments: object) -> torch.Tensor:
        if (self.position.epoch, self.position.batch) == (2, 3):
            raise KeyboardInterrupt
        return trained(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(KeyboardInterrupt):
            tiny.train(tmp_path, params)
    resumed = tiny.train(tmp_path, params)
    assert same(undisturbed, resumed)
    assert resumed.curve == undisturbed.curve


@pytest.mark.parametrize("loss", ["full", "sampled", "gbce"])
@pytest.mark.parametrize("model", ["bert4rec", "sasrec"])
def test_seen_items_are_no_rivals_where_rankings_filter_them(model: str, loss: str) -> None:
    """The first batch's loss is over fewer items; by default as the ranking will be."""
    network = {"max_length": 10, "hidden_size": 16, "dropout": 0.0}
    changes = {"model": model, "loss": loss, "negatives": 200, model: network}
    params = TrainParams.model_validate({**tiny.PARAMS.model_dump(), **changes})
    histories, _ = tiny.sequences()

    def first(filter_seen: bool) -> float:
        ranked = params.ranked(filter_seen)
        assert ranked.filter_seen is filter_seen
        assert ranked.ranked(filter_seen=True) == ranked
        trainer = Trainer(histories, tiny.N_ITEMS, ranked, tiny.CPU)
        plan = trainer.plan(1)
        return float(trainer.train_batch(plan, on_device(plan, trainer.device)))

    assert first(filter_seen=True) < first(filter_seen=False) - 0.01


def test_seen_items_are_not_ranked_by_a_model_that_learns_nothing_of_them() -> None:
    params = TrainParams(filter_seen=True)
    with pytest.raises(UserError, match=r"evaluate\.filter_seen is false.*; leave train\.filter"):
        params.ranked(filter_seen=False)


@pytest.mark.parametrize("batch_size", [40, 8, 3])  # 4, 17 and 44 batches of 132 rows
def test_what_is_kept_is_the_average(tmp_path: Path, batch_size: int) -> None:
    """Of one epoch, by hand: some 16 updates, each with a share of all updates in half an epoch."""
    changes = {"max_epochs": 1, "average_epochs": 0.5, "batch_size": batch_size}
    params = tiny.PARAMS.model_copy(update=changes)
    kept = tiny.train(tmp_path / "kept", params)
    histories, _ = tiny.sequences()
    trainer = Trainer(histories, tiny.N_ITEMS, params, torch.device("cpu"))
    plan = trainer.plan(1)
    every = {40: 1, 8: 1, 3: 2}[batch_size]
    longest = 1 - 1 / (0.5 * len(plan) / every)
    expected: dict[str, torch.Tensor] = {}
    for batch in range(len(plan)):
        trainer.train_batch(plan, on_device(plan, trainer.device))
        if (batch + 1) % every:
            continue
        count = (batch + 1) // every - 1
        share = 1.0 if count == 0 else 1 - min(longest, (1 + count) / (10 + count))
        for name, now in trainer.encoder.state_dict().items():
            before = expected.get(name, now)
            expected[name] = before + share * (now - before)
    for name, tensor in weights(kept).items():
        torch.testing.assert_close(tensor, expected[name])
        assert not torch.equal(tensor, trainer.encoder.state_dict()[name])


def test_a_finished_training_is_not_trained_again(undisturbed: Fit, tmp_path: Path) -> None:
    tiny.train(tmp_path)
    (checkpoint,) = tmp_path.glob("*.pt")
    before = checkpoint.read_bytes()
    again = tiny.train(tmp_path)
    assert same(undisturbed, again)
    assert again.curve == undisturbed.curve
    assert again.sequences_per_second > 0
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_of_other_params_is_set_aside(undisturbed: Fit, tmp_path: Path) -> None:
    for number in range(6):
        tiny.train(
            tmp_path, tiny.PARAMS.model_copy(update={"seed": 9, "max_epochs": 1}), f"{number}" * 64
        )
    assert same(undisturbed, tiny.train(tmp_path))
    assert len(list(tmp_path.glob("*.pt"))) == 4  # three aside, and its own


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "text", "another's"])
def test_a_damaged_checkpoint_is_named_in_one_line(tmp_path: Path, damage: str) -> None:
    tiny.train(tmp_path, tiny.PARAMS.model_copy(update={"max_epochs": 1}))
    (path,) = tmp_path.glob("*.pt")
    content = path.read_bytes()
    contents = {
        "cut": [content[:length] for length in (1, 31, 32, 33, 5_000, len(content) - 1)],
        "empty": [b""],
        "flipped": [
            content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
            for at in range(0, len(content), 7_919)
        ],
        "text": [b"not a checkpoint"],
        "another's": [content],
    }
    fingerprint = "f" * 64
    if damage == "another's":
        path.unlink()
        path, fingerprint = tmp_path / f"{'e' * 16}.pt", "e" * 64
    for one in contents[damage]:
        path.write_bytes(one)
        with pytest.raises(UserError) as caught:
            tiny.train(tmp_path, fingerprint=fingerprint)
        assert str(caught.value).startswith(f"checkpoint {path} is damaged")
        assert "delete it" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == one  # and it is still there


def test_the_fingerprint_tells_trainings_apart() -> None:
    shape = tiny.PARAMS.bert4rec.model_copy(update={"mask_probability": 0.31})
    changed = [{"seed": 1}, {"learning_rate": 0.1}, {"max_epochs": 9}, {"bert4rec": shape}]
    others = [tiny.PARAMS.model_copy(update=change) for change in changed]
    all_of_them = {
        fingerprint(tiny.PARAMS, "split", True),
        fingerprint(tiny.PARAMS, "other split", True),
        fingerprint(tiny.PARAMS, "split", False),
        *(fingerprint(params, "split", True) for params in others),
    }
    assert len(all_of_them) == 3 + len(others)
    elsewhere = tiny.PARAMS.model_copy(update={"device": "cpu"})
    assert fingerprint(elsewhere, "split", True) == fingerprint(tiny.PARAMS, "split", True)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not finite in epoch \d+; lower train\.learning_rate"):
        tiny.train(tmp_path, tiny.PARAMS.model_copy(update={"learning_rate": 1e30}))


def test_a_last_step_into_nowhere_is_found(tmp_path: Path) -> None:
    """The loss of a step is that of the weights before it."""
    update = {"learning_rate": 1e30, "max_epochs": 1, "batch_size": 1000, "warmup_steps": 0}
    with pytest.raises(UserError, match=r"are not finite in epoch 1; lower train\.learning"):
        tiny.train(tmp_path, tiny.PARAMS.model_copy(update=update))


def _cuda(*arguments: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def _cpu(*arguments: object) -> None:
    torch.empty(2**60)  # more than there are addresses


@pytest.mark.parametrize("no_memory", [_cuda, _cpu])
def test_too_little_memory_says_what_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_memory: Callable[..., None]
) -> None:
    monkeypatch.setattr("recctl.training.fit.Trainer", no_memory)
    with pytest.raises(UserError, match=r"more memory than cpu has; lower train\.batch_size"):
        tiny.train(tmp_path)


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


@pytest.mark.parametrize(
    ("model", "loss", "epochs"),
    [
        ("sasrec", "full", 24),
        ("gru4rec", "full", 24),
        ("lstm", "full", 24),
        ("caser", "full", 24),
        ("sasrec", "sampled", 24),
        ("gru4rec", "gbce", 24),
        ("bert4rec", "gbce", 60),  # fewer targets in a step
    ],
)
def test_every_network_and_every_loss_learns(
    tmp_path: Path, model: str, loss: str, epochs: int
) -> None:
    small = {"max_length": 10, "hidden_size": 16, "dropout": 0.1}
    changes = {
        "model": model,
        "loss": loss,
        "negatives": 12,
        "max_epochs": epochs,
        "patience": epochs,
        "validate_every": epochs,
    }
    params = TrainParams.model_validate({**tiny.PARAMS.model_dump(), **changes, model: small})
    fit = tiny.train(tmp_path, params)
    assert fit.model.kind == model
    assert fit.curve[-1].loss < fit.curve[0].loss
    assert fit.best_ndcg > 0.3  # chance: the sum of 1 / log2(r + 1) to 10, over 24: 0.19


@pytest.mark.parametrize("model", ["popularity", "markov", "item-knn"])
def test_models_without_epochs(tmp_path: Path, model: str) -> None:
    fit = tiny.train(tmp_path, tiny.PARAMS.model_copy(update={"model": model}))
    assert fit.model.kind == model
    assert 0 < fit.best_ndcg <= 1
    assert not fit.curve
    assert not list(tmp_path.glob("*.pt"))
