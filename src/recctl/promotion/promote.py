"""Promotion: judge the workspace's model, write the decision, let the registry follow it."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recctl.errors import UserError
from recctl.files import digest
from recctl.layout import Layout
from recctl.promotion import apply, archive, contenders, keep, log, package
from recctl.promotion.body import Body, frame, of_decision
from recctl.promotion.decision import decide
from recctl.promotion.evidence import Evidence
from recctl.promotion.log import Entry
from recctl.promotion.params import PromotionParams
from recctl.promotion.registry import EVIDENCE, FILES, Gone, Registry
from recctl.promotion.scoring import Contender, Say, TestSet, disagreement, gather
from recctl.tracking import environment, lineage, trained_run

EXIT_CODES = {"promoted": 0, "refused": 2, "rejected": 3, "suspicious": 4, "stale": 5}


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    body: Body | None
    """None where there was nothing to do."""
    entry: Entry | None = None
    """As the log keeps it; None where nothing was written."""
    note: str | None = None
    """Why there was nothing to do."""

    @property
    def exit_code(self) -> int:
        """0 where an alias moved, would have, or need not; by the verdict otherwise."""
        if self.body is None or self.body["sets"] or self.body["verdict"] is None:
            return 0
        return EXIT_CODES[self.body["verdict"]]


@dataclass(frozen=True)
class Judged:
    """A challenger, what it was judged against, and how."""

    policy: PromotionParams
    test: TestSet
    sides: dict[str, Contender]
    evidence: Evidence
    body: Body


def promote(
    layout: Layout,
    *,
    confirm: Callable[[Body], bool],
    say: Say,
    dry_run: bool = False,
    force: bool = False,
    reason: str | None = None,
) -> Outcome:
    """Judge the workspace's model against the champion and, if it passed, let it serve.

    `confirm` is asked, with the decision's body, before the alias moves. `force` moves it
    whatever the verdict (of a model that is sound), for a `reason` that is recorded.

    Raises UserError where there is nothing to judge; nothing is changed then.
    """
    if force and not (reason or "").strip():
        raise UserError("--force needs a reason", "give one: --reason 'why'")
    policy = PromotionParams.load(layout.params)
    test = TestSet.load(layout)
    challenger = contenders.workspace(test)
    registry = Registry.connect(layout, policy.registered_model)
    state = apply.serving(registry) if dry_run else settled(registry, layout, say, force=force)
    champion = _there(state)
    if champion is not None and registry.version(champion).digest == challenger.digest:
        note = f"the workspace's model is version {champion}, which serves already"
        return Outcome(None, note=f"nothing to do: {note}")
    judged = _judge(layout, policy, test, challenger, registry, state, say)
    body = judged.body
    moves = body["verdict"] == "promoted" or force
    if force and body["verdict"] != "promoted":
        body |= {"forced": True, "reason": reason}
    if dry_run:
        return Outcome(body)
    if moves and not confirm(body):
        raise UserError("not promoted: declined", "nothing was changed")
    return _carry_out(layout, registry, judged, state, moves, say)


def _there(state: apply.Serving) -> int | None:
    """The champion; None where there is none, or it was deleted behind our back."""
    champion = state.wanted["champion"]
    return None if champion in state.deleted else champion


def settled(registry: Registry, layout: Layout, say: Say, *, force: bool) -> apply.Serving:
    """The registry once nothing in it waits to be finished or undone."""

    def unfit(number: int) -> str | None:
        try:
            contenders.registered(registry, layout, number)
        except (contenders.Unsound, Gone) as error:
            return str(error)
        return None

    left = [one for one in apply.serving(registry).line if one.state == "pending"]
    try:
        state = apply.recover(
            registry, unfit, say, describe=lambda: frame("recovery", registry.name), force=force
        )
    except apply.NoneCanServe:
        if not force:
            raise
        return apply.serving(registry)
    for entry in left:
        if entry.sets is None:
            registry.mark(entry.position, "done")
        if not entry.altered:
            keep.pages(layout, registry, entry, say)
    return state


def _judge(
    layout: Layout,
    policy: PromotionParams,
    test: TestSet,
    challenger: Contender,
    registry: Registry,
    state: apply.Serving,
    say: Say,
) -> Judged:
    sides = {"challenger": challenger}
    problems = []
    numbers = {name: state.says[name] for name in ("champion", "best")}
    if numbers["best"] == numbers["champion"]:
        del numbers["best"]
    for name, number in numbers.items():
        if number is not None:
            try:
                sides[name] = contenders.registered(registry, layout, number)
            except UserError as error:
                problems.append(f"the {name} cannot be judged: {error}")
    problems += _objections(registry, state, test, sides)
    evidence = gather(test, policy, sides, problems=problems, say=say)
    differs = disagreement(test, evidence.challenger)
    evidence = dataclasses.replace(
        evidence,
        training=contenders.training(layout),
        problems=[*problems, *([differs] if differs else [])],
    )
    body = of_decision(layout, policy, test, sides, evidence, decide(evidence, policy))
    body |= {"saw": state.aliases, "previous": state.head, "acknowledges": state.broken}
    return Judged(policy, test, sides, evidence, body)


def _objections(
    registry: Registry, state: apply.Serving, test: TestSet, sides: dict[str, Contender]
) -> Iterator[str]:
    """What speaks against judging at all, beside figures."""
    known = registry.find(sides["challenger"].digest)
    left = known and taken_out(state.line, known.number)
    if known and left:
        yield (
            f"this model is version {known.number}, which decision {left.position} took out of "
            f"service ({left.content.get('reason')}); train another one, or --force it with a "
            "--reason"
        )
    if "champion" in sides:
        index = sides["champion"].served.vocabulary.index
        if not any(item in index for item in test.vocabulary.items):
            yield (
                f"the champion, version {sides['champion'].version}, knows no item of today's "
                "catalogue: it is of another task; set promotion.registered_model to another name"
            )


def taken_out(line: list[Entry], number: int) -> Entry | None:
    """The rollback that took a version out of service, unless it has served again since."""
    found = None
    for entry in log.moving(line):
        if entry.content.get("kind") == "rollback" and entry.saw.get("champion") == number:
            found = entry
        elif (entry.sets or {}).get("champion") == number:
            found = None
    return found


def _carry_out(
    layout: Layout,
    registry: Registry,
    judged: Judged,
    state: apply.Serving,
    moves: bool,
    say: Say,
) -> Outcome:
    """Register, write the decision, move the aliases; each step may be the last one."""
    body = judged.body
    if moves or body["verdict"] != "refused":
        number = _register(layout, registry, judged)
        body["challenger"] = {**body["challenger"], "version": number}
        if moves:
            best = _best(judged, number, state)
            body["sets"] = {"champion": number, "previous": _there(state), "best": best}
    run_id = _keep_evidence(registry, judged)
    return write(layout, registry, body, run_id, say)


def write(layout: Layout, registry: Registry, body: Body, run_id: str, say: Say) -> Outcome:
    """Append a decision and let the aliases follow it; `stale` where another one came first.

    A decision whose pages cannot be kept stands all the same. Raises UserError when the registry
    stops to answer; what was recorded by then is finished by the next command.
    """
    landed = apply.append(registry, body, run_id)
    if isinstance(landed, apply.Stale):
        landed = apply.append(registry, _stale(body, landed.winner), run_id)
    assert isinstance(landed, apply.Appended), "what moves nothing is never stale"
    entry = landed.entry
    _carried_out(registry, entry)
    keep.pages(layout, registry, entry, say)
    return Outcome(entry.content, dataclasses.replace(entry, state="done"))


def _carried_out(registry: Registry, entry: Entry) -> None:
    try:
        if entry.sets is not None:
            apply.follow(registry, entry)
        else:
            registry.mark(entry.position, "done")
            apply.note_head(registry, apply.serving(registry))
    except UserError as error:
        raise UserError(
            f"decision {entry.position} is recorded, but was not carried out to its end: {error}",
            "the next 'recctl promote' or 'rollback' finishes it",
        ) from None


def _register(layout: Layout, registry: Registry, judged: Judged) -> int:
    """The version that holds the workspace's model; the same one however often it is judged."""
    challenger = judged.sides["challenger"]
    assert challenger.record is not None
    found = registry.find(challenger.digest)
    if found is not None:
        return found.number
    layout.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layout.state, prefix="package-") as name:
        folder = Path(name) / "model"
        package.build(
            challenger.folder,
            folder,
            record=challenger.record,
            filter_seen=judged.test.params.filter_seen,
        )
        if package.content_digest(folder / package.RECOMMENDER) != challenger.digest:
            raise UserError(
                f"the model in {challenger.folder} changed while it was judged",
                "nothing was changed; run the command again",
            )
        manifest = package.manifest(folder)
        package.check(folder, manifest)
        tags = {
            **lineage(layout),
            **environment(),
            "recctl.model": challenger.kind,
            "recctl.trained_in": trained_run(layout),
            FILES: log.canonical(manifest),
        }
        name = f"registration-{challenger.digest[:12]}"
        registered = registry.register(folder, digest=challenger.digest, tags=tags, run_name=name)
    return registered.number


