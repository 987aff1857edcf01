"""The test set of a project: its cases and rules. evaluate, leaderboard and promotion use it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recctl.errors import UserError
from recctl.evaluation import metrics, protocols
from recctl.evaluation.params import EvaluateParams
from recctl.evaluation.ranking import rank_cases
from recctl.layout import Layout
from recctl.models import BASELINES, COUNTED
from recctl.models.base import Counted, Recommender
from recctl.models.popularity import RecentPopularity
from recctl.sequences.store import Cases, SequenceData
from recctl.sequences.vocabulary import Vocabulary


@dataclass(frozen=True)
class TestSet:
    """The test cases of the workspace's sequences and the settings of evaluate."""

    __test__ = False  # not a class of pytest's

    layout: Layout
    data: SequenceData
    cases: Cases
    params: EvaluateParams

    @classmethod
    def load(cls, layout: Layout) -> Self:
        """Read the workspace's sequences.

        Raises UserError where they are missing or damaged, or have no test case.
        """
        params, data = EvaluateParams.load(layout.params), SequenceData.load(layout.sequences)
        cases = data.cases("test")
        if not len(cases):
            raise UserError(
                f"no test cases in {layout.sequences}",
                "check the sequence-split section of params.yaml and the data",
            )
        return cls(layout, data, cases, params)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.data.vocabulary

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Training interactions of each item of the catalogue; (n_items,)"""
        return np.array(self.vocabulary.counts, np.int64)

    @property
    def n_items(self) -> int:
        return self.vocabulary.size

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """The rules and the data, as they enter the fingerprint."""
        return protocols.describe(self.data, self.cases, self.params)

    @cached_property
    def fingerprint(self) -> str:
        return protocols.fingerprint(self.protocol)

    @property
    def baselines(self) -> list[str]:
        """The models that an evaluation compares with: recent popularity where times are real."""
        recent = [RecentPopularity.kind] if self.data.real_times else []
        return [*BASELINES, *recent]

    def baseline(self, name: str) -> Counted:
        """A counted model of the training sequences, its half-life chosen on validation."""
        train, cases = self.data.train(), self.data.validation_sample()
        if name != RecentPopularity.kind or not len(cases):
            return COUNTED[name].fit(train, self.n_items)

        def validate(model: Recommender) -> float:
            ranks = rank_cases(model, cases, filter_seen=self.params.filter_seen).full
            return float(metrics.per_case("ndcg@10", ranks, self.n_items).mean())

        return RecentPopularity.best(train, self.n_items, validate)

    def negatives(self) -> dict[str, NDArray[np.int32]]:
        """The negatives of each sampled protocol; drawn again on each call, always the same."""
        return protocols.sampled_negatives(self.cases, self.counts, self.params)
