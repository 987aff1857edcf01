"""Repeats in a log, and what 'data use' makes of them."""

from pathlib import Path

import ibis
import pandas as pd
import pytest

from recctl.data.params import IngestParams
from recctl.data.repeats import Repeats, count
from recctl.data.shape import LogShape
from recctl.datasets import install, preset, yaml_edit
from recctl.layout import Layout
from recctl.training.params import TrainParams


def counted(*rows: tuple[str, str, int]) -> Repeats:
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "us"])
    return count(ibis.memtable(frame.assign(row=range(len(frame)))), "us")


def test_repeats_and_hidden_targets_by_hand() -> None:
    found = counted(
        *[("a", "x", 1), ("a", "y", 2), ("a", "x", 3)],  # the last one is a repeat
        *[("b", "p", 1), ("b", "p", 2), ("b", "q", 3)],  # a repeat that is no target
        *[("c", "x", 1), ("c", "x", 1)],  # the same interaction twice
        *[("d", "x", 1), ("d", "y", 1)],  # of one time: the order of rows
    )
    assert found == Repeats(interactions=9, repeated=2, targets=3, hidden=1)
    assert (found.share, found.hidden_share) == (2 / 9, 1 / 3)
    assert found.many
    assert "22.2%" in found.sentence
    assert "1 of 3 users (33.3%)" in found.sentence


def test_without_repeats_nothing_is_hidden() -> None:
    found = counted(("a", "x", 1), ("a", "y", 2), ("b", "x", 1))
    assert found == Repeats(interactions=3, repeated=0, targets=1, hidden=0)
    assert not found.many


@pytest.mark.parametrize(("hidden", "many"), [(20, False), (21, True)])
def test_above_a_fifth_is_many(hidden: int, many: bool) -> None:
    found = Repeats(1000, 0, 100, hidden)
    assert found.many == many
    assert (found.advice is not None) == many


INGEST = IngestParams(name="own", files=["a.csv"], format="csv")


SHORT = LogShape(users=1000, items=500, interactions=8000, long=12, catalogue=500)


def edited(tmp_path: Path, text: str, many: bool) -> tuple[str, dict[str, object], list[str]]:
    layout = Layout(tmp_path)
    layout.params.write_text(text, encoding="utf-8")
    settings = {"train": preset.suited(SHORT).settings}
    changed, changes, kept = install._new_params(layout, INGEST, settings, many)
    return changed, {one.setting: one.after for one in changes}, [one.setting for one in kept]


def test_many_repeats_switch_the_seen_filter_off(tmp_path: Path) -> None:
    text, changes, _ = edited(tmp_path, "train: {filter_seen: true}\n", many=True)
    assert yaml_edit.get(text, ("evaluate", "filter_seen")) is False
    assert yaml_edit.get(text, ("train", "filter_seen")) is False  # true would contradict
    assert {"evaluate.filter_seen", "train.filter_seen"} <= changes.keys()


def test_few_repeats_switch_it_on_again_where_it_was_off(tmp_path: Path) -> None:
    text, _, _ = edited(tmp_path, "evaluate: {filter_seen: false}\n", many=False)
    assert yaml_edit.get(text, ("evaluate", "filter_seen")) is True
    text, _, _ = edited(tmp_path, "train: {}\n", many=False)
    assert not yaml_edit.has(text, ("evaluate", "filter_seen"))


def test_settings_that_suit_the_log_replace_those_of_another_and_not_what_somebody_chose(
    tmp_path: Path,
) -> None:
    text = "train:\n  batch_size: 32\n  bert4rec:\n"
    text += "    max_length: 200\n    dropout: 0.2\n    mask_probability: 0.77\n"
    text, changes, kept = edited(tmp_path, text, many=False)
    assert yaml_edit.get(text, ("train", "bert4rec", "max_length")) == 50
    assert changes["train.bert4rec.dropout"] == 0.1
    assert changes["train.bert4rec.layers"] == 1  # missing before, with another default
    assert not yaml_edit.has(text, ("train", "sasrec"))
    assert yaml_edit.get(text, ("train", "bert4rec", "mask_probability")) == 0.77
    assert kept == ["train.bert4rec.mask_probability"]


def test_the_usual_preset_is_what_is_shipped() -> None:
    """So that `data use starter` changes nothing, and a missing setting has the usual value."""
    shipped = TrainParams.load(Path(__file__).parents[2] / "params.yaml").model_dump()
    for key, value in preset.USUAL.items():
        *section, name = key.split(".")
        assert (shipped[section[0]] if section else shipped)[name] == value, key
