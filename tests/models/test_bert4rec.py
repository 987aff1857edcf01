import pytest
import torch

from recctl.errors import UserError
from recctl.models import load_model
from recctl.models.base import save_model
from recctl.models.bert4rec import Bert4Rec, Encoder
from recctl.sequences.store import Histories

N_ITEMS = 30


@pytest.fixture
def model() -> Bert4Rec:
    encoder = Encoder(N_ITEMS, 8, 12, 2, 3, 0.1, 0.0)
    encoder.initialise(torch.Generator().manual_seed(0))
    return Bert4Rec(encoder.eval())


def test_a_batch_scores_as_its_rows_do_alone(model: Bert4Rec) -> None:
    lists = [[1, 2, 3], [4], [], [5, 6, 7, 8, 9, 10, 11, 12, 13]]
    together = model.score(Histories.of(lists))
    assert together.shape == (4, N_ITEMS)
    for row, one in enumerate(lists):
        torch.testing.assert_close(together[row], model.score(Histories.of([one]))[0])


def test_only_the_last_items_count(model: Bert4Rec) -> None:
    long = list(range(20))
    a, b = model.score(Histories.of([long])), model.score(Histories.of([long[-7:]]))
    assert torch.equal(a, b)  # max_length 8: seven items and [MASK]
    c = model.score(Histories.of([long[-6:]]))
    assert not torch.allclose(a, c)


def test_the_order_of_the_history_counts(model: Bert4Rec) -> None:
    a, b = model.score(Histories.of([[1, 2, 3]])), model.score(Histories.of([[3, 2, 1]]))
    assert not torch.allclose(a, b)


def test_the_last_layer_at_some_positions_equals_all_positions(model: Bert4Rec) -> None:
    tokens = torch.tensor([[3, 31, 7, 31], [31, 1, 30, 30]])
    real = torch.tensor([[True] * 4, [True, True, False, False]])
    everywhere = torch.arange(4).repeat(2, 1)
    at = torch.tensor([[1, 3], [0, 0]])
    full = model.encoder(tokens, real, everywhere)
    some = model.encoder(tokens, real, at)
    torch.testing.assert_close(some, full.gather(1, at[..., None].expand(-1, -1, 12)))


def test_save_and_load_score_the_same(model: Bert4Rec, tmp_path) -> None:
    save_model(model, tmp_path, {"note": 1})
    loaded = load_model(tmp_path, torch.device("cpu"))
    histories = Histories.of([[1, 2, 3], []])
    assert torch.equal(loaded.score(histories), model.score(histories))


@pytest.mark.parametrize("damage", ["cut", "other-shape", "unknown-model", "no-weights"])
def test_a_damaged_folder_is_refused_in_one_line(model: Bert4Rec, tmp_path, damage: str) -> None:
    save_model(model, tmp_path)
    weights, settings = tmp_path / "model.safetensors", tmp_path / "model.json"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "other-shape":
        settings.write_text(settings.read_text().replace('"n_items": 30', '"n_items": 31'))
    elif damage == "unknown-model":
        settings.write_text(settings.read_text().replace("bert4rec", "bret4rec"))
    else:
        weights.unlink()
    with pytest.raises(UserError) as caught:
        load_model(tmp_path, torch.device("cpu"))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value) or "bret4rec" in str(caught.value)
