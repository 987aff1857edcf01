"""What passed the gates, trained once more by the same recipe on everything: this will serve.

The judged model never saw the interactions that were held out to judge it, each user's newest
ones. The model that was trained on them cannot be judged on them; what is checked is that it is
sound, that its lists are much the same, and that it learnt what it was given.
"""

import dataclasses
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from recctl.evaluation import metrics
from recctl.files import damaged, replacing_folder
from recctl.models.base import SETTINGS, Counted, Recommender, read_settings, save_model
from recctl.models.blend import Blend
from recctl.models.kinds import COUNTED
from recctl.models.popularity import HALF_LIFE_DAYS, RecentPopularity
from recctl.promotion.judge.evidence import Refit
from recctl.promotion.judge.policy import Primary, PromotionParams
from recctl.promotion.trial import scoring, service
from recctl.promotion.trial.scoring import Contender, TestSet
from recctl.promotion.trial.training_record import TrainingRecord
from recctl.render.console import Console
from recctl.render.text import Say
from recctl.sequences.everything import everything
from recctl.sequences.store import SequenceData
from recctl.training.checkpoint import Checkpoint
from recctl.training.early_stopping import validation
from recctl.training.fit import fingerprint
from recctl.training.launch import fit_project
from recctl.training.params import TrainParams


def trained(test: TestSet, judged: Contender, console: Console) -> Contender:
    """The contender with a model of the same recipe that was trained on everything.

    It is trained once, for as many epochs as were best for the judged one; a training that was
    killed is resumed. Raises UserError as a training does, and where the split is of before the
    ids of its cold items were kept.
    """
    data, state = test.data, test.layout.state
    if not (data.folder / "cold.parquet").is_file():
        raise damaged(data.folder, "sequence-split", "it does not say which items are cold")
    about = read_settings(judged.folder)["about"]
    params = _recipe(judged.folder, about)
    state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state, prefix="everything-") as name:
        whole = everything(data, Path(name))
        key = fingerprint(params, whole.fingerprint, test.params.filter_seen)
        folder = state / "again" / f"{judged.digest[:16]}-{key[:16]}"
        if not folder.is_dir():
            model = _trained(test, judged.served.model, whole, params, key, console)
            assert judged.record is not None
            record = TrainingRecord.of(whole, judged.record.about["lineage"])
            with replacing_folder(folder) as new:
                recipe = {"params": params.model_dump(), "again": True}
                save_model(model, new, {**recipe, "split_fingerprint": whole.fingerprint})
                shutil.copyfile(whole.folder / "vocabulary.json", new / "vocabulary.json")
                record.save(new)
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return dataclasses.replace(judged, again=folder)


def _recipe(folder: Path, about: Mapping[str, object]) -> TrainParams:
    """The settings of the judged training, ended after its best epoch, its rates as they were."""
    try:
        params = TrainParams.model_validate(about.get("params"))
    except ValidationError:
        raise damaged(folder / SETTINGS, "train", "its settings are of another recctl") from None
    epochs = about.get("best_epoch") or 1
    if not isinstance(epochs, int):
        raise damaged(folder / SETTINGS, "train", "'best_epoch' is no whole number")
    update = {"max_epochs": epochs, "validate_every": epochs, "decay_epochs": params.decays_until}
    return params.model_copy(update=update)


def _trained(
    test: TestSet,
    judged: Recommender,
    whole: SequenceData,
    params: TrainParams,
    key: str,
    console: Console,
) -> Recommender:
    train, n_items, filter_seen = whole.train(), whole.vocabulary.size, test.params.filter_seen
    if isinstance(judged, Blend):
        parts = {
            name: _trained(test, part, whole, params.of_network(), key, console)
            for name, part in judged.parts.items()
        }
        return Blend(parts, judged.weights)
    if isinstance(judged, RecentPopularity):
        before = test.data.train()
        size, validate = test.vocabulary.size, validation(test.data, filter_seen)
        days = RecentPopularity.best(before, size, validate).half_life_days
        return RecentPopularity.fit(train, n_items, days or HALF_LIFE_DAYS)
    if isinstance(judged, Counted):
        return COUNTED[judged.kind].fit(train, n_items)
    checkpoint = Checkpoint(test.layout.state / "checkpoints" / "again", key)
    return fit_project(whole, params, filter_seen, checkpoint, console=console).model


def checked(test: TestSet, policy: PromotionParams, again: Contender, say: Say) -> Refit:
    """How the model that was trained on everything differs from the one that was judged.

    Both rank today's test targets, which the former has learnt by now; the service's own code is
    asked for its lists.
    """
    served = again.answers
    pair = {"challenger": Contender(again.answering, served, again.digest), "champion": again}
    measured = PromotionParams(primary=Primary(metrics=policy.metrics))
    found = scoring.gather(test, measured, pair, problems=[], say=lambda line: None)
    assert found.champion is not None
    means = {
        name: metrics.means(policy.metrics, one.ranks.astype(np.int64), found.catalogue)
        for name, one in (("judged", found.champion), ("again", found.challenger))
    }
    with service.beside(PromotionParams(serving=True)) as process:
        sides = {"challenger": dataclasses.replace(again, served=served)}
        answered = service.tried(process, measured, test, sides, found, say).serving
    assert answered is not None
    about = TrainingRecord.load(again.answering).about
    return Refit(
        interactions=about["interactions"],
        new_items=served.vocabulary.size - again.served.vocabulary.size,
        overlap=found.overlap,
        means=means,
        failure=answered.failure,
    )
