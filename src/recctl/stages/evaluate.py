"""evaluate: rank every user's target with the model and the baselines, and say how good that is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recctl import devices
from recctl.data.repeats import MOST
from recctl.errors import UserError
from recctl.evaluation import plots, report
from recctl.evaluation.beyond_accuracy import (
    beyond_accuracy,
    diversity,
    inverse_propensity,
    item_vectors,
    serendipity,
)
from recctl.evaluation.metrics import per_case
from recctl.evaluation.params import FULL
from recctl.evaluation.ranking import Ranks, rank_cases, repeated_targets, unreachable
from recctl.evaluation.slices import slices
from recctl.evaluation.statistics import interval
from recctl.evaluation.tables import primary_metric, show
from recctl.evaluation.test_set import TestSet
from recctl.files import replacing_folder, write_json
from recctl.layout import Layout
from recctl.models.base import Recommender, read_settings
from recctl.models.popularity import Popularity, RecentPopularity
from recctl.recommend import Served
from recctl.render.numbers import change, figure, label, span
from recctl.render.text import echo
from recctl.sequences.store import SequenceData
from recctl.tracking.runs import log_evaluation, trained_run
from recctl.tracking.server import connect
from recctl.training.params import TrainParams

Means = dict[str, dict[str, dict[str, float]]]
LIST_LENGTH = 10
"""Items of the lists that coverage, novelty and popularity bias are measured on."""
_TRACKED = ("metrics.json", "report.json", "hr_at_k.png", "slices.png")


def run(layout: Layout) -> None:
    """Read sequences and model; write artifacts/evaluation and print the table.

    Raises UserError when there is nothing to evaluate, when the model belongs to other data, or
    when the tracking server cannot be reached (before the work, not after).
    """
    test = TestSet.load(layout)
    connect(layout)
    device = devices.pick(TrainParams.load(layout.params).device)
    devices.prepare(device)
    served = Served.load(layout.model, device)
    _check_catalogue(layout, served, test.data)
    served.check(filter_seen=test.params.filter_seen)
    _ = test.data.user_ids, test.data.fingerprint, trained_run(layout)  # damaged: before the work
    baselines = {name: test.baseline(name) for name in test.baselines}
    ranks = _rank_all(served.model, baselines, test)
    result = _report(served.model, test, ranks)
    recent = baselines.get(RecentPopularity.kind)
    if isinstance(recent, RecentPopularity):
        result["half_life_days"] = recent.half_life_days
    means = report.mean_metrics(ranks, test.cases, test.params, test.n_items)
    with replacing_folder(layout.evaluation) as folder:
        _write(folder, result, means, ranks, test)
    show(result)
    _warn(result["repeats"])
    _warn_unproven(served.model.kind, ranks, test)
    _track(layout, result, means)


def _warn(repeats: dict[str, Any]) -> None:
    if repeats["hidden_target_share"] > MOST:
        _say(
            f"warning: the seen filter hides {repeats['hidden_targets']:,} of "
            f"{repeats['targets']:,} targets, which no model can get right: set "
            "evaluate.filter_seen to false where users come back to items"
        )


def _warn_unproven(kind: str, ranks: dict[str, Ranks], test: TestSet) -> None:
    """Name the best baseline that the model is not proven better than: the interval meets zero."""
    metric = primary_metric(test.params.metrics)
    gains = {
        name: test.cases.per_user(per_case(metric, one.full, test.n_items))
        for name, one in ranks.items()
    }
    model = gains.pop("model")
    for name in sorted(set(gains) - {kind}, key=lambda one: -gains[one].mean()):
        rng = np.random.default_rng(test.params.seed)
        less = interval(model - gains[name], test.params.bootstrap_resamples, rng)
        if less.low <= 0:
            by = change(less.value, less.low, less.high)
            which = f"{kind} is not proven better than {name} ({label(metric)} {by})"
            _say(f"warning: {which}: use {name}")
            return


def _check_catalogue(layout: Layout, served: Served, data: SequenceData) -> None:
    own, today = served.vocabulary, data.vocabulary
    if own.items != today.items:
        raise UserError(
            f"the model in {layout.model} was trained on another vocabulary than "
            f"{layout.sequences} has ({own.size:,} items against {today.size:,})",
            "run 'dvc repro train'",
        )
    about = read_settings(layout.model).get("about", {})
    trained_on = about.get("split_fingerprint", data.fingerprint)
    if trained_on != data.fingerprint:  # today's targets may have been its training items
        raise UserError(
            f"the model in {layout.model} was trained on another split than that in "
            f"{layout.sequences}",
            "run 'dvc repro train'",
        )


def _rank_all(
    model: Recommender, baselines: Mapping[str, Recommender], test: TestSet
) -> dict[str, Ranks]:
    """Ranks by the keys of metrics.json: `model`, then the baselines."""
    negatives, targets = test.negatives(), f"{len(test.cases):,} targets"
    ranks: dict[str, Ranks] = {}
    for name, one in {"model": model, **baselines}.items():
        ranks[name] = rank_cases(
            one,
            test.cases,
            filter_seen=test.params.filter_seen,
            negatives=negatives,
            top=LIST_LENGTH,
            progress=lambda done, name=name: _say(f"{name}: {done:,} of {targets}"),  # type: ignore[misc]
        )
        _say(f"{name}: ranked {targets} in {ranks[name].seconds:.1f} s")
    return ranks


def _report(model: Recommender, test: TestSet, ranks: dict[str, Ranks]) -> dict[str, Any]:
    """The content of report.json; no timings, so that the same input gives the same file."""
    cases, counts, params, data = test.cases, test.counts, test.params, test.data
    new = np.asarray(data.train_end == data.offsets[:-1])[cases.users]
    repeated = None if params.filter_seen else repeated_targets(cases)
    metric = primary_metric(params.metrics)
    return {
        "fingerprint": test.fingerprint,
        "protocol": test.protocol,
        "kind": model.kind,
        "split": data.report.get("protocol"),
        "users": cases.n_users,
        "targets": len(cases),
        "catalogue": test.n_items,
        "metrics": params.metrics,
        "bootstrap_resamples": params.bootstrap_resamples,
        "protocols": {
            name: {
                key: report.intervals(one, cases, params, test.n_items)
                for key, one in models.items()
            }
            for name, models in report.by_protocol(ranks).items()
        },
        "slices": report.slice_report(
            slices(cases, counts, repeated, new), ranks, cases, params, test.n_items
        ),
        "unreachable_targets": unreachable(cases, filter_seen=params.filter_seen),
        "repeats": report.repeats(data.train(), cases, filter_seen=params.filter_seen),
        "ties": report.ties(data),
        "shuffled": report.shuffled_loss(model, ranks["model"], cases, params, metric),
        "list_length": LIST_LENGTH,
        "beyond_accuracy": _beyond_accuracy(ranks, test),
        "unbiased": {
            "propensity": "square root of the training count; weights self-normalised",
            "models": {
                key: {
                    name: inverse_propensity(
                        per_case(name, one.full, test.n_items), cases.targets, counts
                    )
                    for name in params.metrics
                }
                for key, one in ranks.items()
            },
        },
    }


def _beyond_accuracy(ranks: dict[str, Ranks], test: TestSet) -> dict[str, dict[str, float | None]]:
    """The figures of each model's lists."""
    cases, vectors = test.cases, item_vectors(test.data.train(), test.n_items)
    found: dict[str, dict[str, float | None]] = {}
    for key, one in ranks.items():
        assert one.top is not None
        hits = serendipity(one.full, ranks[Popularity.kind].full, LIST_LENGTH)
        found[key] = {
            **beyond_accuracy(one.top, cases.histories, test.counts),
            "diversity": diversity(one.top, vectors),
            "serendipity": float(cases.per_user(hits).mean()),
        }
    return found


