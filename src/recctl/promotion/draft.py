"""The record of a decision before the log has it: who decided what, from which code and data."""

import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.evaluation import metrics
from recctl.layout import Layout
from recctl.promotion.judge.evidence import Evidence, Scored
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.judge.record import (
    SCHEMA,
    Aliases,
    Contender,
    DecisionRecord,
    Figures,
    Kind,
    Lineage,
)
from recctl.promotion.trial import scoring
from recctl.tracking.lineage import lineage
from recctl.user_identity import user


def draft(kind: Kind, registered_model: str, **fields: Any) -> DecisionRecord:
    """A record with every key that the log keeps; what is not given is null or empty."""
    empty = {
        name: field.get_default(call_default_factory=True)
        for name, field in DecisionRecord.model_fields.items()
        if not field.is_required() and name not in ("nonce", "rules")
    }
    content = {
        **empty,
        "schema": SCHEMA,
        "kind": kind,
        "verdict": None,
        "sentence": "",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "who": f"{user()}@{socket.gethostname()}",
        "registered_model": registered_model,
        "saw": Aliases(champion=None, previous=None, best=None),
        **fields,
    }
    return DecisionRecord.model_validate(content)


def measured(
    layout: Layout,
    policy: PromotionParams,
    test: scoring.TestSet,
    contenders: Mapping[str, scoring.Contender],
    evidence: Evidence,
) -> dict[str, Any]:
    """The fields of models that were scored on today's test set, and of the policy."""
    full, deviations = (
        {
            name: _figures(figure, policy.metrics, scored, evidence.catalogue)
            for name, scored in {**evidence.models, **evidence.baselines}.items()
        }
        for figure in (np.mean, np.std)
    )
    figures = {"full": full, "common": evidence.common, "deviations": deviations}
    return {
        **{name: contender(one) for name, one in contenders.items()},
        "users": len(evidence.users),
        "catalogue": evidence.catalogue,
        "common_catalogue": _common_size(contenders),
        "means": Figures.model_validate(figures),
        "policy": policy.model_dump(),
        "lineage": workspace_lineage(layout, test.fingerprint).but(data_until=test.data.until),
    }


def _figures(
    figure: Callable[[NDArray[np.float64]], Any], names: list[str], scored: Scored, catalogue: int
) -> dict[str, float | None]:
    """A figure of each metric's values over the users; None where ranks are no numbers."""
    ranks = np.asarray(scored.ranks)
    if not len(ranks) or not np.isfinite(ranks).all():
        return dict.fromkeys(names)
    ranks = ranks.astype(np.int64)
    return {name: float(figure(metrics.per_case(name, ranks, catalogue))) for name in names}


def _common_size(contenders: Mapping[str, scoring.Contender]) -> int | None:
    if "champion" not in contenders:
        return None
    sides = [set(contenders[name].served.vocabulary.items) for name in ("challenger", "champion")]
    return len(sides[0] & sides[1])


def contender(model: scoring.Contender) -> Contender:
    """What the record says of a model."""
    return Contender(
        version=model.version, digest=model.digest, model=model.kind, manifest=model.manifest
    )


def workspace_lineage(layout: Layout, fingerprint: str | None = None) -> Lineage:
    """The workspace's code and data, and the fingerprint of what was evaluated on it, if any."""
    tags = lineage(layout)
    return Lineage(
        commit=tags["mlflow.source.git.commit"],
        dirty=tags["recctl.git_dirty"],
        data_md5=tags["recctl.data_md5"],
        split_fingerprint=tags["recctl.split_fingerprint"],
        evaluation_fingerprint=fingerprint,
    )
