"""A model folder that was edited by hand: refused in one line before anything is allocated."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from recctl import limits
from recctl.errors import UserError
from recctl.models import COUNTED, NEURAL, load_model
from recctl.models.base import SETTINGS, WEIGHTS, save_model
from recctl.recommend import Served
from recctl.sequences.store import Histories
from recctl.sequences.vocabulary import Vocabulary
from recctl.training.params import TrainParams

N_ITEMS = 6
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny BERT4Rec with its vocabulary."""
    params = TrainParams.model_validate({"bert4rec": {"max_length": 4, "hidden_size": 8}})
    model = NEURAL["bert4rec"]
    encoder = model.build(N_ITEMS, params.network())
    encoder.initialise(torch.Generator().manual_seed(0))
    save_model(model(encoder), tmp_path, {"epochs": 1})
    Vocabulary(tuple(map(str, range(N_ITEMS))), (1,) * N_ITEMS).save(tmp_path / "vocabulary.json")
    return tmp_path


def edit(folder: Path, **settings: Any) -> None:
    path = folder / SETTINGS
    content = json.loads(path.read_text(encoding="utf-8"))
    content["settings"] |= settings
    path.write_text(json.dumps(content), encoding="utf-8")


def test_what_was_saved_is_read(folder: Path) -> None:
    assert Served.load(folder).model.n_items == N_ITEMS


def test_a_model_saved_before_rotary_is_read(folder: Path) -> None:
    path = folder / SETTINGS
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["settings"]["rotary"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert load_model(folder, CPU).settings()["rotary"] is False


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"heads": 0}, "heads"),
        ({"heads": -2}, "heads"),
        ({"heads": 3}, "multiple of heads"),
        ({"layers": 1_000_000_000}, "layers"),
        ({"layers": 0}, "layers"),
        ({"layers": 2.0}, "layers"),
        ({"layers": "2"}, "layers"),
        ({"layers": True}, "layers"),
        ({"layers": limits.LAYERS, "hidden_size": limits.WIDTH}, "weights"),
        ({"hidden_size": limits.WIDTH + 2}, "hidden_size"),
        ({"max_length": 10**12}, "max_length"),
        ({"n_items": 0}, "n_items"),
        ({"n_items": 2**40}, "n_items"),
        ({"n_items": "6"}, "n_items"),
        ({"n_items": 7}, "size mismatch|does not fit"),
        ({"dropout": float("nan")}, "dropout"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"unknown": 1}, "unknown"),
    ],
    ids=str,
)
def test_settings_beyond_their_bounds(folder: Path, settings: dict[str, Any], says: str) -> None:
    edit(folder, **settings)
    with pytest.raises(UserError, match=says) as raised:
        Served.load(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"model": "bert4rec", "settings": []}', "[" * 10**5, '{"model": ' + "9" * 5000,
     '{"model": "bert4rec", "settings": {}}', '{"model": ["bert4rec"], "settings": {}}',
     '{"model": "markov", "settings": {"smoothing": NaN}, "about": 3}'],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_model_json_that_is_none(folder: Path, content: str) -> None:
    (folder / SETTINGS).write_text(content, encoding="utf-8")
    with pytest.raises(UserError):
        Served.load(folder)


def lying_header(entry: dict[str, Any], size: int = 8) -> bytes:
    header = json.dumps({"x": entry}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * size


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10) + b"[" * 10,
        lying_header({"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}),
        lying_header({"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 8]}),
        lying_header({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}),
        lying_header({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}),
        lying_header({"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}),
    ],
    ids=range(9),
)
def test_weights_that_lie(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError) as raised:
        Served.load(folder)
    assert "\n" not in str(raised.value)


def test_weights_of_another_number_type(folder: Path) -> None:
    tensors = {name: one.double() for name, one in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(UserError, match="float64"):
        Served.load(folder)


def test_weights_that_are_too_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (folder / WEIGHTS).stat().st_size
    monkeypatch.setattr(limits, "MODEL_BYTES", size)
    Served.load(folder)
    monkeypatch.setattr(limits, "MODEL_BYTES", size - 1)
    with pytest.raises(UserError, match="more than"):
        Served.load(folder)


@pytest.mark.parametrize("kind", COUNTED)
def test_a_counted_model_that_was_edited(kind: str, tmp_path: Path) -> None:
    items = np.array([0, 1, 2, 0, 1], np.int32)
    train = Histories(items, np.array([0, 3]), np.array([3, 5]))
    save_model(COUNTED[kind].fit(train, 3), tmp_path)
    assert load_model(tmp_path, CPU).n_items == 3
    edit(tmp_path, smoothing=-1.0)
    with pytest.raises(UserError, match="smoothing"):
        load_model(tmp_path, CPU)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"counts": [1, -1]}, "count"),
        ({"counts": [1, 2**70]}, "count"),
        ({"counts": [1, 1.5]}, "vocabulary"),
        ({"titles": {"a": 3}}, "vocabulary"),
        ({"items": ["a", "a"]}, "fit together"),
    ],
    ids=str,
)
def test_a_vocabulary_that_is_none(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "vocabulary.json"
    content = {"items": ["a", "b"], "counts": [2, 1], "titles": {}} | change
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=says):
        Vocabulary.load(path)


def test_a_vocabulary_of_the_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary, path = Vocabulary(("a", "b"), (2, 1)), tmp_path / "vocabulary.json"
    vocabulary.save(path)
    size = path.stat().st_size
    monkeypatch.setattr(limits, "VOCABULARY_BYTES", size)
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    monkeypatch.setattr(limits, "VOCABULARY_BYTES", size - 1)
    with pytest.raises(UserError, match="more than"):
        Vocabulary.load(path)
    with pytest.raises(UserError, match="minimum_item_interactions"):
        vocabulary.save(path)
    assert not path.exists()


def test_a_network_beyond_all_memory_is_not_built() -> None:
    params = TrainParams.model_validate(
        {"bert4rec": {"layers": limits.LAYERS, "hidden_size": limits.WIDTH, "heads": 2}}
    )
    with pytest.raises(UserError, match=r"train.bert4rec: [\d,]+ weights are more than"):
        NEURAL["bert4rec"].build(N_ITEMS, params.network())
