"""Any two models on today's test set: figures and intervals, no verdict."""

from dataclasses import replace
from pathlib import Path

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.draft import draft, measured
from recctl.promotion.judge import checks, gates
from recctl.promotion.judge.comparison import Counter
from recctl.promotion.judge.evidence import Evidence
from recctl.promotion.judge.gate import Gate
from recctl.promotion.judge.policy import Leak, Primary, PromotionParams, Slices
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.ledger import log
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.trial import contenders
from recctl.promotion.trial.scoring import Contender, TestSet, gather
from recctl.recommend import Served
from recctl.render.text import Say


def compare(layout: Layout, first: str, second: str, say: Say) -> DecisionRecord:
    """`first` against `second`, each a version's number or alias, or `workspace`.

    Raises UserError where one of them is not there or not sound.
    """
    policy = PromotionParams.load(layout.params)
    test = TestSet.load(layout)
    registry = Registry.connect(layout, policy.registered_model)
    sides = {
        "challenger": contender(registry, test, first),
        "champion": contender(registry, test, second),
    }
    evidence = gather(test, policy, sides, problems=[], say=say)
    return draft(
        "comparison",
        registry.name,
        sentence=f"{first} against {second} on today's test set",
        gates=_differences(evidence, policy),
        **measured(layout, policy, test, sides, evidence),
    )


def _differences(evidence: Evidence, policy: PromotionParams) -> list[Gate]:
    """The rows of a decision that compare two models, as figures only.

    Users whose target one of the two may have been trained on are left out, and it is said.
    """
    shown = PromotionParams(
        resamples=policy.resamples,
        seed=policy.seed,
        primary=policy.primary or Primary(),
        slices=policy.slices or Slices(),
        leak=Leak(excluded_share=0.999),
    )
    rows, judged = checks.checked(evidence, shown)
    if judged is None:
        raise UserError("; ".join(row.reason for row in rows if row.outcome == "refused"))
    counter = Counter(judged, shown.metrics)
    champion = judged.ranks["champion"]
    compared = [
        *gates.primary(counter.pairs(champion), shown),
        *gates.slices(counter, champion, shown),
    ]
    numbers = [replace(row, threshold=None) for row in compared if row.difference is not None]
    return [replace(row, outcome="shown") for row in [*rows, *numbers]]


def served(layout: Layout, name: str) -> tuple[str | None, Served, Path]:
    """A model by name: its name (None for a folder), itself, and its folder.

    The name is `workspace`, a version's number or alias, or a model folder. Raises UserError where
    it is not there, damaged, or not what was registered.
    """
    if name == history.WORKSPACE:
        return name, Served.load(layout.model), layout.model
    folder = Path(name)
    if folder.is_dir() or len(folder.parts) > 1:
        return None, Served.load(folder), folder
    registry = history.open_registry(layout)
    number = history.number(registry, name, history.WORKSPACE, "a folder")
    found = contenders.registered(registry, layout, number, log.in_force(registry.entries()))
    return str(number), found.answers, found.answering


def contender(registry: Registry, test: TestSet, name: str) -> Contender:
    """The model that a name refers to."""
    if name == history.WORKSPACE:
        return contenders.workspace(test)
    number = history.number(registry, name, history.WORKSPACE)
    return contenders.registered(registry, test.layout, number, log.in_force(registry.entries()))
