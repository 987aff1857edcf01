"""The `retrain` section of params.yaml: what a retraining may do without a person."""

from typing import ClassVar, Literal

from pydantic import Field

from recctl import limits
from recctl.config import Section, Settings


class Publish(Settings):
    """What is committed and pushed after a decision."""

    commit: bool = True
    """Commit data.dvc and dvc.lock, and nothing else, to git."""
    push_data: bool = True
    """`dvc push` to the default remote, unless that is a folder of this repository."""
    push_git: bool = False
    """`git push` the current branch to its upstream."""

    @property
    def wanted(self) -> bool:
        """Whether anything is committed or pushed."""
        return self.commit or self.push_data or self.push_git


class Tune(Settings):
    """When a retraining searches for settings first."""

    every_days: float = Field(default=30.0, gt=0, le=limits.DAYS)
    """Days since the last search ended."""
    budget_minutes: float = Field(default=120.0, gt=0, le=limits.TUNE_MINUTES)


class RetrainParams(Section):
    """How a retraining ends."""

    section: ClassVar[str] = "retrain"
    optional: ClassVar[bool] = True

    approval: Literal["automatic", "manual"] = "automatic"
    """`manual`: a person approves within `approval_hours` before a model serves."""
    approval_hours: float = Field(default=24.0, gt=0, le=24 * 14)
    """Without an answer in this time the model is not promoted."""
    publish: Publish = Publish()
    tune: Tune | None = None
    """Search for better settings every so many days (docs/tuning.md); null: never."""
