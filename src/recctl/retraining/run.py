"""One retraining, from new data to a published decision."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from recctl import pipeline, scaffold
from recctl.config import STAGES
from recctl.errors import UserError
from recctl.forget import forget
from recctl.intake import intake, sync
from recctl.intake.intake import Intake
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.pipeline import StageFailed
from recctl.promotion.judge.policy import PromotionParams, require_single
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.promote import Confirm
from recctl.render.text import Say
from recctl.retraining import accepted, decide, key, pages, publish, record, tuning
from recctl.retraining.cleanup import clean_up
from recctl.retraining.pages import Page
from recctl.retraining.params import RetrainParams
from recctl.retraining.record import Record
from recctl.sequences.params import SequenceSplitParams

T = TypeVar("T")


class Step(Protocol):
    """Carries out a named step; it may repeat the step after a MayPass."""

    def __call__(self, name: str, work: Callable[[], T], /) -> T: ...


def once(name: str, work: Callable[[], T], /) -> T:
    """Carry out a step without retries."""
    return work()


@dataclass(frozen=True)
class Hooks:
    """What differs between a terminal, a Prefect flow, a backfill and a test."""

    say: Say = print
    step: Step = once
    show: Callable[[Page], None] = lambda page: None
    """Called with each page for people, as soon as it is complete."""
    epoch: Callable[[int, int], None] = lambda done, total: None
    """Called with the number of epochs done and the most that are allowed."""
    approve: Confirm = lambda decision: False
    """Called under `approval: manual` with the decision, before a model serves."""
    decided: Callable[[DecisionRecord, int], None] = lambda decision, position: None
    """Called with a decision and its number, before it is published; again after a kill."""
    finished: Callable[[Record], None] = lambda done: None
    """Called with the result once it is published; called again if the process was killed there."""


@dataclass(frozen=True)
class Result:
    """The result of a retraining."""

    record: Record
    intake: Intake
    nothing_new: bool = False
    """Whether all this was decided before."""
    decision: DecisionRecord | None = None
    published: publish.Published = field(default_factory=publish.Published)

    @property
    def name(self) -> str:
        """In a word or two, such as `promoted-v12`, `rejected`, `nothing-new`."""
        if self.nothing_new:
            return "nothing-new"
        promoted = self.record.ending == "promoted"
        return f"promoted-v{self.record.version}" if promoted else str(self.record.ending)

    @property
    def sentence(self) -> str:
        """The same for people."""
        if self.nothing_new:
            ending = self.record.ending
            text = f"nothing new, nothing to do: this data, settings and code ended {ending}"
        else:
            text = self.record.sentence
        names = [name for name, _ in self.intake.refused]
        return f"{text}; refused: {', '.join(names)}" if names else text

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        done = self.record
        return {
            "ending": self.name,
            "nothing_new": self.nothing_new,
            "sentence": self.sentence,
            "version": done.version,
            "decision": done.position,
            "data_md5": done.data,
            "key": done.key,
            "intake": self.intake.as_dict(),
            "published": dataclasses.asdict(self.published),
        }


def retrain(layout: Layout, lock: Lock, hooks: Hooks) -> Result:
    """Take in new data, run the pipeline, decide, publish; the caller holds `lock`.

    What an earlier retraining left undone is finished first. Killed after any step and repeated,
    this ends in the same state. Raises MayPass or UserError when a step fails.
    """
    scaffold.require_locked(layout.root)
    at = _Run(layout, lock, hooks, RetrainParams.load(layout.params))
    PromotionParams.judging(layout.params)  # before a training that nothing could judge
    require_single(SequenceSplitParams.load(layout.params).targets)
    at.step("check", at.require_publishable)
    for name in clean_up(layout):
        hooks.say(f"removed {name}, left by a process that was killed")
    finished, taken = collect(layout, lock, hooks)
    at.tune()
    now = key.of(layout)
    digest = now.digest
    before = record.read(layout)
    if before is not None and before.key == digest and before.state == "done":
        if finished is not None:  # decided by a run that was killed before it published
            done, decision, published = finished
            return Result(done, taken, decision=decision, published=published)
        return Result(before, taken, nothing_new=True)
    record.write(layout, Record(digest, "begun", data=now.data))
    known = None
    if not taken.changed:  # another worker may have decided on this key
        known = at.step("look up", lambda: decide.found(layout, digest, hooks.say))
    if known is None:
        at.stages()
        hooks.show(pages.metrics(layout))
        _require_same(layout, digest)
        done, decision = at.decided(digest)
        at.decision_taken(done, decision)
    else:
        done, decision = known
    done = dataclasses.replace(done, data=now.data)
    record.write(layout, done)
    published = at.show_and_publish(done, decision)
    return Result(
        done, taken, nothing_new=known is not None, decision=decision, published=published
    )


Finished = tuple[Record, DecisionRecord | None, publish.Published]
"""A decision of an earlier retraining that was published now."""


def collect(layout: Layout, lock: Lock, hooks: Hooks) -> tuple[Finished | None, Intake]:
    """The steps before the stages: sync data/, finish the last retraining, take in new data.

    A decision is published before more is taken in, or no commit would name its data.
    The page of the intake is shown also where a source failed.
    """
    at = _Run(layout, lock, hooks, RetrainParams.load(layout.params))
    if forget.is_left(layout):
        at.step("forget", lambda: forget.finish(layout, hooks.say))
    at.step("sync", at.sync)
    finished = at.finish_last()
    tries: list[Intake] = []
    try:
        at.step("intake", lambda: intake.take_in(layout, hooks.say, tries.append))
    finally:
        if tries:
            hooks.show(pages.intake(intake.together(tries)))
    return finished, intake.together(tries)


def validated(layout: Layout, hooks: Hooks, validate: Callable[[], object]) -> None:
    """Carry out the validate stage and show its report, also where expectations failed."""
    try:
        validate()
    except StageFailed as failed:
        if failed.stage == "validate":
            accepted.restore_lock(layout)
            if (layout.validation / "report.json").is_file():  # DVC removes a former one
                hooks.show(pages.validation(layout))
            if accepted.current(layout) is not None:
                hooks.say("'recctl intake --reject' removes what was taken in since from data/")
        raise
    accepted.keep(layout)
    hooks.show(pages.validation(layout))


def _require_same(layout: Layout, digest: str) -> None:
    """UserError when data, settings or code changed since the stages began."""
    if key.of(layout).digest != digest:
        raise UserError(
            "data, params.yaml or recctl's code changed while the model was trained",
            "nothing was decided; run the retraining again",
        )


@dataclass(frozen=True)
class _Run:
    """The steps, and what they share."""

    layout: Layout
    lock: Lock
    hooks: Hooks
    params: RetrainParams

    def step(self, name: str, work: Callable[[], T]) -> T:
        """Carry out a step; the lock names it to those who wait."""
        self.lock.doing(name)
        return self.hooks.step(name, work)

    def require_publishable(self) -> None:
        """MayPass or UserError where a decision could not be published."""
        publish.require_possible(self.layout, self.params.publish)

    def sync(self) -> None:
        """Bring data/ in line with data.dvc, and add outputs that DVC's cache lacks to it.

        A new clone, or a project after `make clean`, lacks the profiles that drift is measured by.
        """
        sync.sync(self.layout, self.hooks.say)
        pipeline.refill(self.layout, self.hooks.say, lock=self.lock)
        profiles = self.layout.validation / "profiles"
        pipeline.restore(self.layout, profiles, self.hooks.say, lock=self.lock)
        accepted.keep_if_passed(self.layout)

    def finish_last(self) -> Finished | None:
        """Publish what an earlier retraining decided before it was killed.

        Settings or code may have changed since; data/ must still be the version it rests on.
        """
        left = record.read(self.layout)
        if left is None or left.state == "done" or left.data != key.of(self.layout).data:
            return None
        digest, decision = left.key, None
        found = self.step("look up", lambda: decide.found(self.layout, digest, self.hooks.say))
        if found is not None:
            left, decision = dataclasses.replace(found[0], data=left.data), found[1]
        elif left.state == "begun":
            return None
        self.hooks.say(f"finishing what was left: {left.sentence}")
        self.decision_taken(left, decision)
        return left, decision, self.show_and_publish(left, decision)

    def tune(self) -> None:
        """Search for settings, where that is due, on sequences of today's data."""
        if tuning.is_due(self.layout, self.params):
            self.stages(before="train")
            work = partial(tuning.tune, self.layout, self.params, self.lock, self.hooks.say)
            self.step("tune", work)

    def stages(self, before: str | None = None) -> None:
        """The pipeline, stage by stage; only those before a stage."""
        for name in STAGES[: STAGES.index(before) if before else None]:
            lines = pages.Lines(self.hooks.say, self.hooks.epoch)
            work = partial(self.step, name, partial(self._stage, name, lines))
            if name == "validate":
                validated(self.layout, self.hooks, work)
            else:
                work()

    def _stage(self, name: str, lines: pages.Lines) -> None:
        done = pipeline.stage(self.layout, name, lines, lock=self.lock)
        if not done.ran:
            self.hooks.say(f"{name}: {done.outcome}")

    def decided(self, digest: str) -> tuple[Record, DecisionRecord | None]:
        """The decision; under `approval: manual` a person is asked before it."""
        while True:
            agreed = self._agreed()
            found = self.step("promote", partial(self._promote, digest, agreed))
            if found is not None:
                return found
            self.hooks.say("another model serves than was shown: judging and asking again")

    def _promote(self, digest: str, agreed: Confirm) -> tuple[Record, DecisionRecord | None] | None:
        """The decision; None where it would differ from the one that a person was shown."""
        _require_same(self.layout, digest)
        self.require_publishable()
        try:
            return decide.decide(
                self.layout, digest, self.hooks.say, approve=agreed, step=self.step
            )
        except _Another:
            return None

    def _agreed(self) -> Confirm:
        """Whether a model may serve; a person is asked only about one that passed its gates.

        Raises _Another when the model or the champion is not the one that was shown.
        """
        if self.params.approval == "automatic":
            return lambda judged: True
        decision = self.step("judge", lambda: decide.preview(self.layout, self.hooks.say))
        yes = decision is not None and decision.verdict == "promoted" and self._asked(decision)

        def same(judged: DecisionRecord) -> str | bool:
            if (
                decision is None
                or decision.verdict != "promoted"
                or _compared(judged) != _compared(decision)
            ):
                raise _Another
            return yes

        return same

    def _asked(self, decision: DecisionRecord) -> str | bool:
        self.hooks.show(pages.decision(decision, None))
        self.lock.doing("waiting for a person's approval")
        return self.hooks.approve(decision)

    def decision_taken(self, done: Record, decision: DecisionRecord | None) -> None:
        """Report the decision, which counts already."""
        if decision is not None and done.position is not None:
            self.hooks.decided(decision, done.position)

    def show_and_publish(self, done: Record, decision: DecisionRecord | None) -> publish.Published:
        """Show the decision, publish it, and record that this retraining is over."""
        if decision is not None:
            self.hooks.show(pages.decision(decision, done.position))
        published = self.step("publish", partial(self._publish, done))
        self.hooks.finished(done)
        state: Literal["begun", "done"] = "begun" if done.ending == "refused" else "done"
        record.write(self.layout, dataclasses.replace(done, state=state))
        return published

    def _publish(self, done: Record) -> publish.Published:
        if key.of(self.layout).data != done.data:
            raise UserError(
                "data.dvc names another version than the one that the decision rests on",
                "nothing was published; the next retraining starts from the data as it is now",
            )
        message = _message(done)
        return publish.publish(self.layout, self.params.publish, message, self.hooks.say, self.lock)


class _Another(Exception):
    """The decision would not be the one that a person was shown."""


def _compared(decision: DecisionRecord) -> tuple[Any, Any]:
    """The model that was judged and the champion it was compared with."""
    digest = decision.challenger.digest if decision.challenger else None
    return digest, decision.champion_before


def _message(done: Record) -> str:
    """The commit message: the decision and what it rests on."""
    what = f"version {done.version} promoted" if done.ending == "promoted" else str(done.ending)
    decision = f" (decision {done.position})" if done.position else ""
    facts = [f"Data: {done.data}", f"Retraining: {done.key}"]
    if done.position:
        facts.insert(0, f"Decision: {done.position}")
    return "\n\n".join([f"Retraining: {what}{decision}", done.sentence, "\n".join(facts)])
