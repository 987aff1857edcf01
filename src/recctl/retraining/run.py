"""One retraining from new data to a decision that is told, whoever starts it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from recctl import pipeline
from recctl.config import STAGES
from recctl.errors import UserError
from recctl.intake import intake, sync
from recctl.intake.intake import Intake
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.pipeline import StageFailed
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.promote import Confirm
from recctl.retraining import accepted, decide, key, pages, publish, record
from recctl.retraining.cleanup import clean_up
from recctl.retraining.decide import Body
from recctl.retraining.pages import Page
from recctl.retraining.params import RetrainParams
from recctl.retraining.record import Record

T = TypeVar("T")
Say = Callable[[str], None]


class Step(Protocol):
    """Carries out a step under its name; it may do it again after a MayPass."""

    def __call__(self, name: str, work: Callable[[], T], /) -> T: ...


def at_once(name: str, work: Callable[[], T], /) -> T:
    """A step is done once."""
    return work()


@dataclass(frozen=True)
class Hooks:
    """What differs between a terminal, a Prefect flow, a backfill and a test."""

    say: Say = print
    step: Step = at_once
    show: Callable[[Page], None] = lambda page: None
    """Told what people may want to look at, as soon as it is there."""
    epoch: Callable[[int, int], None] = lambda done, total: None
    """Told how many epochs of a training are done, of how many at most."""
    approve: Confirm = lambda body: False
    """Asked under `approval: manual`, with the decision's body, before a model serves."""
    told: Callable[[Record], None] = lambda done: None
    """Told what a retraining came to, once git and the remote know it; again after a kill there."""


@dataclass(frozen=True)
class Result:
    """What a retraining came to."""

    record: Record
    intake: Intake
    nothing_new: bool = False
    """Whether all this was decided before."""
    body: Body | None = None
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
            told = f"nothing new, nothing to do: this data, settings and code ended {ending}"
        else:
            told = self.record.sentence
        names = [name for name, _ in self.intake.refused]
        return f"{told}; refused: {', '.join(names)}" if names else told

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
    """Take in what is new, run the pipeline, decide, tell; `lock` is held by the caller.

    What an earlier retraining left undone is finished first. Each step may be the last one: done
    again, all of this ends in the same state. Raises MayPass or UserError when a step fails.
    """
    at = _Run(layout, lock, hooks, RetrainParams.load(layout.params))
    PromotionParams.judging(layout.params)  # before a training that nothing could judge
    at.step("check", at.require_publishable)
    for name in clean_up(layout):
        hooks.say(f"removed {name}, left by a process that was killed")
    finished, taken = collect(layout, lock, hooks)
    now = key.of(layout)
    digest = now.digest
    before = record.read(layout)
    if before is not None and before.key == digest and before.state == "done":
        if finished is not None:  # decided by a run that did not live to tell: this one's result
            done, body, published = finished
            return Result(done, taken, body=body, published=published)
        return Result(before, taken, nothing_new=True)
    record.write(layout, Record(digest, "begun", data=now.data))
    known = None
    if not taken.changed:  # another worker may have decided upon just this
        known = at.step("look up", lambda: decide.found(layout, digest, hooks.say))
    if known is None:
        at.stages()
        _require_same(layout, digest)
        done, body = at.decided(digest)
    else:
        done, body = known
    done = dataclasses.replace(done, data=now.data)
    record.write(layout, done)
    published = at.tell(done, body)
    return Result(done, taken, nothing_new=known is not None, body=body, published=published)


Finished = tuple[Record, Body | None, publish.Published]
"""A decision of an earlier retraining that was published now."""


def collect(layout: Layout, lock: Lock, hooks: Hooks) -> tuple[Finished | None, Intake]:
    """What comes before any stage: data/ in line, the last retraining told, what is new taken in.

    A decision must be told before more is taken in, or git never names the data it rests on. What
    came is shown also where a source failed.
    """
    at = _Run(layout, lock, hooks, RetrainParams.load(layout.params))
    at.step("sync", at.sync)
    finished = at.mend()
    tries: list[Intake] = []
    try:
        at.step("intake", lambda: intake.take_in(layout, hooks.say, tries.append))
    finally:
        if tries:
            hooks.show(pages.intake(intake.together(tries)))
    return finished, intake.together(tries)


def validated(layout: Layout, hooks: Hooks, validate: Callable[[], object]) -> None:
    """Carry out the validate stage and show its report, that of failed expectations most of all."""
    try:
        validate()
    except StageFailed as failed:
        if failed.stage == "validate":
            accepted.restore_lock(layout)
            if pages.validated(layout):
                hooks.show(pages.validation(layout))
            if accepted.current(layout) is not None:
                hooks.say("'recctl intake --reject' takes what came since out of data/ again")
        raise
    accepted.keep(layout)
    hooks.show(pages.validation(layout))


def _require_same(layout: Layout, digest: str) -> None:
    """UserError when data, settings or code are no longer those that the stages began with."""
    if key.of(layout).digest != digest:
        raise UserError(
            "data, params.yaml or recctl's code changed while the model was trained",
            "nothing was decided; run the retraining again",
        )


