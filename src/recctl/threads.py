"""How a training's threads wait for each other: what OpenMP reads before torch starts."""

from collections.abc import MutableMapping

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def wait_shortly(environment: MutableMapping[str, str]) -> None:
    """Have a waiting thread spin for some microseconds, then sleep, unless the user chose.

    One that spins for ever makes a training several times slower beside a busy neighbour; one that
    sleeps at once makes it a quarter slower on a quiet machine (docs/experiments.md). The second
    variable is libgomp's, of torch's wheels for Linux, and goes before the first there.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
        environment.setdefault("GOMP_SPINCOUNT", "5000")
