"""What the services are told by their environment, and `prefect` by a file in the project."""

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from recctl.errors import UserError
from recctl.files import replacing
from recctl.layout import Layout
from recctl.services.door import KEY_FILE
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


USER = "recctl"
"""What MLflow's pages want as the name beside the key."""


def key_file(layout: Layout) -> Path:
    """Where the key of the two servers lies: `recctl:` and a random text."""
    return layout.state / "services" / "key"


def key(layout: Layout) -> str:
    """The key of the servers that run; empty when none was started."""
    path = key_file(layout)
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""


def new_key(layout: Layout) -> None:
    """Make the key of a Prefect server that is about to start.

    Each has one of its own: when a server has died, another program may take its port, and whoever
    then asks tells it the key.
    """
    with replacing(key_file(layout)) as temporary:
        temporary.write_text(f"{USER}:{secrets.token_urlsafe(32)}\n", encoding="ascii")


def for_prefect(layout: Layout, api: str) -> dict[str, str]:
    """The environment of whatever talks to our Prefect server."""
    return {**base(layout), "PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": key(layout)}


def for_server(layout: Layout, port: int) -> dict[str, str]:
    """The environment of Prefect's server itself."""
    address = f"http://127.0.0.1:{port}"
    return {
        **for_prefect(layout, f"{address}/api"),
        "PREFECT_SERVER_API_AUTH_STRING": key(layout),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": address,
        "PREFECT_UI_API_URL": "/api",  # of the host that the page was opened by
    }


def for_worker(layout: Layout, told: Mapping[str, str]) -> dict[str, str]:
    """The environment of the worker, and through it of every flow."""
    # Prefect would otherwise offer the project's pyproject.toml to uv, if that is installed.
    quiet = {"PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false"}
    return {**for_prefect(layout, told["api"]), **quiet, MLFLOW_UI: told["mlflow"]}


def for_mlflow(layout: Layout, store: str) -> dict[str, str]:
    """The environment of MLflow's server; the store's address may hold a password."""
    return {
        **base(layout),
        KEY_FILE: str(key_file(layout)),
        # What `mlflow server` sets for the application that it starts.
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_REGISTRY_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (layout.root / "mlartifacts").as_uri(),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
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
    settings_file(layout).unlink(missing_ok=True)  # its mode would stay, and it holds a secret
    with replacing(settings_file(layout)) as temporary:
        temporary.write_text(
            f"{OURS}\n# folder talk to the server that runs here.\n"
            f'[api]\nurl = "{api}"\nauth_string = "{key(layout)}"\n',
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
    """The variable of the caller's environment that beats prefect.toml, if one is set."""
    names = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
    return next((name for name in names if os.environ.get(name)), None)
