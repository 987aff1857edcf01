"""Register the workspace's model as a version, once however often it is judged."""

from collections.abc import Sequence
from dataclasses import dataclass

from recctl.errors import Gone, UserError
from recctl.layout import Layout
from recctl.promotion import manifest
from recctl.promotion.judge.evidence import Evidence
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.ledger import log, vouch
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.ledger.versions import FILES, Version
from recctl.promotion.trial import contenders, package
from recctl.promotion.trial.scoring import Contender, TestSet
from recctl.promotion.view import page
from recctl.tracking.lineage import environment, lineage
from recctl.tracking.runs import trained_run


@dataclass(frozen=True)
class Judged:
    """A challenger, what it was judged against, and how."""

    policy: PromotionParams
    test: TestSet
    sides: dict[str, Contender]
    evidence: Evidence
    record: DecisionRecord

    def mean(self, side: str, metric: str) -> float:
        """A model's mean on today's test set; it was judged, so it has one."""
        means = self.record.means
        value = means.full[side][metric] if means else None
        assert value is not None
        return value


def register(registry: Registry, judged: Judged, line: Sequence[Entry]) -> Version:
    """The version that holds the workspace's model; the same one however often it is judged.

    One that no decision was about may hold other code to serve the model: it is taken only where
    all of its files are those that would be registered now.
    """
    layout, challenger = judged.test.layout, judged.sides["challenger"]
    assert challenger.record is not None
    for found in reversed(registry.versions()):
        same = found.digest == challenger.digest and found.again == (challenger.again is not None)
        if same and vouch.vouched(line, found.number):
            return _registered(layout, registry, found, line)
    with contenders.packed(judged.test, challenger) as folder:
        listed = manifest.of(folder)
        package.check(folder, listed)
        tags = {
            **lineage(layout),
            **environment(),
            "recctl.model": challenger.kind,
            "recctl.trained_in": trained_run(layout),
            FILES: log.canonical(listed),
        }
        there = registry.find(challenger.digest, tags[FILES])
        if there is not None:
            return _registered(layout, registry, there, line)
        name = f"registration-{challenger.digest[:12]}"
        assert judged.record.means is not None
        figures = judged.record.means.full["challenger"]
        return registry.register(
            folder,
            digest=challenger.digest,
            tags=tags,
            run_name=name,
            metrics={name: value for name, value in figures.items() if value is not None},
            description=page.description(judged.record),
        )


def _registered(
    layout: Layout, registry: Registry, version: Version, line: Sequence[Entry]
) -> Version:
    """The version, once all its files were found to be sound."""
    try:
        contenders.registered(registry, layout, version.number, line)
    except (contenders.Unsound, Gone) as error:
        raise UserError(
            f"the workspace's model is registered as version {version.number}, and {error}",
            f"delete version {version.number} in MLflow and run the command again",
        ) from None
    return version
