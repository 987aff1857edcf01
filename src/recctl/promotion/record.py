"""A decision's body: what is kept of it forever, and what every table and page is made from."""

import dataclasses
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from recctl.evaluation import metrics
from recctl.layout import Layout
from recctl.promotion.judge.decision import RULES, Decision, Gate
from recctl.promotion.judge.evidence import Evidence, Scored
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.ledger.log import SCHEMA
from recctl.promotion.trial.scoring import Contender, TestSet
from recctl.tracking.lineage import lineage
from recctl.user_identity import user

Body = dict[str, Any]


def of_decision(
    layout: Layout,
    policy: PromotionParams,
    test: TestSet,
    contenders: Mapping[str, Contender],
    evidence: Evidence,
    decision: Decision,
) -> Body:
    """The body of a judgement; what it would move is filled in by its caller."""
    return {
        **frame("promotion", policy.registered_model),
        "rules": RULES,
        "verdict": decision.verdict,
        "sentence": decision.sentence,
        **{name: about(contenders.get(name)) for name in ("challenger", "champion", "best")},
        **figures(policy.metrics, contenders, evidence),
        "gates": plain_gates(decision.gates),
        "policy": policy.model_dump(),
        "lineage": where_from(layout, test),
    }


def frame(kind: str, registered_model: str) -> Body:
    """What every body has, whatever its kind; nothing is moved by it yet."""
    return {
        "schema": SCHEMA,
        "previous": None,
        "kind": kind,
        "verdict": None,
        "sentence": "",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "who": _who(),
        "forced": False,
        "reason": None,
        "approved_by": None,
        "registered_model": registered_model,
        "saw": {"champion": None, "previous": None, "best": None},
        "sets": None,
        "challenger": None,
        "champion": None,
        "best": None,
        "users": None,
        "catalogue": None,
        "common_catalogue": None,
        "means": None,
        "gates": [],
        "policy": None,
        "lineage": None,
        "evidence": None,
        "acknowledges": [],
        "key": None,
    }


def figures(names: list[str], contenders: Mapping[str, Contender], evidence: Evidence) -> Body:
    """The test set's size and the mean metrics of all models on it."""
    scored = {
        "challenger": evidence.challenger,
        "champion": evidence.champion,
        "best": evidence.best,
        **evidence.baselines,
    }
    full = {name: _means(names, one, evidence.catalogue) for name, one in scored.items() if one}
    return {
        "users": len(evidence.users),
        "catalogue": evidence.catalogue,
        "common_catalogue": _common_size(contenders),
        "means": {"full": full, "common": evidence.common},
    }


def _means(names: list[str], scored: Scored, catalogue: int) -> dict[str, float | None]:
    ranks = np.asarray(scored.ranks)
    if not len(ranks) or not np.isfinite(ranks).all():
        return dict.fromkeys(names)
    return dict(metrics.means(names, ranks.astype(np.int64), catalogue))


def _common_size(contenders: Mapping[str, Contender]) -> int | None:
    if "champion" not in contenders:
        return None
    sides = [set(contenders[name].served.vocabulary.items) for name in ("challenger", "champion")]
    return len(sides[0] & sides[1])


def about(one: Contender | None) -> dict[str, Any] | None:
    """A contender by name."""
    if one is None:
        return None
    return {
        "version": one.version,
        "digest": one.digest,
        "model": one.kind,
        "manifest": one.manifest,
    }


def where_from(layout: Layout, test: TestSet) -> dict[str, str | None]:
    """Which code and data a judgement rests on."""
    return {**lineage_of(layout), "evaluation_fingerprint": test.fingerprint}


def lineage_of(layout: Layout) -> dict[str, str | None]:
    """The code and data of the workspace, where nothing was evaluated on it."""
    tags = lineage(layout)
    return {
        "commit": tags["mlflow.source.git.commit"],
        "dirty": tags["recctl.git_dirty"],
        "data_md5": tags["recctl.data_md5"],
        "split_fingerprint": tags["recctl.split_fingerprint"],
        "evaluation_fingerprint": None,
    }


def plain_gates(gates: Sequence[Gate]) -> list[dict[str, Any]]:
    """Gates as JSON takes them: plain numbers, None for what is no finite number."""
    return [
        {key: _value(value) for key, value in dataclasses.asdict(gate).items()} for gate in gates
    ]


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _value(inner) for key, inner in value.items()}
    if isinstance(value, bool | str | int) or value is None:
        return value
    return float(value) if np.isfinite(value) else None


def _who() -> str:
    return f"{user()}@{socket.gethostname()}"
