"""Installs a data set: replaces `data/`, edits params.yaml and adds the data to DVC."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl.config import read_yaml
from recctl.data import repeats, versions
from recctl.data.params import IngestParams
from recctl.datasets import yaml_edit
from recctl.datasets.catalogue import KNOWN, Settings
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
    """Settings of the former known set that were changed by hand, with the set's values."""
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
            text, changes, kept = _new_params(layout, log.ingest, settings, log.repeats.many)
        with replacing(layout.params) as temporary:
            temporary.write_bytes(text.encode("utf-8"))
        versions.add(layout)
        if before is not None and before.name == versions.digest(layout):
            before = None
    files = {path.name: path.stat().st_size for path in sorted(layout.data.iterdir())}
    return Used(log.ingest, files, changes, before, kept, log.repeats)


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
    """The text of params.yaml with the new ingest section and those settings that it already has.

    Unused keys of the ingest section become null; `engine` stays. For a log without settings, the
    settings of the former known set go back to their defaults, except those changed by hand. Seen
    items are recommended if many interactions are repeats.
    """
    text = _text(layout)
    kept: list[Change] = []
    if not settings:
        settings, kept = _given_back(text)
    changes = []
    for path, value in _wanted(ingest, settings, many_repeats):
        known = yaml_edit.has(text, path)
        new = (path == _FILTER and not value) or (path[0] == ingest.section and value is not None)
        if not known and not new:  # a missing filter is on
            continue
        before = yaml_edit.get(text, path) if known else None
        if path == _TRAIN_FILTER and before is not True:
            continue
        text = yaml_edit.put(text, path, value)
        if before != value:
            changes.append(Change(".".join(path), before, value))
    return text, changes, kept


_FILTER = ("evaluate", "filter_seen")
_TRAIN_FILTER = ("train", "filter_seen")
"""If missing it follows evaluate.filter_seen, which it must not contradict."""


def _given_back(text: str) -> tuple[Settings, list[Change]]:
    """Defaults for the settings of the former known set, and those that were changed by hand."""
    named = ("ingest", "name")
    before = KNOWN.get(yaml_edit.get(text, named)) if yaml_edit.has(text, named) else None
    defaults: Settings = {}
    kept = []
    for section, keys in (before.settings if before else {}).items():
        for key, set_value in keys.items():
            path = (section, *key.split("."))
            if not yaml_edit.has(text, path):
                continue
            now = yaml_edit.get(text, path)
            if now == set_value:
                defaults.setdefault(section, {})[key] = _DEFAULTS[section].get(key, set_value)
            elif path != _FILTER:
                kept.append(Change(".".join(path), now, set_value))
    return defaults, kept


_DEFAULTS = KNOWN["starter"].settings
"""The settings of params.yaml as shipped."""


def _wanted(
    ingest: IngestParams, settings: Settings, many_repeats: bool
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in ingest.model_dump(exclude={"engine"}).items():
        yield (ingest.section, key), value
    for section, keys in settings.items():
        for key, setting in keys.items():
            path = (section, *key.split("."))
            if path != _FILTER:
                yield path, setting
    yield _FILTER, not many_repeats
    if many_repeats:
        yield _TRAIN_FILTER, None
