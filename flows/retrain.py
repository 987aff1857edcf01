"""The retrain flow: takes in data, runs the pipeline, decides, publishes; deployments schedule it.

    python flows/retrain.py

runs it once on this machine.
"""

from functools import partial
from pathlib import Path

import in_prefect
from prefect import flow
from prefect.client.schemas.objects import State

from recctl.layout import Layout
from recctl.lock import Lock
from recctl.notify.notices import Notices, mlflow_page, mlflow_server
from recctl.promotion.judge.record import DecisionRecord
from recctl.retraining.pages import drifted
from recctl.retraining.params import RetrainParams
from recctl.retraining.record import Record
from recctl.retraining.run import Hooks
from recctl.retraining.run import retrain as carry_out

NEEDS_A_PERSON = ("refused", "suspicious")
"""Endings by which a run fails: the model could not be judged, or is too good to be true."""


@flow(name="retrain", log_prints=True)
def retrain(project: Path | None = None, wait_minutes: float = 60.0) -> State[None]:
    """Retrain the project's model and let it serve if it is proven better.

    Another retraining of this project is waited for, `wait_minutes` at most.
    """
    layout = Layout.find(project)

    def work(held: Lock) -> State[None]:
        with in_prefect.notifying(layout) as notices:
            result = carry_out(layout, held, hooks(layout, notices))
        ending = "nothing-new" if result.nothing_new else str(result.record.ending)
        well = ending not in NEEDS_A_PERSON
        return in_prefect.ended(ending, result.sentence, called=result.name, well=well)

    return in_prefect.in_turn(layout, wait_minutes, work)


def hooks(layout: Layout, notices: Notices) -> Hooks:
    """How the steps appear in Prefect."""
    hours = RetrainParams.load(layout.params).approval_hours

    def approve(decision: DecisionRecord) -> str | bool:
        in_prefect.call("awaits-approval")
        notices.awaited(decision, hours)
        answer = in_prefect.ask(hours)
        name = answer.name.strip() or "someone in Prefect's UI who gave no name"
        print(f"approved by {name}" if answer.approve else "not approved")
        return answer.approve and name

    return Hooks(
        say=print,
        step=in_prefect.step,
        show=in_prefect.show,
        epoch=in_prefect.Progress(),
        approve=approve,
        decided=notices.decided,
        finished=partial(report, layout),
    )


def report(layout: Layout, done: Record) -> None:
    """Show the link to MLflow's run, and emit events for automations."""
    address = run_address(layout)
    if address:
        in_prefect.link("mlflow-run", address, "The training in MLflow")
    if found := drifted(layout):
        in_prefect.emit("recctl.data.drifted", layout, "retrain", {"expectations": found})
    facts = {"version": done.version, "decision": done.position}
    in_prefect.emit(f"recctl.retraining.{done.ending}", layout, "retrain", facts)


def run_address(layout: Layout) -> str | None:
    """The page of the training run, where MLflow runs as a server."""
    from recctl.files import read_json

    if mlflow_server() is None:
        return None
    run = read_json(layout.training / "run.json", "train", ["run_id"])
    return mlflow_page(run["run_id"])


if __name__ == "__main__":
    retrain()
