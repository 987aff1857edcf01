"""What the services are told by their environment, and `prefect` by a file in the project."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from recctl.errors import UserError
from recctl.files import replacing
from recctl.layout import Layout
from recctl.telemetry import OFF
from recctl.threads import NAMES, wait_shortly

POOL = "recctl"
"""The work pool that prefect.yaml names."""

MLFLOW_UI = "RECCTL_MLFLOW_UI"
"""Where a person sees MLflow's runs; flows make their links with it."""

OURS = "# Written by `recctl up`; `recctl down` removes it. It has the `prefect` commands in this"
"""The first line of a prefect.toml that is ours."""

_ANOTHER_SERVERS = (
    "PREFECT_API_",
    "PREFECT_CLOUD_",
    "PREFECT_HOME",
    "PREFECT_PROFILE",
    "PREFECT_SERVER_",
    "PREFECT_UI_",
    "PREFECT__",
)
"""Settings that would have our services write to another server or database."""


def base(layout: Layout) -> dict[str, str]:
    """The environment of every service: ours, quiet, and nothing of another Prefect server."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(_ANOTHER_SERVERS)
    }
    threads = {name: os.environ[name] for name in NAMES if name in os.environ}
    wait_shortly(threads)
    commands = str(Path(sys.executable).parent)
    return {
        **inherited,
        **{name: values[0] for name, values in OFF.items()},
        "PATH": os.pathsep.join([commands, os.environ.get("PATH", os.defpath)]),
        "PWD": str(layout.root),
        **dict.fromkeys(_NO_PROXY, _without_proxy()),
        "PYTHONUNBUFFERED": "1",
        **threads,
        "PREFECT_HOME": str(layout.state / "prefect"),
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
    }


_NO_PROXY = ("NO_PROXY", "no_proxy")
"""Some programs read the one, some the other, and of two that differ each its own."""


def _without_proxy() -> str:
    """What the caller reaches without a proxy, and this machine."""
    excluded = ",".join(os.environ.get(name, "") for name in _NO_PROXY).split(",")
    hosts = [host.strip() for host in (*excluded, "127.0.0.1", "localhost")]
    # Many understand "all hosts" only where it stands alone.
    return "*" if "*" in hosts else ",".join(dict.fromkeys(filter(None, hosts)))


def for_prefect(layout: Layout, api: str) -> dict[str, str]:
    """The environment of whatever talks to our Prefect server."""
    return {**base(layout), "PREFECT_API_URL": api}


def for_worker(layout: Layout, told: Mapping[str, str]) -> dict[str, str]:
    """The environment of the worker, and through it of every flow."""
    # Prefect would otherwise offer the project's pyproject.toml to uv, if that is installed.
    quiet = {"PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false"}
    return {**for_prefect(layout, told["api"]), **quiet, MLFLOW_UI: told["mlflow"]}


def for_mlflow(layout: Layout, store: str) -> dict[str, str]:
    """The environment of MLflow's server; the store's address may hold a password."""
    return {
        **base(layout),
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_ARTIFACTS_DESTINATION": (layout.root / "mlartifacts").as_uri(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def settings_file(layout: Layout) -> Path:
    """Where Prefect looks for settings in the current folder, before its profiles."""
    return layout.root / "prefect.toml"


def refuse_foreign_settings(layout: Layout) -> None:
    """Raise UserError when the project has a prefect.toml that `recctl up` did not write."""
    path = settings_file(layout)
    if path.exists() and not _is_ours(path):
        raise UserError(
            f"{path} is not of 'recctl up'",
            "with a server of your own use 'prefect deploy --all'; else move the file away",
        )


def write_settings(layout: Layout, api: str) -> None:
    """Have the `prefect` commands that are called in the project's folder talk to our server."""
    with replacing(settings_file(layout)) as temporary:
        temporary.write_text(
            f'{OURS}\n# folder talk to the server that runs here.\n[api]\nurl = "{api}"\n',
            encoding="utf-8",
        )


def remove_settings(layout: Layout) -> None:
    """Take away what `write_settings` wrote, and nothing else."""
    path = settings_file(layout)
    if path.exists() and _is_ours(path):
        path.unlink()


def _is_ours(path: Path) -> bool:
    return path.read_text(encoding="utf-8", errors="replace").startswith(OURS)


def overriding() -> str | None:
    """The variable of the caller's environment that beats prefect.toml, if it is set."""
    return "PREFECT_API_URL" if os.environ.get("PREFECT_API_URL") else None
