"""Models side by side: trained under one budget, ranked on one test set, compared user by user."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl import devices
from recctl.data.params import IngestParams
from recctl.errors import UserError
from recctl.evaluation import metrics, statistics
from recctl.evaluation.params import FULL, EvaluateParams, sampled_names
from recctl.evaluation.ranking import rank_cases
from recctl.evaluation.report import by_protocol
from recctl.evaluation.test_set import TestSet
from recctl.files import read_json, replacing_folder, write_json
from recctl.layout import Layout
from recctl.models import COUNTED
from recctl.models.blend import Blend
from recctl.published import Published, published
from recctl.render.console import Console
from recctl.render.text import Say
from recctl.training.checkpoint import Checkpoint, training_fingerprint
from recctl.training.fit import check_model, fingerprint
from recctl.training.launch import fit_project
from recctl.training.params import TrainParams

Ranks = dict[str, NDArray[np.int64]]
"""The test targets' ranks by protocol; (cases,) each."""

METRICS = ("hr@10", "ndcg@10")
"""The table's metrics; models are ordered by the last and compared by it."""


@dataclass(frozen=True)
class Training:
    """One training of one model."""

    model: str
    seed: int
    seconds: float
    """Of its steps, validations apart, also in processes that were interrupted."""
    epochs: int
    best_epoch: int
    capped: bool
    """The best epoch was the last one allowed: the model may not have converged."""
    validation: float
    """Full-ranking NDCG@10 on the validation targets."""


@dataclass(frozen=True)
class Run:
    """A training and how its model ranked the test targets."""

    training: Training
    ranks: Ranks


@dataclass(frozen=True)
class Row:
    """A model's line of the table, over all its seeds."""

    model: str
    trainings: list[Training]
    figures: dict[str, dict[str, statistics.Interval]]
    """By protocol and metric: the mean over users and seeds; the interval is over users."""
    spread: float | None
    """Standard deviation over the seeds of full-ranking NDCG@10; None for one seed."""
    published: dict[str, Published]
    """What others reached on the same set, by protocol, where it is known."""


@dataclass(frozen=True)
class Pair:
    """Two models on the same users: full-ranking NDCG@10 of the one less that of the other."""

    model: str
    other: str
    difference: statistics.Interval
    p: float
    """Of no difference (sign flips), adjusted for the number of pairs by Holm's method."""


@dataclass(frozen=True)
class Unproven:
    """A trained model that is not proven better than a simple one: the interval reaches zero."""

    model: str
    simple: str
    """The best of those that are not beaten."""
    difference: statistics.Interval
    """Full-ranking NDCG@10 of the model less that of the simple one."""
    instead: str
    """The best model that is simple, or proven better than every simple one."""


@dataclass(frozen=True)
class Board:
    """The table, best model first, and every pair."""

    users: int
    catalogue: int
    fingerprint: str
    """Of the evaluation protocol and its data."""
    settings: dict[str, Any]
    """The train section, by which all were trained; model and seed are each row's own."""
    rows: list[Row]
    pairs: list[Pair]
    unproven: list[Unproven]


def leaderboard(
    layout: Layout, models: Sequence[str], seeds: Sequence[int], params: TrainParams, say: Say
) -> Board:
    """Train each model with each seed under the same settings, and rank the test targets.

    Trainings with the same settings on the same data are read, not repeated; an interrupted
    training continues from its checkpoint. Raises UserError for an unknown model, a model named
    twice, no sequences, no test targets, and what a training raises.
    """
    for name in models:
        check_model(name)
    if len(set(models)) < len(models) or len(set(seeds)) < len(seeds):
        raise UserError("a model or a seed is named twice", "name each once")
    test = TestSet.load(layout)
    params = params.ranked(test.params.filter_seen)
    jobs = [
        params.model_copy(update={"model": name, "seed": seed})
        for name in models
        for seed in (seeds[:1] if name in COUNTED else seeds)
    ]
    # a blend goes before its network, which is then trained: both use one checkpoint
    jobs.sort(key=lambda one: (one.of_network().model, one.seed, one.model != Blend.kind))
    runs: dict[str, list[Run]] = {}
    for one in jobs:
        runs.setdefault(one.model, []).append(_run(test, one, say))
    known = _data_set(layout, test.params)
    rows = [_row(name, found, test, known) for name, found in runs.items()]
    rows.sort(key=lambda row: -row.figures[FULL][METRICS[-1]].value)
    pairs = _pairs({row.model: runs[row.model] for row in rows}, test)
    board = Board(
        users=test.cases.n_users,
        catalogue=test.n_items,
        fingerprint=test.fingerprint,
        settings=params.model_dump(exclude={"model", "seed"}),
        rows=rows,
        pairs=pairs,
        unproven=unproven([row.model for row in rows], pairs),
    )
    write_json(layout.root / "artifacts" / "leaderboard" / "report.json", asdict(board))
    return board


