"""The environment of the services, and the settings file of `prefect` in the project."""

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
"""The address of MLflow's pages; flows build their links with it."""

OURS = "# Written by `recctl up`; `recctl down` removes it. It has the `prefect` commands in this"
"""The first line of a prefect.toml that `recctl up` wrote."""

_ANOTHER_SERVERS = (
    "PREFECT_API_",
    "PREFECT_CLOUD_",
    "PREFECT_HOME",
    "PREFECT_PROFILE",
    "PREFECT_SERVER_",
    "PREFECT_UI_",
    "PREFECT__",
)
"""Settings that would make our services use another server or database."""


def base(layout: Layout) -> dict[str, str]:
    """The environment of every service: ours without the settings of another Prefect server."""
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
"""Programs read one or the other of these."""


def _without_proxy() -> str:
    """The hosts that the caller reaches without a proxy, and this machine."""
    excluded = ",".join(os.environ.get(name, "") for name in _NO_PROXY).split(",")
    hosts = [host.strip() for host in (*excluded, "127.0.0.1", "localhost")]
    # many programs understand "*" only when it is the whole value
    return "*" if "*" in hosts else ",".join(dict.fromkeys(filter(None, hosts)))


USER = "recctl"
"""The user name that MLflow's pages ask for together with the key."""


def key_file(layout: Layout) -> Path:
    """The file with the key of the two servers: `recctl:` and a random text."""
    return layout.state / "services" / "key"


def key(layout: Layout) -> str:
    """The key of the running servers; empty when none was started."""
    path = key_file(layout)
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""


def new_key(layout: Layout) -> None:
    """Create the key of a Prefect server that is about to start.

    Every server has a new one: when a server has died, another program may take its port, and a
    client that still asks there reveals the old key.
    """
    with replacing(key_file(layout)) as temporary:
        temporary.write_text(f"{USER}:{secrets.token_urlsafe(32)}\n", encoding="ascii")


def for_prefect(layout: Layout, api: str) -> dict[str, str]:
    """The environment of a process that talks to our Prefect server."""
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


def for_worker(layout: Layout, addresses: Mapping[str, str]) -> dict[str, str]:
    """The environment of the worker, and through it of every flow."""
    # otherwise Prefect runs flows through uv with the project's pyproject.toml, if uv is installed
    quiet = {"PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false"}
    return {**for_prefect(layout, addresses["api"]), **quiet, MLFLOW_UI: addresses["mlflow"]}


def for_mlflow(layout: Layout, store: str) -> dict[str, str]:
    """The environment of MLflow's server; the store's address may hold a password."""
    return {
        **base(layout),
        KEY_FILE: str(key_file(layout)),
        # the variables that `mlflow server` sets for the application that it starts
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_REGISTRY_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (layout.root / "mlartifacts").as_uri(),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def settings_file(layout: Layout) -> Path:
    """The settings file that Prefect reads in the current folder, before its profiles."""
    return layout.root / "prefect.toml"


def refuse_foreign_settings(layout: Layout) -> None:
    """Raise UserError when the project has a prefect.toml that `recctl up` did not write."""
    path = settings_file(layout)
    if path.exists() and not _is_ours(path):
        raise UserError(
            f"{path} was not written by 'recctl up'",
            "with your own Prefect server use 'prefect deploy --all'; otherwise move the file away",
        )


def write_settings(layout: Layout, api: str) -> None:
    """Let `prefect` commands in the project's folder talk to our server."""
    settings_file(layout).unlink(
        missing_ok=True
    )  # replaced, it would keep its mode, and it holds a secret
    with replacing(settings_file(layout)) as temporary:
        temporary.write_text(
            f"{OURS}\n# folder talk to the server that runs here.\n"
            f'[api]\nurl = "{api}"\nauth_string = "{key(layout)}"\n',
            encoding="utf-8",
        )


def remove_settings(layout: Layout) -> None:
    """Remove the file if `write_settings` wrote it."""
    path = settings_file(layout)
    if path.exists() and _is_ours(path):
        path.unlink()


def _is_ours(path: Path) -> bool:
    return path.read_text(encoding="utf-8", errors="replace").startswith(OURS)


def overriding() -> str | None:
    """The variable of the caller's environment that overrides prefect.toml, if one is set."""
    names = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
    return next((name for name in names if os.environ.get(name)), None)
