"""Put a data set in its place: `data/` swapped, params.yaml edited, DVC told, nothing lost."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl.config import read_yaml
from recctl.data import describe, repeats, versions
from recctl.data.params import IngestParams
from recctl.datasets import yaml_edit
from recctl.datasets.catalogue import KNOWN, Settings
from recctl.files import locked, recover_folder, replacing, replacing_folder
from recctl.layout import Layout

Fill = Callable[[Path], IngestParams]
"""Puts files into an empty folder and says how they are read."""


@dataclass(frozen=True)
class Change:
    """One setting of params.yaml that was changed."""

    setting: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Used:
    """What `use` did."""

    ingest: IngestParams
    files: dict[str, int]
    """Bytes of each file in data/."""
    changes: list[Change]
    before: Path | None
    """Where the data.dvc and params.yaml of other data before lie; None when there was none."""
    kept: list[Change]
    """Settings of the known set before that were changed by hand since, and its own values."""
    repeats: repeats.Repeats
    """How often users come back to an item; it decides `evaluate.filter_seen`."""


def install(layout: Layout, fill: Fill, settings: Settings) -> Used:
    """Fill a new folder, then let it take the place of `data/`, and tell params.yaml and DVC.

    Until the new folder is whole nothing is touched. The order after that: data/, params.yaml,
    data.dvc; killed in between, DVC still holds the data before, and the same command run again
    asks for 'dvc add data' and goes on.
    """
    busy = "another 'recctl data use' is at work in this project"
    with locked(layout.state / "data.lock", busy):
        recover_folder(layout.data)
        read_yaml(layout.params)  # what cannot be read or edited is refused before the log is read
        yaml_edit.put(_text(layout), (IngestParams.section, "name"), "")
        versions.require_held(layout)
        before = _keep_pointers(layout)
        with replacing_folder(layout.data) as folder:
            ingest = fill(folder)
            again = describe.repeats_of(ingest, folder, layout.state)
            text, changes, kept = _new_params(layout, ingest, settings, again.many)
        with replacing(layout.params) as temporary:
            temporary.write_bytes(text.encode("utf-8"))
        versions.add(layout)
        if before is not None and before.name == versions.digest(layout):
            before = None
    files = {path.name: path.stat().st_size for path in sorted(layout.data.iterdir())}
    return Used(ingest, files, changes, before, kept, again)


def _text(layout: Layout) -> str:
    """params.yaml with the line ends that it has."""
    return layout.params.read_bytes().decode("utf-8")


def _keep_pointers(layout: Layout) -> Path | None:
    """Copies of data.dvc and params.yaml by which the data before can be brought back."""
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
    """The text of params.yaml with the ingest section and the settings that are in it already.

    Keys of the ingest section that no longer say anything become null; `engine` is the user's. A
    log without settings of its own gets back what the known set before it had changed; what was
    changed by hand since is kept. Seen items are recommended where users repeat themselves.
    """
    text = _text(layout)
    kept: list[Change] = []
    if not settings:
        settings, kept = _given_back(text)
    changes = []
    for path, value in _wanted(ingest, settings, many_repeats):
        known = yaml_edit.has(text, path)
        new = (path == _FILTER and not value) or (path[0] == ingest.section and value is not None)
        if not known and not new:  # a filter that is left out is on
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
"""Left out it follows the other one, which it must not contradict."""


def _given_back(text: str) -> tuple[Settings, list[Change]]:
    """Defaults for what the set before brought, and what was changed by hand since."""
    named = ("ingest", "name")
    before = KNOWN.get(yaml_edit.get(text, named)) if yaml_edit.has(text, named) else None
    found: Settings = {}
    kept = []
    for section, keys in (before.settings if before else {}).items():
        for key, brought in keys.items():
            path = (section, *key.split("."))
            if not yaml_edit.has(text, path):
                continue
            now = yaml_edit.get(text, path)
            if now == brought:
                found.setdefault(section, {})[key] = _DEFAULTS[section].get(key, brought)
            elif path != _FILTER:
                kept.append(Change(".".join(path), now, brought))
    return found, kept


_DEFAULTS = KNOWN["starter"].settings
"""As params.yaml is delivered."""


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
