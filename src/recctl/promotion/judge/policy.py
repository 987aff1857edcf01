"""The `promotion` section of params.yaml: the policy by which a challenger is judged.

A gate that is left out (or null) is off; a policy that compares nothing with the champion judges
nothing.
Gains, margins and floors are absolute differences of a metric: 0.005 of NDCG@10 .2480 is .2430.
"""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator

from recctl import limits
from recctl.config import Section, Settings
from recctl.errors import UserError
from recctl.evaluation import metrics
from recctl.sequences.store import SEVERAL


class Primary(Settings):
    """At least one metric must be better, none may be worse; paired over users, 95% intervals."""

    metrics: list[str] = Field(default=["ndcg@10", "hr@10"], min_length=1)
    min_gain: float = Field(default=0.0, ge=0, lt=1)
    """Better: the lower end of the interval of the difference is above this."""
    margin: float = Field(default=0.005, ge=0, lt=1)
    """Not worse: the lower end is above minus this."""
    better: bool = True
    """Off where a version that was proven better is confirmed; a policy in params.yaml needs it."""

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        return _checked(names)


class Slices(Settings):
    """Within no group of users may the challenger be worse."""

    margin: float = Field(default=0.03, ge=0, lt=1)
    """Not worse, by the first primary metric; groups are small, so it is wider than primary's. A
    group too small to resolve it is shown, and fails only where a loss is proven."""
    minimum_users: int = Field(default=200, ge=1, le=limits.COUNT)
    """A smaller group is shown and decides nothing."""


class Guardrails(Settings):
    """What must not break while accuracy rises; each against the champion, null for off."""

    coverage_loss: float | None = Field(default=None, ge=0, le=1)
    """Share of the champion's catalogue coverage that may be lost."""
    popularity_bias_rise: float | None = Field(default=None, ge=0, le=1)
    """By how much (in popularity percentiles, 0 to 1) lists may become more popular."""
    minimum_overlap: float | None = Field(default=None, ge=0, le=1)
    """Mean share of a user's top ten that stays; a rupture below it."""
    latency_ratio: float | None = Field(default=None, gt=0, le=limits.RATIO)
    """p95 of one recommendation, challenger / champion; below 20 ms it never fails."""
    size_ratio: float | None = Field(default=None, gt=0, le=limits.RATIO)
    """Bytes of weights, challenger / champion; below 50 MB it never fails."""


class Ratchet(Settings):
    """Against the best version ever promoted, scored again today."""

    margin: float = Field(default=0.005, ge=0, lt=1)
    """Not worse than it, by each primary metric; the lower end is above minus this."""


class Refit(Settings):
    """What passed is trained again on everything, held-out interactions too, and that serves."""

    minimum_overlap: float = Field(default=0.1, ge=0, le=1)
    """Mean share of a user's top ten that stays as it was judged; below it nothing serves."""


class Leak(Settings):
    """No test target of today may be a training interaction of a model that is judged on it."""

    excluded_share: float = Field(default=0.0, ge=0, lt=1)
    """At most this share of test users is left out for it, for all models alike; above: refused."""


class Online(Settings):
    """Users to whom both were shown must not prefer the champion to a provisional version."""

    margin: float = Field(default=0.1, gt=0, lt=0.5)
    """Not preferred: the lower end of the interval of `recctl online` is above .5 minus this."""


class Confirmation(Settings):
    """A model that passed is provisional: it serves once it is not worse on later events."""

    users: int = Field(default=1000, ge=2, le=limits.COUNT)
    """Users with a test target newer than the data of that decision, before it is judged again."""
    within_days: int = Field(default=30, ge=1, le=limits.DAYS)
    """Then the decision lapses, and newer models are judged again."""


