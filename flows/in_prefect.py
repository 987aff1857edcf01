"""How a run of recctl shows itself in Prefect: steps as tasks, pages as artifacts, a name, events.

The flows beside this file say what is done, and recctl does it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect import flow_runs, runtime, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.events import emit_event
from prefect.exceptions import FlowPauseTimeout, PrefectException
from prefect.input import RunInput
from prefect.states import Completed, Failed, Running
from prefect.tasks import Task
from pydantic import Field

from recctl import lock
from recctl.errors import MayPass, circumstance
from recctl.files import keep_private
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.pipeline import StageFailed, StageMayPass
from recctl.promotion.judge.policy import PromotionParams
from recctl.render.text import markdown
from recctl.retraining.pages import Page, Row

T = TypeVar("T")

RETRIES = (10.0, 60.0, 300.0)
"""Seconds before a step is tried again, when what stopped it may pass."""

MOST_COLUMNS = 7
"""Columns of a table that fit into a page of Prefect's, 65 characters wide."""

ANSWER_AGAIN = 10.0
"""Seconds before an answer that Prefect's server did not take is given again."""

PAUSE_LONGER = 3600
"""Seconds for which a pause outlasts ours: Prefect fails a run whose pause runs out."""


def step(name: str, work: Callable[[], T], /) -> T:
    """Carry out a step as a task run, again after a MayPass and after nothing else."""
    carried_out = task(
        name=name,
        task_run_name=name,
        retries=len(RETRIES),
        retry_delay_seconds=list(RETRIES),
        retry_condition_fn=_may_pass,
        cache_policy=NO_CACHE,
        persist_result=False,
        log_prints=True,
    )(work)
    return carried_out()


def _may_pass(_: Task[Any, Any], __: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), MayPass)


@contextmanager
def _if_it_can_be() -> Iterator[None]:
    """Do without something to look at: a server that is away must not end a retraining."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        print(f"not shown in Prefect: {' '.join(str(error).split())[:200]}")


def show(page: Page) -> None:
    """Lay a page beside the run."""
    with _if_it_can_be():
        text = as_markdown(page.table) if page.table else page.markdown
        create_markdown_artifact(text, key=page.key, description=page.title)


def as_markdown(rows: list[Row]) -> str:
    """A table whose cells are shown whole: Prefect's pages cut those of a table artifact.

    One with too many columns for the page becomes a line per row, which the page can wrap.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [
        {name: markdown("" if value is None else str(value)) for name, value in row.items()}
        for row in rows
    ]
    if len(names) > MOST_COLUMNS:
        return "\n".join(
            "- " + "; ".join(f"{name} {cell}" for name, cell in row.items() if cell)
            for row in cells
        )
    lines = [names, ["---"] * len(names), *([row.get(name, "") for name in names] for row in cells)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def link(key: str, address: str, text: str) -> None:
    """Lay a link beside the run."""
    with _if_it_can_be():
        create_link_artifact(address, link_text=text, key=key, description=text)


class Progress:
    """The progress of a training, as one artifact that moves."""

    def __init__(self) -> None:
        self._id: UUID | None = None

    def __call__(self, done: int, total: int) -> None:
        """So many epochs of at most so many."""
        with _if_it_can_be():
            if self._id is None:
                made = create_progress_artifact(0.0, key="training", description="Epochs")
                assert isinstance(made, UUID)
                self._id = made
            update_progress_artifact(self._id, progress=100 * done / total)


def call(ending: str) -> None:
    """Name the flow run by its flow, its day and what it came to."""
    name = f"{runtime.flow_run.flow_name}-{datetime.now(UTC):%Y-%m-%d}-{ending}"
    with _if_it_can_be(), get_client(sync_client=True) as client:
        client.update_flow_run(UUID(runtime.flow_run.id), name=name)


def in_turn(
    layout: Layout, wait_minutes: float, work: Callable[[Lock], State[None]]
) -> State[None]:
    """Do the work of a flow while it holds the project; a run that never gets it ends `Busy`.

    Raises what the work raises, a circumstance of the machine in one line, and names the run by it.
    """
    keep_private()
    who = f"the flow run {runtime.flow_run.name}"
    try:
        with lock.held(layout, who, wait=60 * wait_minutes, say=print) as held:
            return work(held)
    except lock.Busy as busy:
        return ended("busy", str(busy))
    except Exception as error:
        stage = error.stage if isinstance(error, StageFailed | StageMayPass) else None
        call(f"{stage}-failed" if stage else "failed")
        told = circumstance(error)
        if told is None:  # a defect: Prefect's log shows its traceback
            raise
        raise told from None


def ended(
    ending: str, message: str, *, called: str | None = None, well: bool = True
) -> State[None]:
    """Name the run, and give back the state to leave it by: Completed, but called `Rejected`."""
    print(message)
    call(called or ending)
    name = ending.replace("-", " ").title().replace(" ", "")
    return (Completed if well else Failed)(name=name, message=message)


def tell(event: str, layout: Layout, seen_by: str, facts: dict[str, Any]) -> None:
    """Emit an event about this project, for automations."""
    model = PromotionParams.load(layout.params).registered_model
    resource = {
        "prefect.resource.id": f"recctl.project.{model}",
        "prefect.resource.name": model,
        "recctl.seen-by": seen_by,
    }
    emit_event(event, resource=resource, payload=facts)


class Approval(RunInput):
    """What a person is asked before a model serves."""

    approve: bool = Field(default=False, description="Let this version serve?")
    name: str = Field(default="", description="Who says so")


def ask(hours: float) -> Approval:
    """Pause the run until a person resumes it; after so many hours the answer is no."""
    seconds = 3600 * hours
    with _answer_after(seconds):
        try:
            return flow_runs.pause_flow_run(
                wait_for_input=Approval.with_initial_data(
                    description="The decision is among this run's artifacts. Shall the model serve?"
                ),
                timeout=int(seconds) + PAUSE_LONGER,
                poll_interval=5,
            )
        except FlowPauseTimeout:  # the server did not take our no either
            _go_on()
            return Approval()


def _go_on() -> None:
    """Leave a pause that ran out, which Prefect takes for a failure; a cancelled run stays so."""
    run = UUID(runtime.flow_run.id)
    with _if_it_can_be(), get_client(sync_client=True) as client:
        state = client.read_flow_run(run).state
        if state is not None and not (state.is_cancelled() or state.is_cancelling()):
            client.set_flow_run_state(run, Running(), force=True)


@contextmanager
def _answer_after(seconds: float) -> Iterator[None]:
    """Say no in nobody's name once the time is over, until that is taken or the block ends."""
    answer = {"approve": False, "name": ""}
    run = UUID(runtime.flow_run.id)
    over = threading.Event()

    def say_no() -> None:
        wait = seconds
        while not over.wait(wait):
            wait = ANSWER_AGAIN
            # Whatever the server says, or does not: a thread that ends leaves nobody to answer.
            with suppress(httpx.HTTPError, PrefectException, RuntimeError):
                flow_runs.resume_flow_run(run, run_input=answer)
                return

    # In our context, so that it asks the server that we ask.
    threading.Thread(target=copy_context().run, args=[say_no], daemon=True).start()
    try:
        yield
    finally:
        over.set()
