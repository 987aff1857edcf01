"""The worker of `recctl up`: a process worker that runs only this project's deployments.

    python flows/worker.py POOL NAME LIMIT

Otherwise anyone who can write to the server could have the worker run any command, by a
deployment's pull steps, its entrypoint, its job variables or the work pool's template.
"""

import asyncio
import contextlib
import os
import sys
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.utilities.processutils import setup_signal_handlers_worker
from prefect.utilities.templating import apply_values
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from recctl.config import read_yaml
from recctl.layout import Layout
from recctl.services import processes


class Refused(Exception):
    """A run that this worker does not execute."""


def require_ours(layout: Layout, run: FlowRun, deployment: DeploymentResponse | None) -> None:
    """Raise Refused unless the run executes what prefect.yaml says, in this project."""
    if not processes.listens(layout, "prefect"):
        raise Refused("the server that answers is not the one that 'recctl up' started")
    if deployment is None or _executed(deployment.model_dump()) not in _known(layout):
        raise Refused(
            "its entrypoint, pull steps or job variables are not those of a deployment in"
            f" {layout.root / 'prefect.yaml'}; after a change there, call 'recctl up'"
        )
    if run.job_variables:
        raise Refused("the run itself has job variables")
    if run.parameters.get("project") not in (None, str(layout.root)):
        raise Refused("its parameter 'project' names another folder")


def _known(layout: Layout) -> list[dict[str, Any]]:
    """What each deployment of prefect.yaml executes, as `prefect deploy` registers it."""
    content = read_yaml(layout.root / "prefect.yaml")
    found = []
    for deployment in content["deployments"]:
        resolved: Any = apply_values(deployment, dict(os.environ), remove_notset=False)
        pull = deployment.get("pull", content.get("pull"))  # registered as it is written
        variables = resolved.get("work_pool", {}).get("job_variables")
        found.append(_executed(resolved | {"pull_steps": pull, "job_variables": variables}))
    return found


def _executed(deployment: dict[str, Any]) -> dict[str, Any]:
    names = ("entrypoint", "pull_steps", "job_variables")
    return {name: deployment.get(name) or None for name in names}


class Configuration(ProcessJobConfiguration):
    """How a run is executed: by the template of this installation, not the server's."""

    @classmethod
    async def resolve_for_flow_run(
        cls,
        flow_run: FlowRun,
        *,
        client: PrefectClient,
        work_pool: WorkPool,
        deployment: DeploymentResponse | None = None,
        **names: Any,
    ) -> "Configuration":
        """The configuration of a run of this project; Refused for any other."""
        if flow_run.deployment_id:
            deployment = await client.read_deployment(flow_run.deployment_id)
        require_ours(Layout.find(), flow_run, deployment)
        template = ProcessWorker.get_default_base_job_template()
        pool = work_pool.model_copy(update={"base_job_template": template})
        return await super().resolve_for_flow_run(
            flow_run, client=client, work_pool=pool, deployment=deployment, **names
        )


def main(pool: str, name: str, limit: str) -> None:
    """Work until a signal arrives."""
    setup_signal_handlers_worker(os.getpid(), f"the worker {name}", print)
    worker = ProcessWorker(work_pool_name=pool, name=name, limit=int(limit))
    worker.job_configuration = Configuration
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(worker.start())


if __name__ == "__main__":
    main(*sys.argv[1:])
