"""The settings of a training that a search varies, and the values that it tries."""

from collections.abc import Iterable, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from pydantic import BaseModel, ValidationError

from recctl.config import changed
from recctl.errors import UserError, unknown_name
from recctl.models import NEURAL
from recctl.training.params import TrainParams
from recctl.tuning.params import Range, Values

Space = dict[str, Values]
"""Values by dotted name in `train`, such as `sasrec.dropout`."""

DEFAULTS: Space = {
    "learning_rate": Range(low=3e-4, high=1e-2, log=True),
    "batch_size": [32, 64, 128, 256],
    "average_epochs": [0.0, 1.0, 2.0, 4.0],
    "weight_decay": Range(low=1e-4, high=0.1, log=True),
    "hidden_size": [32, 64, 128],
    "state_size": [64, 128, 256],
    "layers": [1, 2, 3],
    "heads": [1, 2, 4],
    "dropout": Range(low=0.0, high=0.6),
    "attention_dropout": Range(low=0.0, high=0.5),
    "item_dropout": Range(low=0.0, high=0.3),
    "mask_probability": Range(low=0.1, high=0.6),
    "last_item_share": Range(low=0.0, high=1.0),
    "window": [3, 5, 7],
    "horizontal": [8, 16, 32],
    "vertical": [2, 4, 8],
}
"""By the setting's name: a model's search has those that its section, or `train`, has."""

_FIXED = {"model", "seed", "device", "processes", *NEURAL}


def space_of(params: TrainParams, given: Mapping[str, Values | None]) -> Space:
    """The values that are tried for the model of the params; `given` ones replace the defaults.

    Raises UserError for a setting that the model does not have, and for a value that the setting
    does not take.
    """
    names = {name: name for name in TrainParams.model_fields if name not in _FIXED}
    names |= {name: f"{params.model}.{name}" for name in type(params.network()).model_fields}
    for name in given:
        if name not in names:
            raise unknown_name(f"setting in tune.space.{params.model}:", name, list(names))
    chosen = {**{name: DEFAULTS[name] for name in DEFAULTS if name in names}, **given}
    found = {names[name]: values for name, values in chosen.items() if values is not None}
    if not found:
        raise UserError(f"tune.space.{params.model} leaves no setting to vary", "drop a null")
    for name, values in found.items():
        if isinstance(values, Range) and current(params, [name])[name] is None:
            raise UserError(f"train.{name} is null: it has no range", "give a list of values")
        for value in [values.low, values.high] if isinstance(values, Range) else values:
            _check(params, name, value)
    return found


def _check(params: TrainParams, name: str, value: Any) -> None:
    """UserError where the setting takes no such value; how it fits the others is not judged."""
    try:
        applied(params, {name: value})
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        if mistake["type"] != "value_error":
            raise UserError(
                f"params.yaml: tune.space has {value!r:.40} for {name}: {mistake['msg']}",
                "give values that train takes",
            ) from None


def current(params: TrainParams, names: Iterable[str]) -> dict[str, Any]:
    """The values in the params by dotted name."""

    def value(group: BaseModel, name: str) -> Any:
        first, _, rest = name.partition(".")
        return value(getattr(group, first), rest) if rest else getattr(group, first)

    return {name: value(params, name) for name in names}


def applied(params: TrainParams, chosen: Mapping[str, Any]) -> TrainParams:
    """The params with the chosen values, new fractions rounded to three digits.

    Raises pydantic's ValidationError where they do not fit each other.
    """
    now = current(params, chosen)
    values = {
        name: float(f"{value:.3g}") if type(value) is float and value != now[name] else value
        for name, value in chosen.items()
    }
    return TrainParams.model_validate(changed(params.model_dump(), values))


def distributions(space: Space, params: TrainParams) -> dict[str, str]:
    """The space as Optuna's JSON, widened where it lacks a value of the params: the first trial."""
    now = current(params, space)
    return {
        name: distribution_to_json(_distribution(values, now[name]))
        for name, values in space.items()
    }


def _distribution(values: Values, now: Any) -> BaseDistribution:
    if isinstance(values, list):
        return CategoricalDistribution(values if now in values else [*values, now])
    low, high = min(values.low, now), max(values.high, now)
    if type(now) is int:
        return IntDistribution(int(low), int(high), log=values.log)
    return FloatDistribution(low, high, log=values.log and low > 0)


def as_json(space: Space) -> dict[str, Any]:
    """The space as plain values."""
    plain = space.items()
    return {key: one.model_dump() if isinstance(one, Range) else one for key, one in plain}
