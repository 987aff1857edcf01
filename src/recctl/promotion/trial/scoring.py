"""Every contender is scored again on today's test set: no figure is remembered from before."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from recctl import devices
from recctl.data.params import IngestParams
from recctl.errors import UserError
from recctl.evaluation import metrics, test_set
from recctl.evaluation.beyond_accuracy import beyond_accuracy
from recctl.evaluation.params import FULL
from recctl.evaluation.ranking import NO_ITEM, Ranks, rank_cases
from recctl.evaluation.slices import (
    Slice,
    by_arrival,
    by_history_length,
    by_target_popularity,
)
from recctl.files import read_json, read_table
from recctl.layout import Layout
from recctl.models import load_model
from recctl.models.base import WEIGHTS, Scorer
from recctl.promotion.judge.evidence import Conduct, Evidence, Scored
from recctl.promotion.judge.policy import PromotionParams, require_single
from recctl.promotion.trial.training_record import TrainingRecord, leaking
from recctl.recommend import Served
from recctl.render.text import Say
from recctl.sequences.store import Cases, Histories
from recctl.sequences.vocabulary import COLD, Vocabulary
from recctl.training.params import TrainParams

LIST_LENGTH = 10
"""Items of the lists that coverage, popularity bias and overlap are measured on."""
_AGREE = 0.002
"""How far the evaluate stage's means may differ from ours: another device's rounding, no more."""


@dataclass(frozen=True)
class Contender:
    """A model on trial: the workspace's, or a version of the registry."""

    folder: Path
    """Its own files: weights, settings, vocabulary."""
    served: Served
    """The model that is judged."""
    digest: str
    """Of its content."""
    version: int | None = None
    """None: the workspace's, not registered."""
    record: TrainingRecord | None = None
    """What it was trained on; None where that is not known."""
    manifest: str | None = None
    """sha256 of the version's list of files; None: not registered."""
    again: Path | None = None
    """The folder of the same recipe trained on everything; None: what is judged serves."""

    @property
    def answering(self) -> Path:
        """The folder of the model that serves."""
        return self.again or self.folder

    @cached_property
    def answers(self) -> Served:
        """The model that serves."""
        return Served.load(self.again) if self.again else self.served

    @property
    def kind(self) -> str:
        return self.served.model.kind


class TestSet(test_set.TestSet):
    """Today's test set, as the evaluate stage measured it."""

    @classmethod
    def load(cls, layout: Layout) -> Self:
        """Read the workspace's sequences.

        Raises UserError where they are missing, have several targets of a user, or where evaluate
        has not measured them.
        """
        test = super().load(layout)
        require_single(test.data.targets)
        path = layout.evaluation / "metrics.json"
        if read_json(path, "evaluate", ["fingerprint"])["fingerprint"] != test.fingerprint:
            raise UserError(
                f"{path} was measured on other data or by other rules than the workspace has now",
                "run 'dvc repro'",
            )
        return test

    def rank(self, model: Scorer, served: Served | None = None, *, top: int = 0) -> Ranks:
        """Rank every target in full: as evaluation is set, or as the model serves."""
        filter_seen = self.filters(served) if served else self.params.filter_seen
        return rank_cases(model, self.cases, filter_seen=filter_seen, top=top)

    def filters(self, served: Served) -> bool:
        """Whether seen items are left out, by the settings or because the model must."""
        return served.leaves_out_seen(self.params.filter_seen)

    def scored(self, ranks: Ranks) -> Scored:
        return Scored(self.fingerprint, self.cases.users, ranks.full)

    def slices(self) -> list[Slice]:
        """The groups within which no challenger may be worse."""
        lengths = self.cases.histories.lengths
        found = [
            *by_history_length(lengths),
            *by_target_popularity(self.cases.targets, self.counts),
        ]
        if IngestParams.load(self.layout.params).format != "sequences":  # it has no real times
            first = np.asarray(self.data.times[self.data.offsets[self.cases.users]])
            found += by_arrival(first)
        return found


@dataclass(frozen=True)
class Translated:
    """A model seen through today's catalogue: histories and scores are mapped by external id.

    Items of a history that it never saw are left out, as serving does. Items of the catalogue
    that it never saw score -inf: below all it knows.
    """

    model: Scorer
    to_own: NDArray[np.int32]
    """The model's own index of each item of today's catalogue, COLD for none; (n_items,)"""

    @classmethod
    def between(cls, model: Scorer, own: Vocabulary, today: Vocabulary) -> Scorer:
        """The model itself where both catalogues are the same."""
        if own.items == today.items:
            return model
        index = own.index
        return cls(model, np.array([index.get(item, COLD) for item in today.items], np.int32))

    @property
    def n_items(self) -> int:
        return len(self.to_own)

    @cached_property
    def known(self) -> NDArray[np.int64]:
        """Today's items that the model knows."""
        return np.flatnonzero(self.to_own != COLD)

    def score(self, histories: Histories) -> torch.Tensor:
        """Scores over today's catalogue; (len(histories), n_items)."""
        _, items = histories.flat()
        ends = np.cumsum(histories.lengths, dtype=np.int64)
        own = Histories(self.to_own[items], ends - histories.lengths, ends)
        scores = self.model.score(own.without_cold())
        out = torch.full((len(histories), self.n_items), -torch.inf, device=scores.device)
        known = torch.from_numpy(self.known).to(scores.device)
        chosen = torch.from_numpy(self.to_own[self.known].astype(np.int64)).to(scores.device)
        out[:, known] = scores[:, chosen].float()
        return out


