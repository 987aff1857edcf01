"""Training settings that suit a log, chosen by its shape and not by its name.

docs/experiments.md has the figures behind each rule, on the validation targets of several logs.
"""

from dataclasses import dataclass

from recctl.data.shape import LogShape

Value = int | float | bool | str | None

_SHORT = 30
"""Interactions per user below which histories are short."""
_FREQUENT = 150
"""Interactions per item above which items are frequent."""
_LENGTHS = (50, 200)
"""Positions that networks see: the larger one where a tenth of the histories are `_LONG`."""
_LONG = 100
_LARGE = 100_000
"""Items above which a loss over the whole catalogue takes too long on a processor."""
_NETWORKS = ("bert4rec", "sasrec", "gru4rec", "lstm", "caser")

USUAL: dict[str, Value] = {
    "learning_rate": 0.002,
    "max_epochs": 100,
    "patience": 10,
    "batch_size": 32,
    "average_epochs": 0,
    "filter_seen": None,
    "loss": "full",
    "bert4rec.hidden_size": 64,
    "bert4rec.layers": 2,
    "bert4rec.heads": 2,
    "bert4rec.dropout": 0.1,
    "bert4rec.attention_dropout": 0.0,
    "bert4rec.mask_probability": 0.35,
    "sasrec.hidden_size": 64,
    "sasrec.layers": 2,
    "sasrec.heads": 2,
    "sasrec.dropout": 0.2,
    "sasrec.attention_dropout": 0.0,
    "sasrec.item_dropout": 0.15,
    "gru4rec.dropout": 0.1,
    "lstm.dropout": 0.1,
}
"""The settings of params.yaml as shipped, or defaults where it has none."""
_FOR_FREQUENT_ITEMS = USUAL | {
    "max_epochs": 120,
    "average_epochs": 2,
    "bert4rec.hidden_size": 128,
    "bert4rec.heads": 4,
    "bert4rec.dropout": 0.2,
    "bert4rec.mask_probability": 0.4,
    "sasrec.hidden_size": 128,
    "sasrec.heads": 4,
}
_FOR_SHORT_HISTORIES = USUAL | {
    "learning_rate": 0.001,
    "patience": 5,
    "batch_size": 256,
    "average_epochs": 2,
    "filter_seen": False,
    "bert4rec.layers": 1,
    "bert4rec.heads": 1,
    "bert4rec.dropout": 0.1,
    "bert4rec.attention_dropout": 0.1,
    "bert4rec.mask_probability": 0.6,
    "sasrec.layers": 1,
    "sasrec.heads": 1,
    "sasrec.dropout": 0.3,
    "sasrec.attention_dropout": 0.3,
    "sasrec.item_dropout": 0.0,
    "gru4rec.dropout": 0.3,
    "lstm.dropout": 0.3,
}
_FOR_LARGE_CATALOGUES: dict[str, Value] = {"loss": "sampled"}
"""In addition to one of the others."""
_ALL = (USUAL, _FOR_FREQUENT_ITEMS, _FOR_SHORT_HISTORIES, USUAL | _FOR_LARGE_CATALOGUES)


@dataclass(frozen=True)
class Preset:
    """Settings of the train section by dotted key, and the reasons for them in words."""

    settings: dict[str, Value]
    reasons: list[str]


def suited(shape: LogShape) -> Preset:
    """The settings that suit a log of this shape."""
    per_user, per_item = f"{shape.per_user:.0f} per user", f"{shape.per_item:.0f} per item"
    if not shape.interactions:
        settings = USUAL
        reason = "too few interactions to choose by: width 64, two layers, little dropout"
    elif shape.per_user < _SHORT:
        settings = _FOR_SHORT_HISTORIES
        reason = (
            f"{per_user}: short histories, so one layer, dropout on attention, large batches, "
            "averaged weights, and seen items stay in the loss"
        )
    elif shape.per_item > _FREQUENT:
        settings = _FOR_FREQUENT_ITEMS
        reason = f"{per_item}: frequent items, so width 128 and averaged weights"
    else:
        settings = USUAL
        reason = f"{per_user}, {per_item}: width 64, two layers, little dropout"
    length = _LENGTHS[shape.long > _LONG]
    sees = f"one history in ten has {shape.long:,} or more: networks see {length} positions"
    reasons = [reason, sees]
    if shape.catalogue > _LARGE:
        settings = settings | _FOR_LARGE_CATALOGUES
        reasons.append(
            f"{shape.catalogue:,} items: the loss compares a target with a sample of them"
        )
    lengths = {f"{name}.max_length": length for name in _NETWORKS}
    return Preset({**lengths, **settings}, reasons)


def by_hand(key: str, value: Value) -> bool:
    """Whether no preset gives a key of the train section this value."""
    if key.endswith(".max_length"):
        return value not in _LENGTHS
    return all(values[key] != value for values in _ALL)
