"""Installs a data set: replaces `data/`, edits params.yaml and adds the data to DVC."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl.config import read_yaml
from recctl.data import repeats, versions
from recctl.data.params import IngestParams
from recctl.datasets import preset, yaml_edit
from recctl.datasets.catalogue import Settings
from recctl.datasets.preview import Preview
from recctl.files import locked, recover_folder, replacing, replacing_folder
from recctl.layout import Layout

Fill = Callable[[Path], Preview]
"""Writes files into an empty folder and returns how they are read."""


@dataclass(frozen=True)
class Change:
    """One setting of params.yaml that was changed."""

    setting: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Used:
    """The result of `use`."""

    ingest: IngestParams
    files: dict[str, int]
    """Bytes of each file in data/."""
    changes: list[Change]
    before: Path | None
    """The folder with data.dvc and params.yaml of the former data; None if there was none."""
    kept: list[Change]
    """Training settings that were changed by hand, with those that would suit the log."""
    reasons: list[str]
    """Why these training settings suit the log."""
    repeats: repeats.Repeats
    """How often users repeat an item; this decides `evaluate.filter_seen`."""


def install(layout: Layout, fill: Fill, settings: Settings) -> Used:
    """Fill a new folder, replace `data/` by it, then update params.yaml and data.dvc.

    Nothing changes until the new folder is complete. The order is data/, params.yaml, data.dvc; if
    killed in between, DVC still holds the former data, and the same command run again asks for
    'dvc add data' first.
    """
    busy = "another 'recctl data use' is running in this project"
    with locked(layout.state / "data.lock", busy):
        recover_folder(layout.data)
        # a file that cannot be read or edited is refused before the log is read
        read_yaml(layout.params)
        yaml_edit.put(_text(layout), (IngestParams.section, "name"), "")
        versions.require_held(layout)
        before = _keep_pointers(layout)
        with replacing_folder(layout.data) as folder:
            log = fill(folder)
            suited = preset.suited(log.shape)
            train = {"train": suited.settings}
            text, changes, kept = _new_params(
                layout, log.ingest, settings | train, log.repeats.many
            )
        with replacing(layout.params) as temporary:
            temporary.write_bytes(text.encode("utf-8"))
        versions.add(layout)
        if before is not None and before.name == versions.digest(layout):
            before = None
    files = {path.name: path.stat().st_size for path in sorted(layout.data.iterdir())}
    return Used(log.ingest, files, changes, before, kept, suited.reasons, log.repeats)


def _text(layout: Layout) -> str:
    """The text of params.yaml with its own line ends."""
    return layout.params.read_bytes().decode("utf-8")


def _keep_pointers(layout: Layout) -> Path | None:
    """Copies of data.dvc and params.yaml, from which the former data can be restored."""
    digest = versions.digest(layout)
    if digest is None:
        return None
    folder = layout.state / "replaced" / digest
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("data.dvc", layout.params.name):
        shutil.copyfile(layout.root / name, folder / name)
    return folder


def _new_params(
    layout: Layout, ingest: IngestParams, settings: Settings, many_repeats: bool
) -> tuple[str, list[Change], list[Change]]:
    """The text of params.yaml with the new ingest section, and the settings that suit the log.

    Unused keys of the ingest section become null; `engine` stays. Settings of models that
    params.yaml lacks are left out, and those that no preset gives are kept: somebody chose them.
    Seen items are recommended if many interactions are repeats.
    """
    text = _text(layout)
    changes: list[Change] = []
    kept: list[Change] = []
    for path, value in _wanted(ingest, settings, many_repeats):
        known = yaml_edit.has(text, path)
        if not known and not _new(text, path, value):
            continue
        before = yaml_edit.get(text, path) if known else None
        change = Change(".".join(path), before, value)
        contradicts = path == _TRAIN_FILTER and many_repeats
        by_hand = known and path[0] == "train" and preset.by_hand(".".join(path[1:]), before)
        if by_hand and not contradicts:
            kept.append(change)
            continue
        text = yaml_edit.put(text, path, value)
        if before != value:
            changes.append(change)
    return text, changes, kept


def _new(text: str, path: tuple[str, ...], value: Any) -> bool:
    """Whether a setting that params.yaml lacks is added: its default is another."""
    if path == _FILTER:
        return not value
    if path[0] == IngestParams.section:
        return value is not None
    usual = preset.USUAL.get(".".join(path[1:]), value)
    return path[0] == "train" and value != usual and yaml_edit.has(text, path[:-1])


_FILTER = ("evaluate", "filter_seen")
_TRAIN_FILTER = ("train", "filter_seen")
"""It must not be true where evaluate.filter_seen is false."""


def _wanted(
    ingest: IngestParams, settings: Settings, many_repeats: bool
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in ingest.model_dump(exclude={"engine", "spark"}).items():
        yield (ingest.section, key), value
    for section, keys in settings.items():
        for key, setting in keys.items():
            yield (section, *key.split(".")), setting
    yield _FILTER, not many_repeats