def _run(test: TestSet, params: TrainParams, say: Say) -> Run:
    """One model of one seed; read where it was done before."""
    layout, data, cases, evaluate = test.layout, test.data, test.cases, test.params
    key = fingerprint(params, data.fingerprint, evaluate.filter_seen)
    name = f"{params.model}-{training_fingerprint(key, test.fingerprint)[:16]}"
    folder = layout.root / "artifacts" / "leaderboard" / name
    if folder.is_dir():
        say(f"{params.model}, seed {params.seed}: done before")
        return _read(folder, len(cases), [FULL, *sampled_names(evaluate.negatives)])
    say(f"{params.model}, seed {params.seed}")
    device = devices.pick(params.device)
    devices.prepare(device)
    # a separate folder, so that the pipeline's unfinished trainings stay
    of_network = fingerprint(params.of_network(), data.fingerprint, evaluate.filter_seen)
    checkpoint = Checkpoint(layout.state / "checkpoints" / "leaderboard", of_network)
    done = fit_project(data, params, evaluate.filter_seen, checkpoint, console=Console(stderr=True))
    training = Training(
        model=params.model,
        seed=params.seed,
        seconds=round(done.seconds, 1),
        epochs=len(done.curve),
        best_epoch=done.best_epoch,
        capped=done.capped,
        validation=done.best_ndcg,
    )
    found = rank_cases(
        done.model, cases, filter_seen=evaluate.filter_seen, negatives=test.negatives()
    )
    ranks = {name: one["model"] for name, one in by_protocol({"model": found}).items()}
    with replacing_folder(folder) as target:
        write_json(target / "training.json", asdict(training))
        for protocol, ranked in ranks.items():
            np.save(target / f"{protocol}.npy", ranked)
    if params.model != Blend.kind:
        checkpoint.path.unlink(missing_ok=True)
    return Run(training, ranks)


def _read(folder: Path, users: int, protocols: list[str]) -> Run:
    try:
        training = Training(**read_json(folder / "training.json", "leaderboard"))
        ranks = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in protocols}
    except (UserError, TypeError, ValueError, EOFError, OSError):
        ranks = {}
    if not ranks or any(one.shape != (users,) for one in ranks.values()):
        raise UserError(f"{folder} is damaged", "remove it and run the command again")
    return Run(training, ranks)


def _gains(runs: list[Run], protocol: str, metric: str, test: TestSet) -> NDArray[np.float64]:
    """Each user's metric, the mean over the seeds and the user's targets; (users,)."""
    each = [metrics.per_case(metric, run.ranks[protocol], test.n_items) for run in runs]
    return test.cases.per_user(np.asarray(np.mean(each, axis=0), np.float64))


def _data_set(layout: Layout, params: EvaluateParams) -> str:
    """The set's name, where published figures were measured as ours are; else empty."""
    split = read_json(layout.sequences / "report.json", "leaderboard")
    if not params.filter_seen or split.get("protocol") != "leave-one-out":
        return ""
    try:
        return IngestParams.load(layout.params).name
    except UserError:  # of no concern here: the sequences are there
        return ""


def _row(name: str, runs: list[Run], test: TestSet, data_set: str) -> Row:
    params = test.params
    figures = {
        protocol: {
            metric: statistics.interval(
                _gains(runs, protocol, metric, test),
                params.bootstrap_resamples,
                np.random.default_rng(params.seed),
            )
            for metric in METRICS
        }
        for protocol in sorted(runs[0].ranks, key=lambda one: (one != FULL, one))
    }
    by_seed = [_gains([run], FULL, METRICS[-1], test).mean() for run in runs]
    spread = float(np.std(by_seed, ddof=1)) if len(runs) > 1 else None
    known = {key: one for key, one in published(data_set, name).items() if key in figures}
    return Row(name, [run.training for run in runs], figures, spread, known)


def _pairs(runs: dict[str, list[Run]], test: TestSet) -> list[Pair]:
    """Every two models, the better one first."""
    params = test.params
    gains = {name: _gains(found, FULL, METRICS[-1], test) for name, found in runs.items()}
    compared = []
    couples = list(combinations(gains, 2))
    # enough flips that the smallest p, times the number of pairs, can be small
    flips = max(params.bootstrap_resamples, 100 * len(couples))
    for one, other in couples:
        rng = np.random.default_rng(params.seed)
        sample = statistics.counted(gains[one] - gains[other])
        means = statistics.bootstrap_means(sample, params.bootstrap_resamples, rng)
        p = statistics.sign_flip_p(sample, flips, rng)
        compared.append((one, other, statistics.interval_of(means, sample), p))
    adjusted = statistics.holm([p for *_, p in compared])
    return [
        Pair(one, other, difference, p)
        for (one, other, difference, _), p in zip(compared, adjusted, strict=True)
    ]


def unproven(names: list[str], pairs: list[Pair]) -> list[Unproven]:
    """The trained models that some simple one may equal; names from the best to the worst."""
    found = {(pair.model, pair.other): pair.difference for pair in pairs}
    simple = [name for name in names if name in COUNTED]

    def unbeaten(name: str) -> str | None:
        return next((one for one in simple if _less(found, name, one).low <= 0), None)

    over = {name: unbeaten(name) for name in names if name not in COUNTED}
    return [
        Unproven(
            name,
            one,
            _less(found, name, one),
            instead=next(other for other in names if over.get(other) is None),
        )
        for name, one in over.items()
        if one is not None
    ]


def _less(
    found: dict[tuple[str, str], statistics.Interval], name: str, other: str
) -> statistics.Interval:
    """The difference of two models in either order."""
    if (name, other) in found:
        return found[name, other]
    turned = found[other, name]
    return statistics.Interval(-turned.value, -turned.high, -turned.low)
