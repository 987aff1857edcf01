"""The champion's figures on the interactions after its training.

Each such interaction is one test: its user's earlier interactions are the history, the
item taken is the target, the catalogue is the champion's own. Ranks are those of evaluation.
MLflow keeps a series of days, one run per champion.
"""

import contextlib
import math
import time
from datetime import UTC, datetime
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from recctl import devices
from recctl.data.params import IngestParams
from recctl.errors import UserError
from recctl.evaluation.params import EvaluateParams
from recctl.evaluation.ranking import rank_cases
from recctl.evaluation.statistics import YEAR
from recctl.files import write_json
from recctl.layout import Layout
from recctl.models import load_model
from recctl.monitoring import events as reading
from recctl.monitoring import plots
from recctl.monitoring.events import MICROSECONDS_A_DAY, Events
from recctl.monitoring.figures import Alike, Day, Rules, alike, number_of, of_points, summary
from recctl.monitoring.params import MonitorParams
from recctl.monitoring.report import Former, Report
from recctl.promotion import history, write_pages
from recctl.promotion.judge.policy import Primary, PromotionParams
from recctl.promotion.ledger import aliases
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.trial import contenders
from recctl.promotion.trial.scoring import Contender
from recctl.render.text import Say
from recctl.sequences.params import SequenceSplitParams
from recctl.tracking import live
from recctl.tracking.live import LiveSeries
from recctl.training.params import TrainParams

REPORT, PLOT = "report.json", "series.png"
"""What is written below artifacts/monitoring/."""


class NoChampion(UserError):
    """No version serves, so there is none to watch."""


