"""A real Prefect server for each module that needs one.

It ends with the module: an idle one takes a twentieth of a processor.
"""

from collections.abc import Iterator

import pytest
from prefect_server import PrefectServer, running

import ports


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server of our own with all its services, on a free port."""
    folder = tmp_path_factory.mktemp("prefect")
    server = PrefectServer(f"http://127.0.0.1:{ports.free()}/api", folder / "home")
    with running(server, folder):
        yield server
