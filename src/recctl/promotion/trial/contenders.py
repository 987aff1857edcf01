"""Models on trial: the workspace's own, and versions brought from the registry and verified."""

import contextlib
import csv
import math
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recctl.errors import UserError
from recctl.files import damaged, locked, missing
from recctl.layout import Layout
from recctl.models.base import SETTINGS, read_settings
from recctl.promotion.judge.evidence import Training
from recctl.promotion.ledger import vouch
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.ledger.versions import Version
from recctl.promotion.manifest import Manifest
from recctl.promotion.trial import package
from recctl.promotion.trial.scoring import Contender, TestSet
from recctl.promotion.trial.training_record import TrainingRecord
from recctl.recommend import Served
from recctl.sequences.params import SequenceSplitParams
from recctl.tracking.lineage import data_md5
from recctl.training import curve

_KEPT = 6
"""Downloaded versions kept on disk."""


class Unsound(UserError):
    """A version that cannot serve: its files are gone, altered, or not recctl's."""


def workspace(test: TestSet) -> Contender:
    """The model in artifacts/model.

    Raises UserError when there is none, or when it was not trained on the workspace's split or to
    rank what evaluation ranks.
    """
    layout = test.layout
    digest = package.content_digest(layout.model) if layout.model.is_dir() else ""
    served = Served.load(layout.model)  # after the digest: a change between the two is noticed
    if _about(layout.model).get("split_fingerprint") != test.data.fingerprint:
        raise UserError(
            f"the model in {layout.model} was trained on another split than that in "
            f"{layout.sequences}",
            "run 'dvc repro'",
        )
    served.check(filter_seen=test.params.filter_seen)
    split = SequenceSplitParams.load(layout.params)
    facts = {"split": split.model_dump_json(), "data_md5": data_md5(layout)}
    record = TrainingRecord.of(test.data, facts)
    return Contender(layout.model, served, digest, None, record)


def training(layout: Layout) -> Training:
    """How the training of the workspace's model ended."""
    about = _about(layout.model)
    path = layout.training / "curve.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise missing(path, "train") from None
    validated = [row for row in rows if row.get("ndcg@10")]
    known = [
        (int(row["epoch"]), float(row["ndcg@10"]))
        for row in validated
        if _finite(row["ndcg@10"]) and row["epoch"].isdecimal()
    ]
    return Training(
        epochs=_count(about, "epochs", layout),
        best_epoch=_count(about, "best_epoch", layout),
        best_epoch_is_cap=bool(about.get("best_epoch_is_cap", False)),
        finite=all(_finite(row.get("loss")) for row in rows) and len(known) == len(validated),
        max_epochs=_count(about.get("params", {}), "max_epochs", layout),
        end=curve.end(known),
    )


def _about(folder: Path) -> dict[str, Any]:
    about = read_settings(folder).get("about", {})
    if not isinstance(about, dict):
        raise damaged(folder / SETTINGS, "train", "'about' does not say how it was trained")
    return about


def _count(about: dict[str, Any], name: str, layout: Layout) -> int:
    value = about.get(name, 0)
    if not isinstance(value, int):
        raise damaged(layout.model / SETTINGS, "train", f"'{name}' is no whole number")
    return value


def _finite(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or ""))
    except ValueError:
        return False


def registered(registry: Registry, layout: Layout, number: int, line: Sequence[Entry]) -> Contender:
    """A version of the registry, every file checked against what was registered.

    What was registered is what the decisions in force (`line`) vouch for; the tags say it of a
    version, or of its files, that no decision vouches for.

    Raises Gone for an unknown version and where the files are gone, Unsound where they are not
    what was registered or recctl did not register it, Unknown where that could not be read.
    """
    version = registry.version(number)
    expected = _manifest(registry, version, line)
    with locked(layout.state / "versions.lock"):  # one process at a time looks after the copies
        folder = _folder(registry, layout, version, expected)
        own = folder / package.RECOMMENDER
        with _unsound(number):
            if package.content_digest(own) != version.digest:
                raise UserError("its model is not the one that its digest was taken of")
            served, record = Served.load(own), TrainingRecord.load(own)
            again = folder / package.AGAIN if version.again else None
            manifest = vouch.manifest_of(version)
            found = Contender(own, served, version.digest, number, record, manifest, again)
            assert found.answers  # loads it: what cannot be loaded is not sound
    return found


@contextlib.contextmanager
def _unsound(number: int) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise Unsound(f"version {number} is not sound: {error}") from None


def _manifest(registry: Registry, version: Version, line: Sequence[Entry]) -> Manifest:
    objection = vouch.objection(line, version)
    if objection is not None:
        raise Unsound(objection, "restore it from a backup, or roll back: see 'recctl verify'")
    if not re.fullmatch("[0-9a-f]{64}", version.digest) or not version.files:
        raise Unsound(
            f"version {version.number} of '{registry.name}' was not registered by recctl: it "
            "carries no digests to check it by",
            "give another version: 'recctl models list'",
        )
    return version.files


@contextlib.contextmanager
def packed(test: TestSet, contender: Contender) -> Iterator[Path]:
    """The folder of a contender as it is, or would be, registered; until the block ends.

    Raises UserError, also, where the workspace's model is another one than was judged.
    """
    if contender.version is not None:
        yield version_folder(contender)
        return
    assert contender.record is not None
    test.layout.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=test.layout.state, prefix="package-") as name:
        folder = Path(name) / "model"
        package.build(
            contender.folder,
            folder,
            record=contender.record,
            filter_seen=test.params.filter_seen,
            again=contender.again,
        )
        if package.content_digest(folder / package.RECOMMENDER) != contender.digest:
            raise UserError(
                f"the model in {contender.folder} changed while it was judged",
                "nothing was changed; run the command again",
            )
        yield folder


def version_folder(contender: Contender) -> Path:
    """The folder of a version, of which the contender's is a part."""
    return contender.folder.parents[len(package.RECOMMENDER.parts) - 1]


def copy_of(layout: Layout, number: int, digest: str) -> Path:
    """Where the copy of a version's files is kept."""
    return layout.state / "versions" / f"{number}-{digest[:16]}"


def _folder(registry: Registry, layout: Layout, version: Version, expected: Manifest) -> Path:
    """A copy of the version's files as they are in the registry now, which is what serves."""
    folder = copy_of(layout, version.number, version.digest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetched-") as temporary:
        fetched = registry.download(version, Path(temporary))
        with _unsound(version.number):
            package.check(fetched, expected)
        if not _sound(folder, expected):  # another process may be reading a copy that is
            shutil.rmtree(folder, ignore_errors=True)
            fetched.replace(folder)
    _prune(folder)
    return folder


def _sound(folder: Path, expected: Manifest) -> bool:
    try:
        package.check(folder, expected)
    except UserError:
        return False
    return True


def _prune(newest: Path) -> None:
    others = [path for path in newest.parent.glob("[0-9]*") if path != newest]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[_KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
