"""The models of several git revisions side by side, from what DVC's cache holds of each."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl import dvc, git, pipeline
from recctl.errors import UserError
from recctl.evaluation.params import FULL
from recctl.files import read_json
from recctl.layout import Layout
from recctl.models.base import SETTINGS, WEIGHTS

WORKSPACE = "workspace"

Figure = dict[str, float]
"""`value`, and the ends `low` and `high` of its 95% interval."""


@dataclass(frozen=True)
class Revision:
    """A revision's model and its last evaluation."""

    name: str
    model: str
    settings: dict[str, Any]
    """Those of `train` by which it was trained, the model's section by dotted keys."""
    fingerprint: str
    """Of the evaluation: figures are comparable where it is the same."""
    figures: dict[str, Figure]
    """Full ranking, by metric."""
    seconds: float | None
    """Of training; None in a model of an older version."""
    size: int
    """Bytes of the weights."""


def read(layout: Layout, name: str) -> Revision:
    """The model of a git revision, a DVC experiment, or `workspace`.

    Raises UserError where there is none, or DVC's cache does not hold it.
    """
    find = _in_workspace(layout) if name == WORKSPACE else _in_cache(layout, name)
    model = read_json(find("model", SETTINGS), "train", ["model", "about"])
    report = read_json(find("evaluation", "report.json"), "evaluate", ["fingerprint", "protocols"])
    training = read_json(find("training", "metrics.json"), "train")
    return Revision(
        name=name,
        model=model["model"],
        settings=_settings(model["about"].get("params") or {}, model["model"]),
        fingerprint=report["fingerprint"],
        figures=report["protocols"][FULL]["model"],
        seconds=training.get("seconds"),
        size=find("model", WEIGHTS).stat().st_size,
    )


def differing(revisions: list[Revision]) -> list[str]:
    """The settings in which revisions that have them differ."""
    values: dict[str, set[str]] = {}
    for one in revisions:
        for key, value in one.settings.items():
            values.setdefault(key, set()).add(json.dumps(value, default=str))
    return [key for key, found in values.items() if len(found) > 1]


def _settings(params: dict[str, Any], kind: str) -> dict[str, Any]:
    plain = {key: value for key, value in params.items() if not isinstance(value, dict)}
    plain.pop("model", None)  # it has its own column
    own = params.get(kind)
    inner = own if isinstance(own, dict) else {}
    return {**plain, **{f"{kind}.{key}": value for key, value in inner.items()}}


def _in_workspace(layout: Layout) -> Any:
    return lambda room, name: layout.root / "artifacts" / room / name


def _in_cache(layout: Layout, name: str) -> Any:
    lock = git.at(layout.root, name, "dvc.lock")
    if lock is None:
        raise UserError(
            f"'{name:.80}' is no git revision or DVC experiment with a dvc.lock",
            "see 'git log -- dvc.lock' and 'dvc exp list'",
        )
    outs = {
        path: md5
        for stage in pipeline.recorded(lock).values()
        for path, md5 in stage["outs"].items()
    }
    cache = dvc.cache(layout)

    def find(room: str, file: str) -> Path:
        md5 = outs.get(f"artifacts/{room}")
        names = dvc.listed(cache, md5) if md5 else None
        stored = dvc.stored(cache, names[file]) if names and file in names else None
        if stored is None or not stored.is_file():
            raise UserError(
                f"DVC's cache does not hold artifacts/{room}/{file} of '{name:.80}'",
                "bring it: 'dvc fetch --all-commits'",
            )
        return stored

    return find
