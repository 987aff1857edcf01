"""The standard streams and arguments of a command, whatever the locale and the shell give it."""

import io
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def prepare() -> None:
    """Make the standard streams accept any text, and continue when their reader is gone.

    What the terminal's code cannot show is printed as escapes. A reader that went away (`| head`)
    does not end a command halfway, and a stream that the shell closed is the null device: else the
    next file opened would take its number and receive what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    if sys.stdout is sys.__stdout__:  # no test's
        sys.stdout = _pipe_safe(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _pipe_safe(sys.stderr, 2)
    sys.argv = [_decoded(argument) for argument in sys.argv]


def drop_unwritten() -> None:
    """Drop what a standard stream cannot write, on a full disk, or Python tries it again at exit.

    That would end with a traceback and another exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _to_null(stream.fileno())


def _to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)


def _pipe_safe(stream: Any, number: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(_PipeSafe(number, "w", closefd=False))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    lines = number == 2 or (stream is not None and stream.line_buffering)
    return io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=lines)


class _PipeSafe(io.FileIO):
    """A file that becomes the null device once its reader has gone."""

    def write(self, data: "ReadableBuffer", /) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except BrokenPipeError:
            _to_null(self.fileno())
            return super().write(data)


def _decoded(argument: str) -> str:
    """An argument in UTF-8 that a locale of another code could not read."""
    try:
        return os.fsencode(argument).decode() if _undecoded(argument) else argument
    except UnicodeDecodeError:  # a path may hold any bytes
        return argument


def _undecoded(argument: str) -> bool:
    return any("\udc80" <= char <= "\udcff" for char in argument)
