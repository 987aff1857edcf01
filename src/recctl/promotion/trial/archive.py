"""Evidence on disk: enough to take the same decision again, years later."""

import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from recctl.errors import Gone, UserError
from recctl.evaluation.slices import Slice
from recctl.files import digest, read_json, read_table, replacing, write_json
from recctl.promotion.judge.decision import RULES, decide
from recctl.promotion.judge.evidence import Conduct, Evidence, Scored, Training
from recctl.promotion.judge.gate import Gate
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.ledger.registry import EVIDENCE, Registry

TABLE = "evidence.parquet"
"""One row per test user: ids, every model's rank, who leaks, who is in which slice."""
FACTS = "evidence.json"
"""All that is not by user."""
_MADE_BY = "promote"
_ROUNDING = 1e-9


def save(evidence: Evidence, user_ids: list[str], folder: Path) -> list[str]:
    """Write both files; returns their names. `user_ids` are external, by user_index."""
    columns: dict[str, Any] = {
        "user_index": evidence.users,
        "user_id": [user_ids[user] for user in evidence.users.tolist()],
    }
    scored = _scored(evidence)
    for name, one in scored.items():
        columns[f"rank/{name}"] = one.ranks[_order(one, evidence)]
    for name, mask in evidence.leaks.items():
        columns[f"leak/{name}"] = mask
    for i, one_slice in enumerate(evidence.slices):
        columns[f"slice/{i}"] = one_slice.members
    with replacing(folder / TABLE) as temporary:
        pd.DataFrame(columns).to_parquet(temporary, index=False, compression="zstd")
    write_json(folder / FACTS, _facts(evidence, scored))
    return [TABLE, FACTS]


def _scored(evidence: Evidence) -> dict[str, Scored]:
    baselines = {f"baseline/{name}": one for name, one in evidence.baselines.items()}
    return {**evidence.models, **baselines}


def _order(one: Scored, evidence: Evidence) -> Any:
    order = np.argsort(one.users, kind="stable")
    assert np.array_equal(one.users[order], evidence.users), "scored on other users"
    return order


def _facts(evidence: Evidence, scored: dict[str, Scored]) -> dict[str, Any]:
    return {
        "catalogue": evidence.catalogue,
        "fingerprint": evidence.fingerprint,
        "fingerprints": {name: one.fingerprint for name, one in scored.items()},
        "slices": [[one.name, one.group, one.rule] for one in evidence.slices],
        "leaks": list(evidence.leaks),
        "conduct": {name: dataclasses.asdict(one) for name, one in evidence.conduct.items()},
        "overlap": evidence.overlap,
        "training": dataclasses.asdict(evidence.training) if evidence.training else None,
        "days": evidence.days,
        "common": evidence.common,
        "problems": evidence.problems,
    }


def load(folder: Path) -> Evidence:
    """Read what `save` wrote; UserError when a file is missing or damaged."""
    facts = read_json(folder / FACTS, _MADE_BY, ["fingerprints", "slices", "leaks"])
    ranks = [f"rank/{name}" for name in facts["fingerprints"]]
    leaks = [f"leak/{name}" for name in facts["leaks"]]
    members = [f"slice/{i}" for i in range(len(facts["slices"]))]
    wanted = ["user_index", *ranks, *leaks, *members]
    table = read_table(folder / TABLE, _MADE_BY, wanted).to_pandas()
    users = table["user_index"].to_numpy()
    try:
        scored = {
            name: Scored(fingerprint, users, table[f"rank/{name}"].to_numpy())
            for name, fingerprint in facts["fingerprints"].items()
        }
        return Evidence(
            catalogue=facts["catalogue"],
            fingerprint=facts["fingerprint"],
            users=users,
            challenger=scored["challenger"],
            champion=scored.get("champion"),
            best=scored.get("best"),
            baselines={
                name.removeprefix("baseline/"): one
                for name, one in scored.items()
                if name.startswith("baseline/")
            },
            slices=[
                Slice(name, group, rule, table[f"slice/{i}"].to_numpy())
                for i, (name, group, rule) in enumerate(facts["slices"])
            ],
            conduct={name: Conduct(**one) for name, one in facts["conduct"].items()},
            overlap=facts["overlap"],
            training=Training(**facts["training"]) if facts["training"] else None,
            leaks={name: table[f"leak/{name}"].to_numpy() for name in facts["leaks"]},
            days=facts.get("days"),
            common=facts["common"],
            problems=facts["problems"],
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / FACTS} is damaged ({error})", "see 'recctl verify'") from None


def repeat(registry: Registry, record: DecisionRecord | None) -> tuple[bool, str]:
    """Take a decision again from the evidence that was kept: is it the same, and a sentence.

    The evidence counts only if its digests are those in the decision. Raises Unknown where it could
    not be read.
    """
    if record is None:
        return False, "it lacks what a decision holds: it was altered, or not written by recctl"
    if record.kind != "promotion" or record.evidence is None or not record.evidence.files:
        return True, "nothing was measured for it"
    with tempfile.TemporaryDirectory(prefix="recctl-evidence-") as name:
        folder = Path(name)
        kept = record.evidence.files
        names = [Path(file).name for file in kept]
        try:
            found = registry.fetch(record.evidence.run_id or "", EVIDENCE, folder, names)
        except Gone as error:
            return False, f"its evidence is gone: {error}"
        for file, wanted in kept.items():
            path = found / Path(file).name
            if not path.is_file():
                return False, f"its evidence lacks {file}"
            if digest(path) != wanted:
                return False, f"its evidence was altered: {file} has another sha256"
        if record.rules != RULES:
            return True, "its evidence is whole; recctl judges by other rules since it was taken"
        try:
            policy = PromotionParams.model_validate(record.policy)
            again = decide(load(found), policy)
        except ValidationError:
            return False, "its policy is not one that this version of recctl knows"
        except UserError as error:
            return False, f"its evidence cannot be read: {error}"
    same = _same(_figures(again.gates), _figures(record.gates))
    verdicts = {again.verdict, record.verdict} - {"stale"}
    if len(verdicts) > 1 or not same:
        return False, (
            f"decided again from its evidence it is {again.verdict}, with "
            f"{'the same' if same else 'other'} figures"
        )
    return True, "decided again from its evidence: the same verdict and the same figures"


def _same(one: Any, other: Any) -> bool:
    """Whether figures agree, up to the rounding of the last digits."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _figures(gates: list[Gate]) -> list[dict[str, Any]]:
    """Gates without their sentences, which another version of recctl may word otherwise."""
    return [dataclasses.asdict(dataclasses.replace(gate, reason="")) for gate in gates]