class PromotionParams(Section):
    """The policy; see docs/promotion.md for what each gate proves and what it does not."""

    section: ClassVar[str] = "promotion"

    registered_model: str = Field(default="recommender", pattern=r"^[A-Za-z0-9][\w\-. ]{0,99}$")
    """The name in MLflow's registry; decisions are kept beside it as NAME-decisions."""
    resamples: int = Field(default=10_000, ge=1000, le=limits.RESAMPLES)
    """Of each bootstrap and of each sign-flip test."""
    seed: int = Field(default=0, ge=0, le=limits.SEED)
    """Of the resamples."""
    primary: Primary | None = None
    floors: dict[str, float] | None = None
    """Metric: the least that is acceptable, whatever the champion does."""
    baselines: list[Literal["popularity", "recent-popularity", "markov", "item-knn"]] | None = None
    """Models that the challenger must beat, with intervals, by the first primary metric."""
    slices: Slices | None = None
    guardrails: Guardrails | None = None
    suspicious_gain: float | None = Field(default=None, gt=0, le=limits.RATIO)
    """A relative gain above this is too good to be true: investigate before anything serves."""
    ratchet: Ratchet | None = None
    unreasoned_per_year: float | None = Field(default=None, gt=0, le=limits.COUNT)
    """Expected promotions a year of challengers that are no better than the champion: each decision
    spends by the time since the one before. Null: the primary gate errs as often every night."""
    serving: bool = False
    """Whether the service's own code must load it and answer as offline ranking does."""
    refit: Refit | None = None
    """Null: the model that was judged serves, which never saw what was held out."""
    convergence: bool = False
    """Whether training must have converged: validation no longer rose where it met its limit."""
    leak: Leak | None = None
    confirmation: Confirmation | None = None
    online: Online | None = None
    """Asked of a provisional version (needs `confirmation`, and
    `serve.challenger: {version: provisional, interleave: ...}`)."""
    rollback: bool = False
    """Whether the champion before serves again where the newer one is proven worse in use (needs
    `serve.challenger: {version: previous, ...}`)."""
    first_model: Literal["baselines", "any", "none"] = "baselines"
    """Where no champion serves: `baselines` needs floors and baselines to hold, `any` takes any
    sound model, `none` promotes no first model without --force."""

    @field_validator("registered_model")
    @classmethod
    def _no_log(cls, name: str) -> str:
        if name.endswith("-decisions"):
            raise ValueError("names that end with -decisions are those of decision logs")
        return name

    @field_validator("floors")
    @classmethod
    def _known(cls, floors: dict[str, float] | None) -> dict[str, float] | None:
        _checked(list(floors or {}))
        return floors

    @classmethod
    def judging(cls, path: Path) -> Self:
        """The policy to judge by; UserError where a worse model than the champion could pass it."""
        policy = cls.load(path)
        if policy.primary is None and policy.ratchet is None:
            raise UserError(
                f"{path.name}: the section 'promotion' compares no challenger with the champion: "
                "floors, baselines, slices and guardrails alone let a worse model serve",
                "turn promotion.primary or promotion.ratchet on",
            )
        if policy.primary is not None and not policy.primary.better:
            raise UserError(
                f"{path.name}: 'promotion.primary.better: false' lets many small losses add up",
                "leave it out",
            )
        if policy.online is not None and policy.confirmation is None:
            raise UserError(
                f"{path.name}: 'promotion.online' judges a version that waits for its confirmation",
                "turn promotion.confirmation on as well, or 'online' off",
            )
        return policy

    @property
    def metrics(self) -> list[str]:
        """The primary metrics; ndcg@10 and hr@10 where that gate is off."""
        return (self.primary or Primary()).metrics


def require_single(targets: str) -> None:
    """Raise UserError where users have several test targets: gates compare one rank of each."""
    if targets in SEVERAL:
        raise UserError(
            "a decision compares one target of each user, and sequence-split.targets is "
            f"'{targets}'",
            "set it to first or last in params.yaml and run 'dvc repro'",
        )


def _checked(names: list[str]) -> list[str]:
    for name in names:
        metrics.parse(name)
    if len(set(names)) < len(names):
        raise ValueError("a metric is named twice")
    return names
