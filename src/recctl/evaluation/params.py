"""The `evaluate` section of params.yaml."""

from typing import ClassVar

from pydantic import Field, field_validator

from recctl import limits
from recctl.config import Section
from recctl.evaluation import metrics

FULL = "full"
"""The protocol that ranks the target among the whole catalogue: the headline, what gates read."""


def sampled_names(negatives: int) -> list[str]:
    """The sampled protocols' names: by whose weights they draw, and how many.

    >>> sampled_names(100)
    ['sampled-popularity-100', 'sampled-uniform-100']
    """
    return [f"sampled-popularity-{negatives}", f"sampled-uniform-{negatives}"]


class EvaluateParams(Section):
    """The evaluation protocol; all of it that decides a number enters the fingerprint."""

    section: ClassVar[str] = "evaluate"

    metrics: list[str] = Field(
        default=["hr@1", "hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr"], min_length=1
    )
    """Metrics of the rank; evaluation/metrics.py holds the table."""
    filter_seen: bool = True
    """Items of the history cannot be recommended again."""
    negatives: int = Field(default=100, ge=1, le=limits.EVALUATE_NEGATIVES)
    """Candidates beside the target in the sampled protocols."""
    seed: int = Field(default=0, ge=0, le=limits.SEED)
    """For the sampled negatives and the bootstrap."""
    bootstrap_resamples: int = Field(default=2000, ge=100, le=limits.RESAMPLES)
    """Resamples of users for each 95% interval."""

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            metrics.parse(name)
        if len(set(names)) < len(names):
            raise ValueError("a metric is named twice")
        return names
