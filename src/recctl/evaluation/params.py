"""The `evaluate` section of params.yaml."""

from typing import ClassVar

from pydantic import Field

from recctl.config import Section


class EvaluateParams(Section):
    """The evaluation protocol; all of it enters the fingerprint."""

    section: ClassVar[str] = "evaluate"

    metrics: list[str] = ["hr@1", "hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr"]
    """Metrics of the rank; evaluation/metrics.py holds the table."""
    filter_seen: bool = True
    """Items of the history cannot be recommended again."""
    negatives: int = Field(default=100, ge=1)
    """Candidates beside the target in the sampled protocols."""
    seed: int = 0
    """For the sampled negatives and the bootstrap."""
    bootstrap_resamples: int = Field(default=2000, ge=100)
    """Resamples of users for each 95% interval."""
