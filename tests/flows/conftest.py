"""A real Prefect server.

It takes some ten seconds of a processor to start, and idle a sixth of one: one process runs all
files here, one after another (conftest.py of all tests), and the server ends with them.
"""

from collections.abc import Iterator

import pytest
from prefect_server import PrefectServer, running

import ports


@pytest.fixture(scope="package")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server of our own with all its services, on a free port."""
    folder = tmp_path_factory.mktemp("prefect")
    server = PrefectServer(f"http://127.0.0.1:{ports.free()}/api", folder / "home")
    with running(server, folder):
        yield server
