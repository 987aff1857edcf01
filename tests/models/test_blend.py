"""A blend's scores, item by item from the log itself, and its folder."""

import json
from itertools import pairwise
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recctl.errors import UserError
from recctl.models import load_model
from recctl.models.base import SETTINGS, Recommender, save_model
from recctl.models.blend import Blend
from recctl.models.item_knn import ItemKNN
from recctl.models.markov import Markov
from recctl.models.popularity import Popularity, RecentPopularity
from recctl.models.sasrec import SASRec
from recctl.sequences.store import Histories
from recctl.training.params import TrainParams

CPU = torch.device("cpu")
DAY = 86_400 * 10**6
LOG = [[0, 1, 2, 0], [1, 2], [2, 3, 1], [0]]
DAYS = [[0, 30, 60, 90], [90, 180], [0, 0, 180], [180]]
HISTORIES = [[0], [1, 2], [], [3, 0, 3]]
N_ITEMS = 5  # no user has item 4
WEIGHTS = {"sasrec": 0.7, "markov": 0.4, "item-knn": 1.3, "recent-popularity": 0.1}


def parts() -> dict[str, Recommender]:
    plain = Histories.of(LOG)
    times = np.array([DAY * day for days in DAYS for day in days], np.int64)
    train = Histories(plain.items, plain.starts, plain.ends, times)
    params = TrainParams.model_validate({"sasrec": {"max_length": 4, "hidden_size": 8}})
    encoder = SASRec.build(N_ITEMS, params.sasrec)
    encoder.initialise(torch.Generator().manual_seed(0))
    counted = (model.fit(train, N_ITEMS) for model in (Markov, ItemKNN, RecentPopularity))
    network = SASRec(encoder.eval().requires_grad_(False))
    return {part.kind: part for part in (network, *counted)}


def by_hand(history: list[int], item: int) -> float:
    """All parts but the network, from their definitions."""
    taken = [one for items in LOG for one in items]
    share = taken.count(item) / len(taken)
    followers = [b for items in LOG for a, b in pairwise(items) if history and a == history[-1]]
    markov = (followers.count(item) + 10 * share) / (len(followers) + 10)
    users = [{user for user, items in enumerate(LOG) if one in items} for one in range(N_ITEMS)]
    alike = sum(
        len(users[item] & users[one]) / sqrt(len(users[item]) * len(users[one]))
        for one in set(history) - {item}
        if users[item]
    )
    ages = [
        180 - day
        for items, days in zip(LOG, DAYS, strict=True)
        for one, day in zip(items, days, strict=True)
        if one == item
    ]
    recent = sum(0.5 ** (age / 90) for age in ages)
    return (
        WEIGHTS["markov"] * log(max(markov, 1e-12))
        + WEIGHTS["item-knn"] * log(max(alike + share * (10 + 1e-6), 1e-12))
        + WEIGHTS["recent-popularity"] * log(recent + 1)
    )


def test_a_score_is_the_weighted_sum_of_logarithms() -> None:
    histories = Histories.of(HISTORIES)
    own = parts()
    logits = own["sasrec"].score(histories).tolist()
    wanted = [
        [WEIGHTS["sasrec"] * logits[row][item] + by_hand(history, item) for item in range(N_ITEMS)]
        for row, history in enumerate(HISTORIES)
    ]
    found = Blend(own, WEIGHTS).score(histories)
    assert found.dtype == torch.float32
    assert found.numpy() == pytest.approx(np.array(wanted), rel=1e-4, abs=1e-4)


def test_evidence_keeps_each_parts_order_and_changes_no_score_of_it() -> None:
    histories = Histories.of(HISTORIES)
    for part in [*parts().values(), Popularity.fit(Histories.of(LOG), N_ITEMS)]:
        before = part.score(histories)
        evidence = part.evidence(histories)
        assert evidence.isfinite().all()
        assert torch.equal(part.score(histories), before)
        if not isinstance(part, ItemKNN):  # whose prior may turn the order of two items
            assert torch.equal(
                evidence.argsort(dim=1, stable=True), before.argsort(dim=1, stable=True)
            )


def test_a_blend_of_one_part_ranks_as_the_part() -> None:
    histories = Histories.of(HISTORIES)
    markov = parts()["markov"]
    alone = Blend({"markov": markov}, {"markov": 3.0}).score(histories)
    order = [one.argsort(dim=1, stable=True) for one in (alone, markov.score(histories))]
    assert torch.equal(*order)


def test_a_folder_gives_the_same_scores(tmp_path: Path) -> None:
    histories, model = Histories.of(HISTORIES), Blend(parts(), WEIGHTS)
    save_model(model, tmp_path)
    again = load_model(tmp_path, CPU)
    assert isinstance(again, Blend)
    assert again.weights == WEIGHTS
    assert torch.equal(again.score(histories), model.score(histories))


def _without_markov(content: dict[str, Any]) -> None:
    del content["parts"]["markov"]


def _of_another_size(content: dict[str, Any]) -> None:
    content["parts"]["sasrec"]["settings"]["n_items"] = 4


def _weight(value: object) -> Any:
    return lambda content: content["parts"]["markov"].update(weight=value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.update(parts={}),
        lambda content: content.update(parts=[]),
        lambda content: content["parts"].update(magic=content["parts"].pop("markov")),
        lambda content: content["parts"].update(blend=content["parts"].pop("markov")),
        lambda content: content["parts"]["markov"]["settings"].update(smoothing=-1.0),
        _without_markov,
        _of_another_size,
        *map(_weight, (-0.1, 0.0, float("inf"), float("nan"), 1e300, "1", None, True)),
    ],
)
def test_a_folder_that_was_edited_is_refused_in_one_line(tmp_path: Path, edit: Any) -> None:
    save_model(Blend(parts(), WEIGHTS), tmp_path)
    content = json.loads((tmp_path / SETTINGS).read_text(encoding="utf-8"))
    edit(content["settings"])
    (tmp_path / SETTINGS).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError) as raised:
        load_model(tmp_path, CPU)
    assert "\n" not in str(raised.value)


def test_parts_of_two_catalogues_make_no_blend() -> None:
    own = {"markov": parts()["markov"], "popularity": Popularity.fit(Histories.of(LOG), 4)}
    with pytest.raises(ValueError, match="catalogues"):
        Blend(own, {"markov": 1.0, "popularity": 1.0})
