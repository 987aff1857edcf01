"""Promotion: judge the workspace's model, write the decision, let the registry follow it."""

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recctl.errors import Gone, UserError, type_of
from recctl.files import digest
from recctl.layout import Layout
from recctl.limits import APPROVER
from recctl.promotion import confirmation, write_pages
from recctl.promotion.assess import Step, judge, train_again
from recctl.promotion.draft import contender, draft
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.judge.record import Aliases, DecisionRecord, EvidenceFiles
from recctl.promotion.ledger import aliases, log, recovery, vouch
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import EVIDENCE, Registry
from recctl.promotion.register import Judged, register
from recctl.promotion.trial import archive, contenders, pseudonyms, service
from recctl.promotion.trial.scoring import TestSet
from recctl.render.text import Say

EXIT_CODES = {
    "promoted": 0, "refused": 2, "rejected": 3, "suspicious": 4, "stale": 5, "provisional": 6,
}  # fmt: skip


Confirm = Callable[[DecisionRecord], str | bool]
"""The name of who approves that a version serves, True where no person is asked, else False."""


class Declined(UserError):
    """Who was asked whether the model may serve did not say yes."""


@dataclass(frozen=True)
class Outcome:
    """The result of a command that changes the registry."""

    record: DecisionRecord | None
    """None where there was nothing to do."""
    entry: Entry | None = None
    """As the log keeps it; None where nothing was written."""
    note: str | None = None
    """Why there was nothing to do."""

    @property
    def exit_code(self) -> int:
        """0 where an alias moved, would have, or need not; by the verdict otherwise."""
        if self.record is None or self.record.forced or self.record.verdict is None:
            return 0
        return EXIT_CODES[self.record.verdict]


def promote(
    layout: Layout,
    *,
    confirm: Confirm,
    say: Say,
    dry_run: bool = False,
    force: bool = False,
    reason: str | None = None,
    key: str | None = None,
    step: Step = lambda name, work: work(),
) -> Outcome:
    """Judge the workspace's model against the champion and, if it passed, let it serve.

    `confirm` is asked, with the decision's body, before the alias moves; who said yes is kept with
    the decision. `force` moves it whatever the verdict (of a model that is sound), for a `reason`
    that is recorded. `key` is kept too: what was judged, by data, settings and code. `step` trains
    what passed again on everything, where the policy asks for it.

    Where a version waits for its confirmation, it is judged in place of the workspace's model.

    Raises UserError where there is nothing to judge, Declined where `confirm` says no; nothing is
    changed then.
    """
    if force:
        check_reason(reason or "", "--force")
    policy = PromotionParams.judging(layout.params)
    test = TestSet.load(layout)
    challenger = contenders.workspace(test)
    with service.beside(policy) as process:  # starts while MLflow is imported
        registry = Registry.connect(layout, policy.registered_model)
        state = (
            _inspected(registry, say, force) if dry_run else settled(registry, layout, say, force)
        )
        use = None
        trial = None if force else confirmation.trial(registry, policy, test, state, say)
        if trial is not None:
            if trial.waits is not None:
                return Outcome(None, note=f"nothing to do: {trial.waits}")
            challenger, test, policy, use = trial.version, trial.test, trial.policy, trial.use
        champion = _there(state)
        if champion is not None and registry.version(champion).digest == challenger.digest:
            contenders.registered(registry, layout, champion, state.line)
            note = f"the workspace's model is version {champion}, which serves already"
            if force and state.broken and not dry_run:
                return _accept(layout, registry, state, f"{note}: {reason}", say)
            return Outcome(None, note=f"nothing to do: {note}")
        judged = judge(registry, policy, test, challenger, state, process, say, use)
    record = judged.record.but(key=key)
    moves = record.verdict == "promoted" or force
    if force and record.verdict != "promoted":
        record = record.but(forced=True, reason=reason)
    passed = record.verdict in ("promoted", "provisional") and not force
    again = passed and judged.policy.refit is not None and challenger.version is None
    if dry_run:
        if again:
            say("a promotion would now train it again on everything")
        return Outcome(record)
    agreed = approved(record, confirm) if moves else record
    if agreed is None:
        raise Declined("not promoted: declined", "nothing was changed")
    judged = dataclasses.replace(judged, record=agreed)
    if again:
        judged = train_again(judged, step, say)
        moves = judged.record.verdict == "promoted"
    return _carry_out(registry, judged, state, moves, say)


