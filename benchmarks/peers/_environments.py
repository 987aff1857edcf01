"""The peers' environments, each made on its first use, and commands run in them."""

import os
import subprocess
import sys
from pathlib import Path

from recctl.threads import wait_shortly

HERE = Path(__file__).parent
PEERS = ("replay", "rectools", "recbole")
CACHE = Path.home() / ".cache" / "recctl-peers"


def environments(peers: list[str], cache: Path) -> dict[str, str]:
    """The Python of each peer's environment; prints which peers have none here, and why."""
    pythons = {}
    for peer in peers:
        try:
            pythons[peer] = environment(peer, cache)
        except RuntimeError as error:
            version = ".".join(map(str, sys.version_info[:3]))
            print(f"{peer} left out: no environment on Python {version}: {error}", flush=True)
    return pythons


def environment(peer: str, cache: Path) -> str:
    """The Python of a peer's environment, rebuilt when its requirements changed.

    Raises RuntimeError with one line when it cannot be made.
    """
    folder, wanted = cache / peer, HERE / f"requirements-{peer}.txt"
    python, done = folder / "bin" / "python", folder / "installed.txt"
    if done.is_file() and done.read_text() == wanted.read_text():
        return str(python)
    print(f"making the environment of {peer} in {folder}", flush=True)
    done.unlink(missing_ok=True)
    run([sys.executable, "-m", "venv", str(folder)])
    run([str(python), "-m", "pip", "install", "-q", "--prefer-binary", "-r", str(wanted)])
    done.write_text(wanted.read_text())
    return str(python)


def run(command: list[str], **variables: str) -> str:
    """What a command printed; RuntimeError with its last line when it failed."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | variables
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise RuntimeError(f"exit code {done.returncode}: {errors[-1]}")
    return done.stdout


def limited(threads: int) -> dict[str, str]:
    """Variables for children of so many threads; they also keep to as many processor cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    wait_shortly(variables)
    return variables
