"""Settings by the shape of a log: each kind of shape, and the schema that they must fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from recctl.data.shape import LogShape
from recctl.datasets.preset import by_hand, suited
from recctl.training.params import TrainParams

PARAMS = Path(__file__).parents[2] / "params.yaml"
SHOP = LogShape(users=22_363, items=12_101, interactions=198_502, long=15, catalogue=12_101)
FILMS = LogShape(users=6_040, items=3_416, interactions=999_611, long=398, catalogue=3_706)
STARTER = LogShape(users=1_900, items=780, interactions=80_000, long=93, catalogue=780)
LONG_TAIL = replace(SHOP, catalogue=200_000)
EMPTY = LogShape(users=0, items=0, interactions=0, long=0, catalogue=0)


@pytest.mark.parametrize(
    ("shape", "expected", "reason"),
    [
        (SHOP, {"sasrec.layers": 1, "batch_size": 256, "sasrec.max_length": 50}, "9 per user"),
        (FILMS, {"sasrec.hidden_size": 128, "gru4rec.max_length": 200}, "293 per item"),
        (STARTER, {"sasrec.hidden_size": 64, "sasrec.layers": 2, "caser.max_length": 50}, "42 per"),
        (LONG_TAIL, {"loss": "sampled", "sasrec.layers": 1}, "200,000 items"),
        (EMPTY, {"loss": "full", "batch_size": 32, "filter_seen": None}, "too few interactions"),
    ],
)
def test_each_shape_has_settings_and_reasons(
    shape: LogShape, expected: dict[str, object], reason: str
) -> None:
    preset = suited(shape)
    assert {key: preset.settings[key] for key in expected} == expected
    assert any(reason in line for line in preset.reasons)
    assert TrainParams.load(PARAMS, preset.settings)


def test_all_presets_set_the_same_so_that_nothing_of_another_is_left() -> None:
    assert len({frozenset(suited(shape).settings) for shape in (SHOP, FILMS, STARTER, EMPTY)}) == 1


def test_a_value_that_no_preset_gives_was_set_by_hand() -> None:
    assert by_hand("sasrec.dropout", 0.45)
    assert by_hand("sasrec.max_length", 120)
    assert not by_hand("sasrec.dropout", 0.3)
    assert not by_hand("sasrec.max_length", 200)
    assert by_hand("filter_seen", True)
    assert by_hand("loss", "gbce")
    assert not by_hand("loss", "sampled")
