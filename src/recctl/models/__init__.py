"""Recommenders, one file each, and the table of their names."""

from pathlib import Path

import torch

from recctl.errors import UserError, unknown_name
from recctl.models.base import SETTINGS, WEIGHTS, Counted, Recommender, load_tensors, read_settings
from recctl.models.bert4rec import Bert4Rec
from recctl.models.caser import Caser
from recctl.models.encoder import Neural
from recctl.models.item_knn import ItemKNN
from recctl.models.markov import Markov
from recctl.models.popularity import Popularity, RecentPopularity
from recctl.models.recurrent import Gru4Rec, LstmRec
from recctl.models.sasrec import SASRec

BASELINES: dict[str, type[Counted]] = {model.kind: model for model in (Popularity, Markov, ItemKNN)}
"""Models that every evaluation compares with."""

COUNTED: dict[str, type[Counted]] = {**BASELINES, RecentPopularity.kind: RecentPopularity}
"""Models that one pass over the data fits, without randomness."""

NEURAL: dict[str, type[Neural]] = {
    model.kind: model for model in (Bert4Rec, SASRec, Gru4Rec, LstmRec, Caser)
}
"""Networks, trained in epochs; the settings of each are under its name in params.yaml."""

MODELS: dict[str, type[Recommender]] = {**NEURAL, **COUNTED}


def load_model(folder: Path, device: torch.device) -> Recommender:
    """The model that a folder holds, ready to score on `device`.

    Raises UserError when the folder's files are missing, damaged or of an unknown model.
    """
    content = read_settings(folder)
    kind, settings = content["model"], content["settings"]
    if not isinstance(kind, str) or kind not in MODELS:
        raise unknown_name(f"model in {folder / SETTINGS}:", str(kind), list(MODELS))
    tensors = load_tensors(folder / WEIGHTS)
    try:
        return MODELS[kind].restore(settings, tensors, device)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{folder / WEIGHTS} does not fit {SETTINGS} in that folder ({reason})",
            "run 'dvc repro -f train'",
        ) from None
