"""The `retrain` section of params.yaml: what a retraining may do by itself."""

from typing import ClassVar, Literal

from pydantic import Field

from recctl.config import Section, Settings


class Publish(Settings):
    """What is told to the outside after a decision."""

    commit: bool = True
    """Commit data.dvc and dvc.lock, and nothing else, to git."""
    push_data: bool = True
    """`dvc push` to the default remote, unless that one lies in this repository."""
    push_git: bool = False
    """`git push` the current branch to where it comes from."""

    @property
    def wanted(self) -> bool:
        """Whether anything is told to the outside."""
        return self.commit or self.push_data or self.push_git


class RetrainParams(Section):
    """How a retraining ends."""

    section: ClassVar[str] = "retrain"
    optional: ClassVar[bool] = True

    approval: Literal["automatic", "manual"] = "automatic"
    """`manual`: a person says yes, within `approval_hours`, before a model serves."""
    approval_hours: float = Field(default=24.0, gt=0, le=24 * 14)
    publish: Publish = Publish()
