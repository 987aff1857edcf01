"""Users taken out of the evidence of past decisions, as an entry of the decision log.

The erased evidence is kept in a folder first, then the entry that has its digests is written, then
the evidence in MLflow is replaced. Killed anywhere, all of it can be done again.
"""

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recctl.errors import Gone, MayPass, Unknown, UserError
from recctl.files import digest, replacing
from recctl.layout import Layout
from recctl.promotion.draft import draft
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.judge.record import Aliases, DecisionRecord, Erased, EvidenceFiles, Retire
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import EVIDENCE, MODEL, Registry
from recctl.promotion.ledger.versions import Version
from recctl.promotion.manifest import AGAIN
from recctl.promotion.promote import settled, write
from recctl.promotion.serving import RECOMMENDER
from recctl.promotion.trial import archive, pseudonyms
from recctl.promotion.trial.training_record import TrainingRecord, user_hashes
from recctl.render.text import Say


@dataclass
class Found:
    """What one registry holds of the users."""

    registry: Registry
    erased: dict[int, Erased] = field(default_factory=dict)
    """By decision."""
    foreign: list[int] = field(default_factory=list)
    """Decisions whose evidence was written with a key that this project does not have."""
    trained: list[int] = field(default_factory=list)
    """Versions that were trained on them."""
    unknown: list[int] = field(default_factory=list)
    """Versions whose record of training cannot be read."""


def registries(layout: Layout) -> list[Registry]:
    """The project's registry first, then those of its backfills."""
    name = PromotionParams.load(layout.params).registered_model
    own = Registry.connect(layout, name)
    logs = own.names(f"{name}-backfill-")
    names = [one.removesuffix("-decisions") for one in logs if one.endswith("-decisions")]
    return [own, *(dataclasses.replace(own, name=one) for one in names)]


def find(layout: Layout, registry: Registry, ids: set[str], folder: Path) -> Found:
    """Erase the users from copies of the evidence in `folder`; find the versions trained on them.

    Raises Unknown where evidence could not be read.
    """
    found, keys = Found(registry), pseudonyms.keys(layout)
    for entry in registry.entries():
        evidence = entry.record.evidence if entry.record else None
        if evidence is None or archive.TABLE not in evidence.files:
            continue
        copy = kept(folder, registry, entry.position)
        with tempfile.TemporaryDirectory(prefix="recctl-evidence-") as name:
            try:
                there = registry.fetch(
                    evidence.run_id or "", EVIDENCE, Path(name), list(evidence.files)
                )
            except Gone:
                continue
            users, fits = archive.erase(there, ids, keys)
            if not fits:
                found.foreign.append(entry.position)
            if users:
                with replacing(copy) as temporary:
                    shutil.copyfile(there / archive.TABLE, temporary)
                files = {archive.TABLE: digest(copy)}
                found.erased[entry.position] = Erased(users=users, files=files)
    _trained(found, ids)
    return found


def kept(folder: Path, registry: Registry, position: int) -> Path:
    """Where the erased evidence of a decision waits until MLflow holds it."""
    return folder / registry.name / str(position) / archive.TABLE


def _trained(found: Found, ids: set[str]) -> None:
    hashes = user_hashes(ids)
    for version in reversed(found.registry.versions()):
        with tempfile.TemporaryDirectory(prefix="recctl-version-") as name:
            try:
                users = _users_of(found.registry, version, Path(name))
            except Unknown:
                raise
            except UserError:
                found.unknown.append(version.number)
                continue
        if set(hashes.tolist()) & users:
            found.trained.append(version.number)


def _users_of(registry: Registry, version: Version, folder: Path) -> set[int]:
    """Hashes of the users that a version's models were trained on."""
    users: set[int] = set()
    for model in (RECOMMENDER, AGAIN) if version.again else (RECOMMENDER,):
        there = registry.fetch(version.run_id or "", f"{MODEL}/{model}", folder, [])
        users |= set(TrainingRecord.load(there).users.tolist())
    return users


def entry_of(registry: Registry, nonce: str) -> Entry | None:
    """The entry that a former attempt wrote; None where there is none."""
    return next(
        (
            entry
            for entry in registry.entries()
            if entry.content.get("nonce") == nonce and entry.content.get("verdict") != "stale"
        ),
        None,
    )


def record(
    home: Layout, retire: Retire, found: Found, nonce: str, reason: str, users: int, say: Say
) -> Entry:
    """Write the entry, which the aliases follow where versions are retired now.

    `home` gets its pages: the project's, or a scratch folder for the log of a backfill.
    """
    registry = found.registry
    state = settled(registry, home, say, force=True)
    sets = None
    if retire == "now" and set(found.trained) & set(state.says.values()):
        kept = {name: None if n in found.trained else n for name, n in state.says.items()}
        sets = Aliases(**kept)
    run_id = registry.decision_run("forget", {"recctl.run": "forget"})
    written = draft(
        "forget",
        registry.name,
        sentence=_sentence(users, found, retire),
        reason=reason,
        previous=state.head,
        saw=state.aliases,
        sets=sets,
        erased={str(position): one for position, one in found.erased.items()},
        trained=found.trained,
        retire=retire,
        nonce=nonce,
        evidence=EvidenceFiles(run_id=run_id, files={}),
    )
    outcome = write(home, registry, written, run_id, say)
    assert outcome.entry is not None
    if outcome.record and outcome.record.verdict == "stale":
        raise MayPass("another decision moved the champion", "run the command again")
    return outcome.entry


def _sentence(users: int, found: Found, retire: str) -> str:
    said = f"{users:,} {'user was' if users == 1 else 'users were'} forgotten; "
    decisions = ", ".join(map(str, found.erased))
    said += f"erased from the evidence of decisions {decisions}" if decisions else "in no evidence"
    if found.trained:
        what = {"never": "stay", "now": "are retired", "next-promotion": "retire at a promotion"}
        said += f"; versions {', '.join(map(str, found.trained))} were trained on them and "
        said += what[retire]
    return said


def upload(registry: Registry, entry: Entry, folder: Path) -> None:
    """Replace the evidence in MLflow by the erased copies that the entry has the digests of."""
    entries = {one.position: one for one in registry.entries()}
    body: DecisionRecord | None = entry.record
    for position in map(int, body.erased if body else {}):
        copy, judged = kept(folder, registry, position), entries[position].record
        if copy.is_file() and judged and judged.evidence:
            registry.log_files(judged.evidence.run_id or "", copy.parent, EVIDENCE)


def described(found: Found) -> Iterator[str]:
    """What of it cannot be reached, a line each."""
    name = found.registry.name
    if found.foreign:
        numbers = ", ".join(map(str, found.foreign))
        yield (
            f"evidence of decisions {numbers} of '{name}': its pseudonyms were made with the key "
            "of another clone; run 'recctl forget' there"
        )
    if found.unknown:
        numbers = ", ".join(map(str, found.unknown))
        yield f"versions {numbers} of '{name}': what they were trained on cannot be read"
