"""Evaluation protocols by name, and the fingerprint of what the numbers rest on."""

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.evaluation import metrics
from recctl.evaluation.negatives import draw_negatives
from recctl.evaluation.params import EvaluateParams, sampled_names
from recctl.sequences.store import Cases, SequenceData


def sampled_negatives(
    cases: Cases, counts: NDArray[np.int64], params: EvaluateParams
) -> dict[str, NDArray[np.int32]]:
    """The negatives of each sampled protocol; `counts` (n_items,) are the training counts."""
    weights = [counts.astype(np.float64), np.ones(len(counts))]
    seeds = np.random.SeedSequence(params.seed).spawn(len(weights))
    return {
        name: draw_negatives(cases, weight, params.negatives, np.random.default_rng(seed))
        for name, weight, seed in zip(sampled_names(params.negatives), weights, seeds, strict=True)
    }


def describe(data: SequenceData, cases: Cases, params: EvaluateParams) -> dict[str, Any]:
    """The evaluation protocol and its data, as it enters the fingerprint."""
    return {
        "version": metrics.VERSION,
        "split": data.fingerprint,
        "targets": _targets_digest(data, cases),
        "candidates": "catalogue",
        "catalogue_size": data.vocabulary.size,
        "filter_seen": params.filter_seen,
        "ties": "against the target",
        "negatives": {
            "schemes": ["popularity", "uniform"],
            "count": params.negatives,
            "seed": params.seed,
        },
    }


def fingerprint(protocol: dict[str, Any]) -> str:
    """The sha256 of a protocol's description, in hex."""
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()


def _targets_digest(data: SequenceData, cases: Cases) -> str:
    """The sha256 over the cases' users and targets by external id; a cold target is null."""
    ids, items = data.user_ids, (*data.vocabulary.items, None)  # COLD is -1: the last
    pairs = [
        (ids[user], items[target])
        for user, target in zip(cases.users.tolist(), cases.targets.tolist(), strict=True)
    ]
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