def _best(judged: Judged, number: int, state: apply.Serving) -> int:
    """The best version from now on, by the first primary metric on today's test set.

    A version that was forced is never called the best, unless the former best is gone.
    """
    rivals = [name for name in ("best", "champion") if name in judged.sides]
    if state.wanted["best"] is None or not rivals:
        return number
    metric, means = judged.policy.metrics[0], judged.body["means"]["full"]
    if judged.body["forced"] or means["challenger"][metric] < means[rivals[0]][metric]:
        return state.wanted["best"]
    return number


def _keep_evidence(registry: Registry, judged: Judged) -> str:
    """Lay the evidence beside the decision-to-be; its digests go into the body."""
    body = judged.body
    metrics = {
        f"{side}/{name}": value
        for side, values in body["means"]["full"].items()
        for name, value in values.items()
        if value is not None
    }
    tags = {"recctl.verdict": body["verdict"], "recctl.sentence": body["sentence"]}
    run_id = registry.decision_run(f"{body['kind']}-{body['verdict']}", tags, metrics)
    with tempfile.TemporaryDirectory(prefix="recctl-evidence-") as name:
        folder = Path(name)
        names = archive.save(judged.evidence, judged.test.data.user_ids, folder)
        body["evidence"] = {
            "run_id": run_id,
            "files": {one: digest(folder / one) for one in names},
        }
        registry.log_files(run_id, folder, EVIDENCE)
    return run_id


def _stale(body: Body, winner: Entry) -> Body:
    """The same decision, come too late."""
    before, after = body["saw"]["champion"], (winner.sets or {})["champion"]
    sentence = (
        f"stale: while this was decided upon version {before or 'none'}, decision "
        f"{winner.position} made version {after} the champion; run the command again"
    )
    return {**body, "verdict": "stale", "sentence": sentence, "sets": None, "forced": False}