@dataclass(frozen=True)
class _Run:
    """The steps with what they share."""

    layout: Layout
    lock: Lock
    hooks: Hooks
    params: RetrainParams

    def step(self, name: str, work: Callable[[], T]) -> T:
        """Carry out a step; whoever asks for the lock is told which."""
        self.lock.doing(name)
        return self.hooks.step(name, work)

    def require_publishable(self) -> None:
        """MayPass or UserError where what is decided could not be published."""
        publish.require_possible(self.layout, self.params.publish)

    def sync(self) -> None:
        """data/ as data.dvc has it, and what DVC's cache lacks put back from what is here."""
        sync.sync(self.layout, self.hooks.say)
        pipeline.refill(self.layout, self.hooks.say, lock=self.lock)
        accepted.keep_if_passed(self.layout)

    def mend(self) -> Finished | None:
        """Publish what an earlier retraining decided and did not live to tell.

        Settings or code may have changed since; the data it rests on must still be here.
        """
        left = record.read(self.layout)
        if left is None or left.state == "done" or left.data != key.of(self.layout).data:
            return None
        digest, body = left.key, None
        found = self.step("look up", lambda: decide.found(self.layout, digest, self.hooks.say))
        if found is not None:
            left, body = dataclasses.replace(found[0], data=left.data), found[1]
        elif left.state == "begun":
            return None
        self.hooks.say(f"finishing what was left: {left.sentence}")
        return left, body, self.tell(left, body)

    def stages(self) -> None:
        """The pipeline, stage by stage."""
        for name in STAGES:
            lines = pages.Lines(self.hooks.say, self.hooks.epoch)
            work = partial(self.step, name, partial(self._stage, name, lines))
            if name == "validate":
                validated(self.layout, self.hooks, work)
            else:
                work()
        self.hooks.show(pages.metrics(self.layout))

    def _stage(self, name: str, lines: pages.Lines) -> None:
        done = pipeline.stage(self.layout, name, lines, lock=self.lock)
        if not done.ran:
            self.hooks.say(f"{name}: {done.outcome}")

    def decided(self, digest: str) -> tuple[Record, Body | None]:
        """The decision, and under `approval: manual` a person's yes before it."""
        while True:
            agreed = self._agreed()
            found = self.step("promote", partial(self._promote, digest, agreed))
            if found is not None:
                return found
            self.hooks.say("another model serves than was shown: judged and asked again")

    def _promote(self, digest: str, agreed: Confirm) -> tuple[Record, Body | None] | None:
        """The decision; None where it would not be the one that a person was shown."""
        _require_same(self.layout, digest)
        self.require_publishable()
        try:
            return decide.decide(self.layout, digest, self.hooks.say, approve=agreed)
        except _Another:
            return None

    def _agreed(self) -> Confirm:
        """Whether a model may serve; one that would not pass is not asked about.

        Raises _Another for another model, or against another champion, than was shown.
        """
        if self.params.approval == "automatic":
            return lambda judged: True
        body = self.step("judge", lambda: decide.preview(self.layout, self.hooks.say))
        yes = body is not None and body["verdict"] == "promoted" and self._asked(body)

        def same(judged: Body) -> str | bool:
            if (
                body is None
                or body["verdict"] != "promoted"
                or _compared(judged) != _compared(body)
            ):
                raise _Another
            return yes

        return same

    def _asked(self, body: Body) -> str | bool:
        self.hooks.show(pages.decision(body, None))
        self.lock.doing("waiting for a person's approval")
        return self.hooks.approve(body)

    def tell(self, done: Record, body: Body | None) -> publish.Published:
        """Show the decision, tell git and the remote; from then on this retraining is over."""
        if body is not None:
            self.hooks.show(pages.decision(body, done.position))
        told = self.step("publish", partial(self._publish, done))
        self.hooks.told(done)
        state: Literal["begun", "done"] = "begun" if done.ending == "refused" else "done"
        record.write(self.layout, dataclasses.replace(done, state=state))
        return told

    def _publish(self, done: Record) -> publish.Published:
        if key.of(self.layout).data != done.data:
            raise UserError(
                "data.dvc names another version than the one that was decided upon",
                "nothing was published; the next retraining begins with the data as it is now",
            )
        message = _message(done)
        return publish.publish(self.layout, self.params.publish, message, self.hooks.say, self.lock)


class _Another(Exception):
    """What would be decided is not what a person was shown."""


def _compared(body: Body) -> tuple[Any, Any]:
    """Which model was judged, against which champion."""
    return body["challenger"]["digest"], body["saw"]["champion"]


def _message(done: Record) -> str:
    """The commit's: what was decided, and upon what."""
    what = f"version {done.version} promoted" if done.ending == "promoted" else str(done.ending)
    decision = f" (decision {done.position})" if done.position else ""
    facts = [f"Data: {done.data}", f"Retraining: {done.key}"]
    if done.position:
        facts.insert(0, f"Decision: {done.position}")
    return "\n\n".join([f"Retraining: {what}{decision}", done.sentence, "\n".join(facts)])
