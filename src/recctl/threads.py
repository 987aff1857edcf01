"""How a training's threads wait for each other: what OpenMP reads before torch starts."""

from collections.abc import MutableMapping

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def wait_shortly(environment: MutableMapping[str, str]) -> None:
    """Let a waiting thread spin for some microseconds, then sleep, unless the user chose otherwise.

    A thread that spins for ever makes a training several times slower on a busy machine; one that
    sleeps immediately makes it a quarter slower on a quiet one (docs/experiments.md). The second
    variable is libgomp's, which torch's wheels for Linux use, and overrides the first there.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
        environment.setdefault("GOMP_SPINCOUNT", "5000")
