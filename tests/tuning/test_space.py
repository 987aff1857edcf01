"""The values that a search tries: defaults by model, replaced ones, and what params they make."""

from typing import Any

import pytest
from optuna.distributions import FloatDistribution, json_to_distribution
from pydantic import ValidationError

from recctl.errors import UserError
from recctl.models import NEURAL
from recctl.training.params import TrainParams
from recctl.tuning.params import Range, TuneParams
from recctl.tuning.space import DEFAULTS, applied, current, distributions, space_of

PARAMS = TrainParams(model="sasrec")


@pytest.mark.parametrize("model", NEURAL)
def test_each_model_has_the_defaults_that_its_settings_allow(model: str) -> None:
    params = TrainParams(model=model)
    space = space_of(params, {})
    assert {"learning_rate", f"{model}.dropout"} <= set(space)
    assert all(name == "learning_rate" or current(params, [name]) for name in space)
    sections = {name.partition(".")[0] for name in space if "." in name}
    assert sections == {model}


def test_every_default_is_of_some_model() -> None:
    names = {name.rpartition(".")[2] for m in NEURAL for name in space_of(TrainParams(model=m), {})}
    assert names == set(DEFAULTS)


def test_given_values_replace_the_defaults() -> None:
    given = {"dropout": [0.1, 0.2], "heads": None, "patience": Range(low=3, high=9)}
    space = space_of(PARAMS, given)
    assert space["sasrec.dropout"] == [0.1, 0.2]
    assert "sasrec.heads" not in space
    assert space["patience"] == Range(low=3, high=9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dropuot": [0.1]}, r"tune.space.sasrec: 'dropuot'; did you mean 'dropout'"),
        ({"mask_probability": [0.1]}, "unknown setting"),  # bert4rec's
        ({"seed": [1, 2]}, "unknown setting"),
        ({"dropout": Range(low=0.5, high=1.5)}, "tune.space has 1.5 for sasrec.dropout"),
        ({"decay_epochs": Range(low=1, high=9)}, "train.decay_epochs is null"),
        ({"layers": ["two"]}, "tune.space has 'two' for sasrec.layers"),
        (dict.fromkeys(DEFAULTS.keys() - {"x"}), "leaves no setting to vary"),
    ],
)
def test_what_the_model_does_not_take_is_refused(given: Any, message: str) -> None:
    if "no setting" in message:
        given = {name.rpartition(".")[2]: None for name in space_of(PARAMS, {})}
    with pytest.raises(UserError, match=message):
        space_of(PARAMS, given)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (5, "a list of values, or null"),
        ([], "a list of values, or null"),
        ({"low": 1, "hgih": 2}, "high|hgih"),
        ({"low": 2, "high": 1}, "must be less than high"),
        ({"low": 0, "high": 1, "log": True}, "above 0 with log"),
    ],
)
def test_values_of_no_known_form_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TuneParams(space={"sasrec": {"dropout": values}})


def test_new_fractions_are_rounded_and_the_params_own_values_kept() -> None:
    params = PARAMS.model_copy(update={"weight_decay": 0.0123456})
    made = applied(params, {"learning_rate": 0.00123456, "weight_decay": 0.0123456})
    assert (made.learning_rate, made.weight_decay) == (0.00123, 0.0123456)
    assert applied(params, {"sasrec.layers": 3}).sasrec.layers == 3
    with pytest.raises(ValidationError, match="multiple of heads"):
        applied(params, {"sasrec.hidden_size": 50, "sasrec.heads": 4})


def test_the_space_is_widened_by_the_values_of_the_params() -> None:
    params = applied(PARAMS, {"learning_rate": 0.5, "sasrec.hidden_size": 48})
    made = distributions(space_of(params, {"layers": Range(low=2, high=4)}), params)
    found = {name: json_to_distribution(one) for name, one in made.items()}
    assert found["learning_rate"] == FloatDistribution(3e-4, 0.5, log=True)
    assert found["sasrec.hidden_size"].to_internal_repr(48) == 3  # behind 32, 64, 128
    assert found["sasrec.layers"].to_external_repr(2.0) == 2