def watch(layout: Layout, say: Say) -> Report:
    """Score the champion on what came after its training; keep the series, write the report.

    Raises NoChampion where no version serves, UserError where the log has no times, and where a
    file, the registry or a version is missing or damaged.
    """
    params, policy = MonitorParams.load(layout.params), PromotionParams.load(layout.params)
    registry = history.open_registry(layout)
    state = aliases.serving(registry)
    champion = contenders.registered(registry, layout, _number(registry, state), state.line)
    since = _log_end(champion, layout)
    kept = live.live_series(registry.tracking, registry.name)
    tags = _tags(champion, layout)
    known = _known(kept, champion, tags, policy.metrics)
    series, window, like = _figures(layout, champion, policy, params, since, known, say)
    assert champion.version is not None
    live.log_live(
        registry.tracking,
        model=registry.name,
        version=champion.version,
        tags=tags,
        days={number_of(day.day): day.as_points() for day in series},
    )
    promoted = promoted_value(state.line, champion.version, policy.metrics[0])
    errors = NormalDist().inv_cdf(params.false_alarms_per_year / 2)
    report = Report(
        version=champion.version,
        model=champion.kind,
        registered_model=registry.name,
        metric=policy.metrics[0],
        log_end=datetime.fromtimestamp(since // 10**6, UTC).isoformat(timespec="seconds"),
        promoted_value=promoted and promoted[0],
        promoted_least=promoted and promoted[0] + errors * promoted[1],
        margin=(policy.primary or Primary()).margin,
        minimum_events=params.minimum_events,
        minimum_users=params.minimum_users,
        window_days=params.window_days,
        series=series,
        window=window,
        former=_former(kept, champion.version, policy.metrics),
        alike=like,
    )
    plots.series(report, layout.monitoring / PLOT)
    write_json(layout.monitoring / REPORT, report.as_dict())
    write_pages.overview(layout, registry, say)
    return report


def _number(registry: Registry, state: aliases.Serving) -> int:
    """The champion by the log of decisions, which the alias follows."""
    number = state.says["champion"]
    if number is None or number in state.deleted:
        raise NoChampion(
            f"no champion of '{registry.name}' serves, so there is none to watch",
            "promote a model first: 'recctl promote'",
        )
    return number


def _log_end(champion: Contender, layout: Layout) -> int:
    """The newest time of the log that the champion's training was a part of, in microseconds."""
    record = champion.record
    assert record is not None, "a registered version has its record"
    without = None
    if IngestParams.load(layout.params).format == "sequences":
        without = "the log"
    elif record.about["real_times"] is not True:
        without = f"the log that version {champion.version} was trained on"
    if without is not None:
        raise UserError(
            f"{without} has no times, so nothing in it is known to be later than a training",
            "use a log with times ('recctl data use'), or do not monitor the champion",
        )
    return record.log_end


def _tags(champion: Contender, layout: Layout) -> dict[str, str]:
    """Tags, besides the version, that all figures of one series share."""
    filter_seen = EvaluateParams.load(layout.params).filter_seen
    as_served = champion.answers.leaves_out_seen(filter_seen)
    return {
        "recctl.content_digest": champion.digest,
        "recctl.filter_seen": str(as_served).lower(),
    }


def _known(
    kept: list[LiveSeries], champion: Contender, tags: dict[str, str], names: list[str]
) -> dict[int, Day]:
    """The days of the champion's series that need not be scored again, by number."""
    for one in kept:
        if one.version == champion.version and tags.items() <= one.tags.items():
            return _days(one, names)
    return {}


def _days(series: LiveSeries, names: list[str]) -> dict[int, Day]:
    found = {number: of_points(number, row, names) for number, row in series.days.items()}
    return {number: day for number, day in found.items() if day is not None}


def _former(kept: list[LiveSeries], version: int, names: list[str]) -> list[Former]:
    others = [one for one in kept if one.version != version]
    found = [Former(one.version, list(_days(one, names).values())) for one in others]
    return [one for one in found if one.series]


def _figures(
    layout: Layout,
    champion: Contender,
    policy: PromotionParams,
    params: MonitorParams,
    since: int,
    known: dict[int, Day],
    say: Say,
) -> tuple[list[Day], Day | None, Alike | None]:
    """Every day with an event; the last days together, and those of their events that are like
    the promotion's test cases: None where there is no event."""
    path = layout.interactions / "interactions.parquet"
    vocabulary, evaluate = champion.answers.vocabulary, EvaluateParams.load(layout.params)
    events = reading.read(path, vocabulary, since, layout.state)
    by_day = reading.by_day(events)
    span = "1 day" if len(by_day) == 1 else f"{len(by_day)} days"
    say(f"version {champion.version}: {len(events):,} events in {span}")
    if not by_day:
        return [], None, None
    # a day that has not ended would be judged at each of its looks
    today = time.time_ns() // 1000 // MICROSECONDS_A_DAY
    ended = [number for number in by_day if number < today] or list(by_day)
    window = ended[-params.window_days :]
    spared = {
        number: known[number]
        for number, rows in by_day.items()
        if number not in window and number in known and known[number].events == len(rows)
    }
    fresh = np.concatenate([rows for number, rows in by_day.items() if number not in spared])
    ranks = np.zeros(len(events), np.int64)
    as_served = champion.answers.leaves_out_seen(evaluate.filter_seen)
    ranks[fresh] = _ranks(layout, champion, events.select(fresh), as_served, say)
    rules = Rules(
        metrics=policy.metrics,
        catalogue=vocabulary.size,
        filter_seen=as_served,
        resamples=evaluate.bootstrap_resamples,
        seed=evaluate.seed,
    )

    def over(rows: NDArray[np.int64]) -> Day:
        return summary(events.select(rows), ranks[rows], rules)

    days = [spared.get(number) or over(rows) for number, rows in by_day.items()]
    last = np.concatenate([by_day[number] for number in window])
    level = params.false_alarms_per_year / 2 / YEAR
    like = alike(events.select(last), ranks[last], rules, _fewest(champion, layout), level)
    return days, over(last), like


def _fewest(champion: Contender, layout: Layout) -> int:
    """Items of the history of a test user when the champion was promoted, at least."""
    recorded = champion.record.about.get("split") if champion.record else None
    split = SequenceSplitParams.load(layout.params)
    if isinstance(recorded, str):
        with contextlib.suppress(ValidationError):
            split = SequenceSplitParams.model_validate_json(recorded)
    return max(1, split.minimum_user_interactions - 1)


def _ranks(
    layout: Layout, champion: Contender, events: Events, filter_seen: bool, say: Say
) -> NDArray[np.int64]:
    """The targets' ranks as evaluation counts them; (events,)"""
    device = devices.pick(TrainParams.load(layout.params).device)
    devices.prepare(device)
    served = champion.answers.model
    model = served if device.type == "cpu" else load_model(champion.answering, device)

    def progress(done: int) -> None:
        say(f"ranked {done:,} of {len(events):,} events")

    found = rank_cases(model, events.cases, filter_seen=filter_seen, progress=progress)
    say(f"ranked {len(events):,} events in {found.seconds:.1f} s")
    return found.full


def promoted_value(line: list[Entry], version: int, metric: str) -> tuple[float, float] | None:
    """A version's metric, with its standard error, in the newest decision that made it champion.

    None without such a decision. Where it has no deviation, that of zeros and ones is taken: no
    values in [0, 1] of the same mean have a greater one.
    """
    for entry in reversed(line):
        record = None if entry.altered else entry.record
        if record is None or record.kind != "promotion":
            continue
        judged = record.challenger and record.challenger.version
        if judged == version and record.sets and record.sets.champion == version:
            if record.means is None or not record.users:
                return None
            mean = record.means.full.get("challenger", {}).get(metric)
            if mean is None:
                return None
            deviation = record.means.deviations.get("challenger", {}).get(metric)
            if deviation is None:
                deviation = math.sqrt(mean * (1 - mean))
            return mean, deviation / math.sqrt(record.users)
    return None