def approved(record: DecisionRecord, confirm: Confirm) -> DecisionRecord | None:
    """The record with the name of who agreed that it is carried out; None where it was declined."""
    answer = confirm(record)
    if isinstance(answer, str):
        name = " ".join(answer.split())[:APPROVER].encode(errors="replace").decode()
        record = record.but(approved_by=name)
    return record if answer else None


def _there(state: aliases.Serving) -> int | None:
    """The champion; None where there is none, or it was deleted from the registry."""
    champion = state.wanted["champion"]
    return None if champion in state.deleted else champion


def check_reason(reason: str, what: str) -> None:
    """Raise UserError unless the reason is text that can be kept."""
    if not reason.strip():
        raise UserError(f"{what} needs a reason", "give one: --reason 'why'")
    try:
        reason.encode()
    except UnicodeEncodeError:
        raise UserError("the reason is not text", "write it in UTF-8") from None


def _inspected(registry: Registry, say: Say, force: bool) -> aliases.Serving:
    """The registry as it is; UserError where a promotion could not go on from there."""
    state = aliases.serving(registry)
    recovery.passable(registry, state, force=force)
    if state.pending or not state.agree:
        say("this dry run leaves an unfinished change as it is: see 'recctl verify'")
    return state


def _accept(
    layout: Layout, registry: Registry, state: aliases.Serving, reason: str, say: Say
) -> Outcome:
    """Write down that a damaged log was seen; nothing else changes."""
    run_id = registry.decision_run("recovery", {"recctl.run": "recovery"})
    record = draft(
        "recovery",
        registry.name,
        sentence=f"the log's damage was accepted; {reason}",
        reason=reason,
        previous=state.head,
        saw=state.aliases,
        acknowledges=state.broken,
        evidence=EvidenceFiles(run_id=run_id, files={}),
    )
    return write(layout, registry, record, run_id, say)


def settled(registry: Registry, layout: Layout, say: Say, force: bool) -> aliases.Serving:
    """The registry once nothing in it waits to be finished or undone."""
    found = aliases.serving(registry)
    line = found.line

    def unfit(number: int) -> str | None:
        try:
            contenders.registered(registry, layout, number, line)
        except (contenders.Unsound, Gone) as error:
            return str(error)
        return None

    left = [one for one in line if one.state == "pending"]
    try:
        state = recovery.recover(
            registry,
            unfit,
            say,
            found,
            describe=lambda: draft("recovery", registry.name).content(),
            force=force,
        )
    except recovery.NoneCanServe:
        if not force:
            raise
        return aliases.serving(registry)
    write_pages.described(registry, state.line, say)
    for entry in left:
        if entry.sets is None:
            registry.mark(entry.position, "done")
        if entry.record is not None and not entry.altered:
            write_pages.pages(layout, registry, entry, say)
    return state


def _carry_out(
    registry: Registry, judged: Judged, state: aliases.Serving, moves: bool, say: Say
) -> Outcome:
    """Register, write the decision, move the aliases; each step may be the last one."""
    layout, record = judged.test.layout, judged.record
    if moves or record.verdict != "refused":
        version = register(registry, judged, state.line)
        manifest = vouch.manifest_of(version)
        registered = contender(judged.sides["challenger"])
        record = record.but(challenger=registered.but(version=version.number, manifest=manifest))
        if moves:
            best = _best(judged, version.number, state)
            previous = _there(state)
            if previous in log.retired(state.line, promoting=True):
                previous = None
            sets = Aliases(champion=version.number, previous=previous, best=best)
            record = record.but(sets=sets)
    evidence = _keep_evidence(registry, judged, record)
    return write(layout, registry, record.but(evidence=evidence), str(evidence.run_id), say)


