"""Ports of this machine for tests."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """A port at which nobody listens, and nobody else can begin to as long as the block lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def free() -> int:
    """A port at which nobody listens now."""
    with refusing() as port:
        return port
