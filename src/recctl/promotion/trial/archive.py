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
from recctl.promotion.judge.decision import RULES, Decision, decide
from recctl.promotion.judge.evidence import (
    Conduct,
    Evidence,
    Refit,
    Scored,
    Serving,
    Training,
    Use,
)
from recctl.promotion.judge.gate import Gate
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.judge.record import DecisionRecord, Erased
from recctl.promotion.ledger.registry import EVIDENCE, Registry
from recctl.promotion.trial import pseudonyms

TABLE = "evidence.parquet"
"""One row per test user: pseudonym, every model's rank, who leaks, who is in which slice."""
FACTS = "evidence.json"
"""All that is not by user."""
_MADE_BY = "promote"
_ROUNDING = 1e-9
USER, OLD_USER = "user", "user_id"
"""The column of pseudonyms; evidence of older decisions has external ids instead."""
_NOISE = 0.15
"""Share of an interval's width by which its ends may move when users are erased: the bootstrap
draws again (four standard errors of an end at 1,000 resamples)."""


def save(evidence: Evidence, user_ids: list[str], folder: Path, key: bytes) -> list[str]:
    """Write both files; returns their names. `user_ids` are external, by user_index.

    Rows are in the order of the pseudonyms, which `key` makes: their order does not show
    which user a row is about.
    """
    users = (user_ids[user] for user in evidence.users.tolist())
    columns: dict[str, Any] = {USER: pseudonyms.of(key, users)}
    scored = _scored(evidence)
    for name, one in scored.items():
        columns[f"rank/{name}"] = one.ranks[_order(one, evidence)]
    for name, mask in evidence.leaks.items():
        columns[f"leak/{name}"] = mask
    for i, one_slice in enumerate(evidence.slices):
        columns[f"slice/{i}"] = one_slice.members
    with replacing(folder / TABLE) as temporary:
        table = pd.DataFrame(columns).sort_values(USER)
        table.to_parquet(temporary, index=False, compression="zstd")
    write_json(folder / FACTS, {**_facts(evidence, scored), "key": pseudonyms.name(key)})
    return [TABLE, FACTS]


def erase(folder: Path, ids: set[str], keys: list[bytes]) -> tuple[int, bool]:
    """Remove the rows of some users; how many there were, and whether one of `keys` fits."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(folder / TABLE)
    old = OLD_USER in table.column_names
    made_with = read_json(folder / FACTS, _MADE_BY).get("key")
    fitting = [key for key in keys if pseudonyms.name(key) == made_with]
    names = sorted(ids) if old else [one for key in fitting for one in pseudonyms.of(key, ids)]
    column = table[OLD_USER if old else USER]
    left = table.filter(pc.invert(pc.is_in(column, value_set=pa.array(names, pa.string()))))
    if left.num_rows < table.num_rows:
        with replacing(folder / TABLE) as temporary:
            pq.write_table(left.replace_schema_metadata(None), temporary, compression="zstd")
    return table.num_rows - left.num_rows, old or bool(fitting)


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
        "serving": dataclasses.asdict(evidence.serving) if evidence.serving else None,
        "refit": dataclasses.asdict(evidence.refit) if evidence.refit else None,
        "use": dataclasses.asdict(evidence.use) if evidence.use else None,
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
    wanted = [*ranks, *leaks, *members]
    table = read_table(folder / TABLE, _MADE_BY, wanted).to_pandas(ignore_metadata=True)
    users = np.arange(len(table))  # only who is the same counts, and rows are the same users
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
            serving=Serving(**facts["serving"]) if facts.get("serving") else None,
            refit=Refit(**facts["refit"]) if facts.get("refit") else None,
            use=Use(**facts["use"]) if facts.get("use") else None,
            leaks={name: table[f"leak/{name}"].to_numpy() for name in facts["leaks"]},
            days=facts.get("days"),
            common=facts["common"],
            problems=facts["problems"],
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / FACTS} is damaged ({error})", "see 'recctl verify'") from None


def repeat(
    registry: Registry, record: DecisionRecord | None, erased: Erased | None = None
) -> tuple[bool, str]:
    """Take a decision again from the evidence that was kept: is it the same, and a sentence.

    The evidence counts only if its digests are those in the decision or, where users were `erased`
    from it, those that the entry of that says. Raises Unknown where it could not be read.
    """
    if record is None:
        return False, "it lacks what a decision holds: it was altered, or not written by recctl"
    if record.kind != "promotion" or record.evidence is None or not record.evidence.files:
        return True, "nothing was measured for it"
    with tempfile.TemporaryDirectory(prefix="recctl-evidence-") as name:
        folder = Path(name)
        kept = {**record.evidence.files, **(erased.files if erased else {})}
        names = [Path(file).name for file in kept]
        try:
            found = registry.fetch(record.evidence.run_id or "", EVIDENCE, folder, names)
        except Gone as error:
            return False, f"its evidence is gone: {error}"
        for file, wanted in kept.items():
            path = found / Path(file).name
            if not path.is_file():
                return False, f"its evidence lacks {file}"
            if (found_digest := digest(path)) != wanted:
                if found_digest == record.evidence.files.get(file):
                    return False, "its evidence still holds forgotten users: run 'recctl forget'"
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
    if erased:
        return _agrees(again, record, erased.users)
    same = _same(_figures(again.gates), _figures(record.gates))
    verdicts = {again.verdict, record.verdict} - {"stale"}
    if len(verdicts) > 1 or not same:
        return False, (
            f"decided again from its evidence it is {again.verdict}, with "
            f"{'the same' if same else 'other'} figures"
        )
    return True, "decided again from its evidence: the same verdict and the same figures"


def _agrees(again: Decision, record: DecisionRecord, erased: int) -> tuple[bool, str]:
    """Whether a decision taken from what erasing left agrees with the record, and a sentence.

    Of n users, k of them erased, a mean of values in [0, 1] moves by at most k / n, a difference
    of two by 2 k / n; an end of an interval by that and the share _NOISE of its width.
    """
    said = f"{erased:,} {'user' if erased == 1 else 'users'} erased"
    if any(gate.gate == "evidence" and gate.outcome == "refused" for gate in again.gates):
        return True, f"{said}; too few are left to take it again"
    then = {(gate.gate, gate.name): gate for gate in record.gates}
    now = {(gate.gate, gate.name): gate for gate in again.gates}
    wrong = [key for key in then if key not in now or _moved(now[key], then[key], erased)]
    if wrong or now.keys() != then.keys():
        more = f" (such as {' '.join(wrong[0])})" if wrong else ""
        return False, f"{said}; decided again from what is left its figures differ by more{more}"
    verdict = "the same verdict" if again.verdict == record.verdict else f"it is {again.verdict}"
    return True, f"{said}; decided again from what is left: {verdict}, figures within tolerance"


def _moved(now: Gate, then: Gate, erased: int) -> bool:
    """Whether a row's figures differ by more than erasing so many users can explain."""
    slack = 2 * erased / max(then.users or 0, 1) + _ROUNDING if then.users else _ROUNDING
    width = (then.high or 0.0) - (then.low or 0.0)
    allowed = {"challenger": slack, "reference": slack, "difference": slack}
    allowed |= dict.fromkeys(("low", "high"), slack + _NOISE * width)
    for name, most in allowed.items():
        one, other = getattr(now, name), getattr(then, name)
        if (one is None) != (other is None):
            return then.users is not None and then.users > erased
        if one is not None and abs(one - other) > most:
            return True
    return False


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