def write(
    layout: Layout, registry: Registry, record: DecisionRecord, run_id: str, say: Say
) -> Outcome:
    """Append a decision and let the aliases follow it; `stale` where another one came first.

    A decision without its pages is valid. Raises UserError when the registry stops answering; the
    next command finishes what was recorded by then.
    """
    entry = aliases.append(registry, record.content(), run_id)
    if isinstance(entry, aliases.Stale):
        entry = aliases.append(registry, _stale(record, entry.winner).content(), run_id)
    assert isinstance(entry, Entry), "what moves nothing is never stale"
    _carried_out(registry, entry)
    write_pages.described(registry, [entry], say)
    write_pages.pages(layout, registry, entry, say)
    return Outcome(entry.record, dataclasses.replace(entry, state="done"))


def _carried_out(registry: Registry, entry: Entry) -> None:
    try:
        if entry.sets is not None:
            aliases.follow(registry, entry)
        else:
            registry.mark(entry.position, "done")
            registry.set_head(entry.position, entry.claimed)
    except UserError as error:
        raise type_of(error)(
            f"decision {entry.position} is recorded, but was not carried out to its end: {error}",
            "the next 'recctl promote' or 'rollback' finishes it",
        ) from None


def _best(judged: Judged, number: int, state: aliases.Serving) -> int | None:
    """The best version from now on, by the first primary metric on today's test set.

    A version that was forced is never called the best. Where it was forced because the best version
    is gone or cannot be compared any more, there is none until one is promoted in earnest: the
    champion is the measure then.
    """
    best, forced = state.wanted["best"], judged.record.forced
    if best in log.retired(state.line, promoting=True):
        best = None
    rival = "champion" if best == state.says["champion"] else "best"
    comparable = rival in judged.sides and not _leaks(judged, rival)
    if best is None or (not comparable and judged.policy.ratchet is not None):
        return None if forced else number
    metric = judged.policy.metrics[0]
    if forced or not comparable or judged.mean("challenger", metric) < judged.mean(rival, metric):
        return best
    return number


def _leaks(judged: Judged, side: str) -> bool:
    """Whether a model cannot be compared because it was trained on today's targets."""
    mask, leak = judged.evidence.leaks.get(side), judged.policy.leak
    return leak is not None and (mask is None or float(mask.mean()) > leak.excluded_share)


def _keep_evidence(registry: Registry, judged: Judged, record: DecisionRecord) -> EvidenceFiles:
    """Write the evidence into a new MLflow run; its digests are kept with the decision."""
    assert record.means is not None
    metrics = {
        f"{side}/{name}": value
        for side, values in record.means.full.items()
        for name, value in values.items()
        if value is not None
    }
    tags = {"recctl.verdict": str(record.verdict), "recctl.sentence": record.sentence}
    run_id = registry.decision_run(f"{record.kind}-{record.verdict}", tags, metrics)
    with tempfile.TemporaryDirectory(prefix="recctl-evidence-") as name:
        folder = Path(name)
        key = pseudonyms.key(judged.test.layout)
        names = archive.save(judged.evidence, judged.test.data.user_ids, folder, key)
        files = {name: digest(folder / name) for name in names}
        registry.log_files(run_id, folder, EVIDENCE)
    return EvidenceFiles(run_id=run_id, files=files)


def _stale(record: DecisionRecord, winner: Entry) -> DecisionRecord:
    """The same decision where another one came first."""
    before, after = record.champion_before, (winner.sets or {})["champion"]
    sentence = (
        f"stale: while this was decided upon version {before or 'none'}, decision "
        f"{winner.position} made version {after} the champion; run the command again"
    )
    return record.but(verdict="stale", sentence=sentence, sets=None, forced=False)