@dataclass(frozen=True)
class Restricted:
    """A model that may recommend some items only."""

    model: Scorer
    allowed: NDArray[np.bool_]
    """(n_items,)"""

    @property
    def n_items(self) -> int:
        return self.model.n_items

    def score(self, histories: Histories) -> torch.Tensor:
        """Scores with -inf for what is not allowed."""
        scores = self.model.score(histories)
        barred = torch.from_numpy(~self.allowed).to(scores.device)
        return scores.masked_fill(barred, -torch.inf)


def gather(
    test: TestSet,
    policy: PromotionParams,
    contenders: Mapping[str, Contender],
    *,
    problems: list[str],
    say: Say,
) -> Evidence:
    """Score `challenger` and, where given, `champion` and `best`, and the policy's baselines.

    Latencies are not measured here: see `service`.
    """
    device = devices.pick(TrainParams.load(test.layout.params).device)
    devices.prepare(device)
    scorers = {name: _scorer(test, one, device) for name, one in contenders.items()}
    ranks = {}
    for name, scorer in scorers.items():
        top = 0 if name == "best" else LIST_LENGTH
        ranks[name] = test.rank(scorer, contenders[name].served, top=top)
        say(f"{name}: ranked {len(test.cases):,} users in {ranks[name].seconds:.1f} s")
    n_items = len(test.counts)
    baselines: dict[str, Scored] = {
        name: test.scored(test.rank(test.baseline(name))) for name in policy.baselines or []
    }
    judged = {name: one for name, one in contenders.items() if name != "best"}
    known = {name: one.record for name, one in contenders.items() if one.record is not None}
    return Evidence(
        catalogue=n_items,
        fingerprint=test.fingerprint,
        users=test.cases.users,
        challenger=test.scored(ranks["challenger"]),
        champion=test.scored(ranks["champion"]) if "champion" in ranks else None,
        best=test.scored(ranks["best"]) if "best" in ranks else None,
        baselines=baselines,
        slices=test.slices(),
        conduct={name: _conduct(test, one, ranks[name]) for name, one in judged.items()},
        overlap=_overlap(ranks["challenger"], ranks["champion"]) if "champion" in ranks else None,
        leaks={name: leaking(record, test.data) for name, record in known.items()},
        common=_common(test, policy.metrics, scorers, contenders, ranks),
        problems=problems,
    )


def _scorer(test: TestSet, one: Contender, device: torch.device) -> Scorer:
    model = one.served.model if device.type == "cpu" else load_model(one.folder, device)
    return Translated.between(model, one.served.vocabulary, test.vocabulary)


def _conduct(test: TestSet, one: Contender, ranks: Ranks) -> Conduct:
    assert ranks.top is not None
    figures = beyond_accuracy(ranks.top, test.cases.histories, test.counts)
    return Conduct(
        coverage=figures["coverage"],
        popularity_bias=figures["popularity_bias"],
        weights_bytes=(one.folder / WEIGHTS).stat().st_size,
    )


def _overlap(one: Ranks, other: Ranks) -> float:
    """The mean share of a list's places whose item is in the other model's list as well."""
    assert one.top is not None
    assert other.top is not None
    shared = 0
    for first in range(0, len(one.top), 50_000):
        a, b = one.top[first : first + 50_000], other.top[first : first + 50_000]
        shared += int(((a[:, :, None] == b[:, None, :]) & (a[:, :, None] != NO_ITEM)).sum())
    return shared / one.top.size


def _common(
    test: TestSet,
    names: list[str],
    scorers: Mapping[str, Scorer],
    contenders: Mapping[str, Contender],
    ranks: Mapping[str, Ranks],
) -> dict[str, dict[str, float]]:
    """Means among the items that challenger and champion both know, for targets among them."""
    if "champion" not in contenders:
        return {}
    index = [contenders[name].served.vocabulary.index for name in ("challenger", "champion")]
    both = np.array([all(item in own for own in index) for item in test.vocabulary.items])
    n_items = len(both)
    if both.all():
        full = ("challenger", "champion")
        return {name: metrics.means(names, ranks[name].full, n_items) for name in full}
    targets = test.cases.targets
    rows = np.flatnonzero((targets != COLD) & both[np.maximum(targets, 0)])
    cases = Cases(test.cases.users[rows], test.cases.histories.select(rows), targets[rows])
    if not len(cases):
        return {}
    found = {}
    for name in ("challenger", "champion"):
        limited = Restricted(scorers[name], both)
        filter_seen = test.filters(contenders[name].served)
        among = rank_cases(limited, cases, filter_seen=filter_seen)
        found[name] = metrics.means(names, among.full, n_items)
    return found


def disagreement(test: TestSet, scored: Scored) -> str | None:
    """Why the evaluate stage's ranks of the model are not those found now, None if they are."""
    path = test.layout.evaluation / "ranks.parquet"
    columns = ["protocol", "model", "user_id", "rank"]
    table = read_table(path, "evaluate", columns).to_pandas()
    kept = table[(table["protocol"] == FULL) & (table["model"] == "model")]
    ids = np.array(test.data.user_ids, dtype=object)[test.cases.users]
    if kept["user_id"].duplicated().any() or set(kept["user_id"]) != set(ids):
        return f"{path} does not hold today's test users, each once; run 'dvc repro -f evaluate'"
    there = kept.set_index("user_id")["rank"].reindex(ids).to_numpy()
    n_items = len(test.counts)
    for name in test.params.metrics:
        before = metrics.per_case(name, there, n_items).mean()
        now = metrics.per_case(name, scored.ranks.astype(np.int64), n_items).mean()
        if not abs(before - now) <= _AGREE:
            return (
                f"{path} says {name} {before:.4f} of the workspace's model and scoring it again "
                f"says {now:.4f}: they are not of the same model; run 'dvc repro -f evaluate'"
            )
    return None
