"""What evaluate writes: metrics, intervals, slices, every user's rank."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recctl.evaluation import metrics
from recctl.evaluation.params import FULL, EvaluateParams
from recctl.evaluation.ranking import Ranks, rank_cases, repeated_targets
from recctl.evaluation.slices import FEW_USERS, Slice
from recctl.evaluation.statistics import interval
from recctl.files import replacing
from recctl.models.base import Scorer
from recctl.sequences.store import Cases, Histories, SequenceData
from recctl.sequences.vocabulary import COLD

CURVE_CUTOFFS = range(1, 51)
SHUFFLED_CASES = 10_000
"""Cases that are ranked again with shuffled histories, at most."""

ByModel = Mapping[str, Ranks]
"""Ranks of every model under the keys of metrics.json: `model`, then the baselines."""

_RANKS = pa.schema(
    [
        ("protocol", pa.string()),
        ("model", pa.string()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("rank", pa.int32()),
        ("history_length", pa.int32()),
        ("target_count", pa.int64()),
    ]
)


def by_protocol(ranks: ByModel) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Ranks by protocol and model, the full ranking first."""
    names = next(iter(ranks.values())).sampled
    full = {model: one.full for model, one in ranks.items()}
    sampled = {name: {model: one.sampled[name] for model, one in ranks.items()} for name in names}
    return {FULL: full, **sampled}


def mean_metrics(
    ranks: ByModel, cases: Cases, params: EvaluateParams, n_items: int
) -> dict[str, dict[str, dict[str, float]]]:
    """The mean metrics by protocol and model: the body of metrics.json."""
    return {
        protocol: {
            model: {
                name: float(cases.per_user(metrics.per_case(name, one, n_items)).mean())
                for name in params.metrics
            }
            for model, one in models.items()
        }
        for protocol, models in by_protocol(ranks).items()
    }


def intervals(
    ranks: NDArray[np.int64], cases: Cases, params: EvaluateParams, n_items: int
) -> dict[str, dict[str, float]]:
    """Mean over users and 95% interval of each metric over some ranks; (cases,), at least one."""
    found = {}
    for name in params.metrics:
        values = cases.per_user(metrics.per_case(name, ranks, n_items))
        # every cell draws from the same seed, so that its interval depends on nothing else
        rng = np.random.default_rng(params.seed)
        found[name] = vars(interval(values, params.bootstrap_resamples, rng))
    return found


def slice_report(
    slices: list[Slice], ranks: ByModel, cases: Cases, params: EvaluateParams, n_items: int
) -> list[dict[str, Any]]:
    """Every slice with each model's intervals in full ranking; none where it has no users."""
    found = []
    for one in slices:
        members = cases.select(np.flatnonzero(one.members))
        users = members.n_users
        found.append(
            {
                "slice": one.name,
                "group": one.group,
                "rule": one.rule,
                "users": users,
                "few_users": users < FEW_USERS,
                "models": {
                    model: intervals(each.full[one.members], members, params, n_items)
                    for model, each in ranks.items()
                }
                if users
                else {},
            }
        )
    return found


def shuffled_loss(
    model: Scorer, ranks: Ranks, cases: Cases, params: EvaluateParams, metric: str
) -> dict[str, Any]:
    """How much a model's metric falls where the items of each history are in random order.

    Over at most 10,000 of the cases, with the 95% interval of the paired difference.
    """
    rng = np.random.default_rng(params.seed)
    rows = np.sort(rng.permutation(len(cases))[:SHUFFLED_CASES])
    some = cases.select(rows)
    mixed = replace(some, histories=some.histories.shuffled(rng))
    again = rank_cases(model, mixed, filter_seen=params.filter_seen).full
    before, after = (
        some.per_user(metrics.per_case(metric, one, model.n_items))
        for one in (ranks.full[rows], again)
    )
    loss = interval(before - after, params.bootstrap_resamples, rng)
    return {"metric": metric, "users": len(before), "before": float(before.mean()), **vars(loss)}


def ties(data: SequenceData) -> dict[str, float | int] | None:
    """How many targets have the time of another interaction of their user; None without times."""
    if not data.real_times:
        return None
    tied = data.tied()
    return {
        "targets": len(tied),
        "tied_targets": int(tied.sum()),
        "tied_target_share": float(tied.mean()),
    }


def repeats(train: Histories, cases: Cases, *, filter_seen: bool) -> dict[str, float | int]:
    """How often users come back to an item: in training, and among the targets.

    Targets that their users had before are hidden where the seen filter is on.
    """
    rows, items = train.flat()
    pairs = np.unique(rows * (int(items.max(initial=0)) + 1) + items)
    again = int(repeated_targets(cases).sum())
    hidden = again if filter_seen else 0
    return {
        "repeat_share": 1 - len(pairs) / max(len(items), 1),
        "targets": len(cases),
        "repeated_targets": again,
        "repeated_target_share": again / max(len(cases), 1),
        "hidden_targets": hidden,
        "hidden_target_share": hidden / max(len(cases), 1),
    }


def write_ranks(
    path: Path, data: SequenceData, cases: Cases, ranks: ByModel, counts: NDArray[np.int64]
) -> None:
    """ranks.parquet: one row per protocol, model and target, as docs/architecture.md says.

    The target's item_id is null where training never saw it.
    """
    cold = cases.targets == COLD
    known = pa.array(np.maximum(cases.targets, 0), mask=cold)
    common = [
        pa.array(data.user_ids, pa.string()).take(pa.array(cases.users)),
        pa.array(data.vocabulary.items, pa.string()).take(known),
        pa.array(cases.histories.lengths, pa.int32()),
        pa.array(np.where(cold, 0, counts[cases.targets]), pa.int64()),
    ]
    user_id, item_id, history_length, target_count = common
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(temporary, _RANKS, compression="zstd") as writer,
    ):
        for protocol, models in by_protocol(ranks).items():
            for model, one in models.items():
                names = [pa.repeat(name, len(one)) for name in (protocol, model)]
                rank = pa.array(one, pa.int32())
                columns = [*names, user_id, item_id, rank, history_length, target_count]
                writer.write_table(pa.Table.from_arrays(columns, schema=_RANKS))


def write_curve(path: Path, ranks: ByModel, cases: Cases, n_items: int) -> pd.DataFrame:
    """hr_at_k.csv: full-ranking HR@k by k, one column per model; returns what it wrote."""
    columns = {
        model: [
            cases.per_user(metrics.per_case(f"hr@{k}", one.full, n_items)).mean()
            for k in CURVE_CUTOFFS
        ]
        for model, one in ranks.items()
    }
    table = pd.DataFrame({"k": list(CURVE_CUTOFFS), **columns})
    _write_csv(path, table)
    return table


def write_slices(path: Path, report: list[dict[str, Any]], metric: str) -> pd.DataFrame:
    """slices.csv: one metric by group, each model with its interval; returns what it wrote.

    Groups without users are left out.
    """
    rows = []
    for one in report:
        if one["users"]:
            row = {"slice": one["slice"], "group": one["group"], "users": one["users"]}
            for model, cells in one["models"].items():
                value, low, high = cells[metric].values()
                row |= {model: value, f"{model}_low": low, f"{model}_high": high}
            rows.append(row | {"metric": metric})
    table = pd.DataFrame(rows)
    _write_csv(path, table)
    return table


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")
