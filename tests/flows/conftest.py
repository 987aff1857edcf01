"""One real Prefect server for all tests that need one."""

import contextlib
from collections.abc import Iterator

import pytest
from prefect_server import PrefectServer, process, wait_for

import ports


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server of our own with all its services, on a free port."""
    folder = tmp_path_factory.mktemp("prefect")
    port = ports.free()
    server = PrefectServer(f"http://127.0.0.1:{port}/api", folder / "home")
    command = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with process(command, folder, server.environment(), folder / "server.log"):

        def healthy() -> bool:
            with contextlib.suppress(OSError):
                return server.ask("/health") is True
            return False

        wait_for("Prefect's server", healthy)
        yield server
