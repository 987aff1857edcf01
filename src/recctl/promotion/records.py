"""What is on record: the decisions, the evidence behind one, the registered versions."""

import tempfile
from pathlib import Path
from typing import Any

from recctl.errors import UserError
from recctl.files import digest
from recctl.layout import Layout
from recctl.promotion import archive, contenders, log
from recctl.promotion.body import plain_gates
from recctl.promotion.decision import decide
from recctl.promotion.log import Entry
from recctl.promotion.params import PromotionParams
from recctl.promotion.registry import EVIDENCE, Registry, Version
from recctl.promotion.schema import history_row

Row = dict[str, Any]


def open_registry(layout: Layout) -> Registry:
    """The registry that this project's policy names."""
    return Registry.connect(layout, PromotionParams.load(layout.params).registered_model)


def history(registry: Registry) -> list[Row]:
    """Every entry of the log, oldest first."""
    entries = sorted(registry.entries(), key=lambda one: one.position)
    counted = {entry.position for entry in log.in_force(entries)}
    return [history_row(entry, entry.position in counted) for entry in entries]


def entry(registry: Registry, position: int) -> tuple[Entry, Row]:
    """One entry and its row; UserError when there is none at that position."""
    entries = {one.position: one for one in registry.entries()}
    if position not in entries:
        held = f"1 to {max(entries)}" if entries else "none yet"
        raise UserError(f"no decision {position}", f"known: {held}; see 'recctl history'")
    rows = {row["position"]: row for row in history(registry)}
    return entries[position], rows[position]


def repeat(registry: Registry, one: Entry) -> tuple[bool, str]:
    """Take a decision again from the evidence that was kept: is it the same, and a sentence.

    The evidence counts only if its digests are those in the decision.
    """
    content = one.content
    if content["kind"] != "promotion" or not (content["evidence"] or {}).get("files"):
        return True, "nothing was measured for it"
    with tempfile.TemporaryDirectory(prefix="recctl-evidence-") as name:
        folder = Path(name)
        try:
            found = registry.fetch(content["evidence"]["run_id"], EVIDENCE, folder)
        except UserError as error:
            return False, f"its evidence cannot be had: {error}"
        for file, wanted in content["evidence"]["files"].items():
            path = found / Path(file).name
            if not path.is_file():
                return False, f"its evidence lacks {file}"
            if digest(path) != wanted:
                return False, f"its evidence was altered: {file} has another sha256"
        policy = PromotionParams.model_validate(content["policy"])
        again = decide(archive.load(found), policy)
    same = plain_gates(again.gates) == content["gates"]
    verdicts = {again.verdict, content["verdict"]} - {"stale"}
    if len(verdicts) > 1 or not same:
        return False, (
            f"decided again from its evidence it is {again.verdict}, with "
            f"{'the same' if same else 'other'} figures: it was taken by another version of recctl"
        )
    return True, "decided again from its evidence: the same verdict and the same figures"


def versions(registry: Registry) -> list[Row]:
    """Every registered version, newest first."""
    aliases = registry.aliases()
    return [_row(one, aliases) for one in registry.versions()]


def version(registry: Registry, number: int) -> Row:
    """One version with the digests of its files."""
    one = registry.version(number)
    return {**_row(one, registry.aliases()), "files": contenders.manifest(registry, one)}


def _row(one: Version, aliases: dict[str, int]) -> Row:
    tags = one.tags
    return {
        "version": one.number,
        "model": tags.get("recctl.model", "unknown"),
        "aliases": sorted(name for name, number in aliases.items() if number == one.number),
        "digest": one.digest,
        "registered": one.created,
        "data_md5": tags.get("recctl.data_md5"),
        "commit": tags.get("mlflow.source.git.commit"),
        "dirty": tags.get("recctl.git_dirty"),
        "split_fingerprint": tags.get("recctl.split_fingerprint"),
        "run_id": tags.get("recctl.trained_in"),
    }
