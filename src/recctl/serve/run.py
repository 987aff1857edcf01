"""The service's processes: in each the server, and one thread that follows the champion."""

import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from recctl.errors import UserError
from recctl.evaluation.params import EvaluateParams
from recctl.layout import Layout
from recctl.promotion.promote import Outcome
from recctl.serve.app import LOG, REQUESTS, SHARED, build
from recctl.serve.challenger import Challenger
from recctl.serve.champion import Champion
from recctl.serve.params import ServeParams

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

LOOPBACK = ("127.0.0.1", "localhost")
SECONDS_TO_END = 10
"""For the requests that are under way at SIGTERM."""
SECONDS_TO_START = 120
"""After which a process that does not answer is ended; importing alone may take ten."""
LOG_BYTES = 64 << 20
"""Of a log of requests; a full one becomes FILE.1, in place of the one before."""


@dataclass(frozen=True)
class Service:
    """What each process of the service is made from; it can be sent to one."""

    layout: Layout
    token: str | None
    undone: Callable[[Outcome], None]
    """Gets a rollback that the service itself has made."""
    lines: "Queue[logging.LogRecord] | None"
    """Takes the lines of requests from several processes."""

    def __call__(self) -> FastAPI:
        """The application, with the thread that follows the champion as long as the process."""
        _log_to_stderr()
        if self.lines is not None:
            REQUESTS.handlers[:] = [QueueHandler(self.lines)]
            REQUESTS.propagate = False
        if (parent := parent_process()) is not None:
            threading.Thread(target=_end_with, args=[parent], daemon=True).start()
        params = ServeParams.load(self.layout.params)
        asked, challenger = params.challenger, None
        if asked is not None:
            challenger = Challenger(self.layout, LOG.info, asked, self.undone)
        champion = Champion(self.layout, LOG.info, challenger.follow if challenger else None)
        follow = partial(champion.follow, threading.Event())
        threading.Thread(target=follow, daemon=True).start()
        return build(
            champion,
            challenger,
            filter_seen=EvaluateParams.load(self.layout.params).filter_seen,
            token=self.token,
            exposures=params.exposures,
        )


def run(
    layout: Layout,
    host: str,
    port: int,
    token: str | None,
    log: Path | None = None,
    workers: int | None = None,
    undone: Callable[[Outcome], None] = lambda outcome: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; the lines of requests go to the file `log`, or to stderr.

    It answers at once, without a version until the registry was read and the champion is loaded.
    `undone` gets a rollback that the service itself has made.

    Raises UserError where the address cannot be listened on, or others could reach it and there is
    no token.
    """
    if host not in LOOPBACK and not token:
        raise UserError(
            f"on {host} other machines could ask the service, and there is no token",
            "set RECCTL_SERVE_TOKEN to a long random text, or leave --host out",
        )
    EvaluateParams.load(layout.params)
    workers = workers or ServeParams.load(layout.params).workers
    listening = _listen(host, port)
    _log_to_stderr()
    LOG.info("listening on http://%s:%d", host, port)
    file = RotatingFileHandler(log, maxBytes=LOG_BYTES, backupCount=1) if log else None
    if file is not None:
        REQUESTS.handlers[:] = [file]
        REQUESTS.propagate = False
    with _together(workers, file) as lines:
        config = uvicorn.Config(
            Service(layout, token, undone, lines),
            factory=True,
            workers=workers,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=SECONDS_TO_END,
            timeout_worker_healthcheck=SECONDS_TO_START,
        )
        if workers == 1:
            uvicorn.Server(config).run(sockets=[listening])
        else:
            Multiprocess(config, sockets=[listening]).run()


@contextmanager
def _together(
    workers: int, file: logging.Handler | None
) -> "Iterator[Queue[logging.LogRecord] | None]":
    """What several processes share: a folder in which their figures are added up, and a queue whose
    lines this process alone writes to the file, because it may rotate it."""
    if workers == 1:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="recctl-metrics-") as folder:
        os.environ[SHARED] = folder
        if file is None:
            yield None
            return
        lines = get_context("spawn").Queue()
        writing = QueueListener(lines, file)
        writing.start()
        yield lines
        writing.stop()


def _log_to_stderr() -> None:
    LOG.handlers[:] = [logging.StreamHandler(sys.stderr)]
    LOG.setLevel(logging.INFO)


def _end_with(parent: BaseProcess) -> None:
    """End as at SIGTERM where the process was killed that started this one."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=_family(host), backlog=2048)
    except OSError as error:
        number = error.errno or 0  # of an error about the host's name it is below 0
        what = str(os.strerror(number) if number > 0 else error.strerror).lower()
        raise UserError(f"cannot listen on {host}:{port} ({what})", "give another --port") from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