def _write(
    folder: Path, result: dict[str, Any], means: Means, ranks: dict[str, Ranks], test: TestSet
) -> None:
    report.write_ranks(folder / "ranks.parquet", test.data, test.cases, ranks, test.counts)
    curve = report.write_curve(folder / "hr_at_k.csv", ranks, test.cases, test.n_items)
    metric = primary_metric(test.params.metrics)
    report.write_slices(folder / "slices.csv", result["slices"], metric)
    labels = {key: f"{result['kind']} (model)" if key == "model" else key for key in ranks}
    plots.plot_curve(folder / "hr_at_k.png", curve, labels)
    plots.plot_slices(folder / "slices.png", result["slices"], metric, labels)
    write_json(folder / "report.json", result)
    content = {"fingerprint": result["fingerprint"], "users": result["users"], **means}
    write_json(folder / "metrics.json", content)


def _track(layout: Layout, result: dict[str, Any], means: Means) -> None:
    """Add the metrics and plots to the MLflow run that trained the model."""
    log_evaluation(
        layout,
        metrics={
            f"{protocol}/{model}/{name}": value
            for protocol, models in means.items()
            for model, values in models.items()
            for name, value in values.items()
        },
        files=[layout.evaluation / name for name in _TRACKED],
        tags={
            "evaluation_fingerprint": result["fingerprint"],
            "mlflow.note.content": _headline(result),
        },
        model=result["kind"],
        test_set=result["fingerprint"],
    )


def _headline(result: dict[str, Any]) -> str:
    """The run's description in MLflow."""
    models = result["protocols"][FULL]
    lines = [
        f"- {result['kind'] if name == 'model' else name}: "
        + ", ".join(
            f"{label(metric)} {figure(one['value'])} ({span(one['low'], one['high'])})"
            for metric, one in figures.items()
            if metric in ("hr@10", "ndcg@10")
        )
        for name, figures in models.items()
    ]
    head = f"Full ranking of {result['catalogue']:,} items, {result['users']:,} users:"
    return "\n".join([head, "", *lines])


def _say(line: str) -> None:
    echo(f"evaluate: {line}", err=True)
