"""Recommenders, one file each, and the table of all their names."""

from pathlib import Path

import torch

from recctl.errors import UserError, unknown_name
from recctl.models.base import SETTINGS, WEIGHTS, Recommender, load_tensors, read_settings
from recctl.models.blend import Blend
from recctl.models.kinds import BASELINES as BASELINES
from recctl.models.kinds import COUNTED as COUNTED
from recctl.models.kinds import NEURAL as NEURAL

MODELS: dict[str, type[Recommender]] = {**NEURAL, **COUNTED, Blend.kind: Blend}


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
