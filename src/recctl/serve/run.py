"""The service's process: one thread that follows the champion, and the server."""

import logging
import os
import socket
import sys
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path

import uvicorn

from recctl.errors import UserError
from recctl.evaluation.params import EvaluateParams
from recctl.layout import Layout
from recctl.serve.app import LOG, REQUESTS, build
from recctl.serve.challenger import Challenger
from recctl.serve.champion import Champion
from recctl.serve.params import ServeParams

LOOPBACK = ("127.0.0.1", "localhost")
SECONDS_TO_END = 10
"""For the requests that are under way at SIGTERM."""
LOG_BYTES = 64 << 20
"""Of a log of requests; a full one becomes FILE.1, in place of the one before."""


def run(layout: Layout, host: str, port: int, token: str | None, log: Path | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; the lines of requests go to the file `log`, or to stderr.

    It answers at once, without a version until the registry was read and the champion is loaded.
    Raises UserError where the address cannot be listened on, or others could reach it and there is
    no token.
    """
    if host not in LOOPBACK and not token:
        raise UserError(
            f"on {host} other machines could ask the service, and there is no token",
            "set RECCTL_SERVE_TOKEN to a long random text, or leave --host out",
        )
    filter_seen = EvaluateParams.load(layout.params).filter_seen
    params = ServeParams.load(layout.params)
    listening = _listen(host, port)
    handler = logging.StreamHandler(sys.stderr)
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    if log is not None:
        REQUESTS.addHandler(RotatingFileHandler(log, maxBytes=LOG_BYTES, backupCount=1))
        REQUESTS.propagate = False
    asked, stop = params.challenger, threading.Event()
    challenger = Challenger(layout, LOG.info, asked) if asked else None
    champion = Champion(layout, LOG.info, challenger.follow if challenger else None)
    following = threading.Thread(target=champion.follow, args=(stop,), daemon=True)
    following.start()
    LOG.info("listening on http://%s:%d", host, port)
    config = uvicorn.Config(
        build(
            champion,
            challenger,
            filter_seen=filter_seen,
            token=token,
            exposures=params.exposures,
        ),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SECONDS_TO_END,
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        stop.set()
        LOG.removeHandler(handler)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=_family(host), backlog=2048)
    except OSError as error:
        number = error.errno or 0  # of an error about the host's name it is below 0
        what = str(os.strerror(number) if number > 0 else error.strerror).lower()
        raise UserError(f"cannot listen on {host}:{port} ({what})", "give another --port") from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
