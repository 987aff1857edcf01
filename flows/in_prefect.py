"""How a run of recctl appears in Prefect: steps as tasks, pages as artifacts, names, events.

The flows in this folder call recctl, which does the work.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
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
from recctl.notify import notices
from recctl.notify.notices import Notices
from recctl.pipeline import StageFailed, StageMayPass
from recctl.promotion.judge.policy import PromotionParams
from recctl.render.grid import Grid
from recctl.retraining.pages import Page

T = TypeVar("T")

RETRIES = (10.0, 60.0, 300.0)
"""Seconds before each retry of a step that raised MayPass."""

MOST_COLUMNS = 7
"""Columns of a table that fit into one of Prefect's pages, 65 characters wide."""

ANSWER_AGAIN = 10.0
"""Seconds before an answer that Prefect's server did not accept is sent again."""

PAUSE_LONGER = 3600
"""Seconds by which Prefect's pause is longer than ours: it fails a run whose pause runs out."""


def step(name: str, work: Callable[[], T], /) -> T:
    """Carry out a step as a task run; it is retried after a MayPass only."""
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
def _best_effort() -> Iterator[None]:
    """Ignore failures of Prefect's server in this block: they must not end a retraining."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        print(f"not shown in Prefect: {' '.join(str(error).split())[:200]}")


def show(page: Page) -> None:
    """Add a page to the run."""
    with _best_effort():
        create_markdown_artifact(as_markdown(page.content), key=page.key, description=page.title)


def as_markdown(content: str | Grid) -> str:
    """A page as markdown, because Prefect's pages truncate the cells of a table artifact.

    A table with too many columns for the page becomes a line per row, which the page can wrap.
    """
    if isinstance(content, str):
        return content
    return content.listed() if len(content.columns) > MOST_COLUMNS else content.markdown()


def link(key: str, address: str, text: str) -> None:
    """Add a link to the run."""
    with _best_effort():
        create_link_artifact(address, link_text=text, key=key, description=text)


class Progress:
    """The progress of a training, as one progress artifact."""

    def __init__(self) -> None:
        self._id: UUID | None = None

    def __call__(self, done: int, total: int) -> None:
        """Show that so many epochs are done, of at most `total`."""
        with _best_effort():
            if self._id is None:
                made = create_progress_artifact(0.0, key="training", description="Epochs")
                assert isinstance(made, UUID)
                self._id = made
            update_progress_artifact(self._id, progress=100 * done / total)


def call(ending: str) -> None:
    """Name the flow run by its flow, the day and its ending."""
    name = f"{runtime.flow_run.flow_name}-{datetime.now(UTC):%Y-%m-%d}-{ending}"
    with _best_effort(), get_client(sync_client=True) as client:
        client.update_flow_run(UUID(runtime.flow_run.id), name=name)


def in_turn(
    layout: Layout, wait_minutes: float, work: Callable[[Lock], State[None]]
) -> State[None]:
    """Do the work of a flow while it holds the project; a run that cannot get it ends `Busy`.

    Raises what the work raises, a circumstance of the machine as one line, and names the run by it.
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
        known = circumstance(error)
        if known is None:  # a defect: Prefect's log shows its traceback
            raise
        raise known from None


def notifying(layout: Layout) -> AbstractContextManager[Notices]:
    """The notices of this flow run, its failure among them."""
    run = runtime.flow_run
    page = run.ui_url if str(run.ui_url).startswith("http") else None
    return notices.during(layout, print, run.flow_name, run.id, page)


def ended(
    ending: str, message: str, *, called: str | None = None, well: bool = True
) -> State[None]:
    """Name the run; the state to end it with, such as Completed with the name `Rejected`."""
    print(message)
    call(called or ending)
    name = ending.replace("-", " ").title().replace(" ", "")
    return (Completed if well else Failed)(name=name, message=message)


def emit(event: str, layout: Layout, seen_by: str, facts: dict[str, Any]) -> None:
    """Emit an event about this project, for automations."""
    model = PromotionParams.load(layout.params).registered_model
    resource = {
        "prefect.resource.id": f"recctl.project.{model}",
        "prefect.resource.name": model,
        "recctl.seen-by": seen_by,
    }
    emit_event(event, resource=resource, payload=facts)


class Approval(RunInput):
    """The question to a person before a model serves."""

    approve: bool = Field(default=False, description="Let this version serve?")
    name: str = Field(default="", description="Who says so")


def ask(hours: float) -> Approval:
    """Pause the run until a person resumes it; after `hours` the answer is no."""
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
        except FlowPauseTimeout:  # the server did not accept our answer either
            _go_on()
            return Approval()


def _go_on() -> None:
    """Resume a run whose pause ran out, which Prefect would fail; a cancelled run stays so."""
    run = UUID(runtime.flow_run.id)
    with _best_effort(), get_client(sync_client=True) as client:
        state = client.read_flow_run(run).state
        if state is not None and not (state.is_cancelled() or state.is_cancelling()):
            client.set_flow_run_state(run, Running(), force=True)


@contextmanager
def _answer_after(seconds: float) -> Iterator[None]:
    """Answer no, without a name, when the time is over, until it is accepted or the block ends."""
    answer = {"approve": False, "name": ""}
    run = UUID(runtime.flow_run.id)
    over = threading.Event()

    def say_no() -> None:
        wait = seconds
        while not over.wait(wait):
            wait = ANSWER_AGAIN
            # whatever the server answers: without this thread nothing would answer
            with suppress(httpx.HTTPError, PrefectException, RuntimeError):
                flow_runs.resume_flow_run(run, run_input=answer)
                return

    # in our context, so that it uses our server
    threading.Thread(target=copy_context().run, args=[say_no], daemon=True).start()
    try:
        yield
    finally:
        over.set()
