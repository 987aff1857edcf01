"""Whether the champion fails, or is slow, where the champion before is not: on the same passes."""

import math
from dataclasses import dataclass

from recctl.promotion.judge.guardrails import FAST_MS

LEVEL = 0.001
"""The chance that a champion which does as well as the other is ever called worse."""
SLOW = 2.0
"""It counts as slow where it takes longer than the other by this factor, and FAST_MS."""


@dataclass
class Health:
    """Passes of the model that both versions took, at the same time and with the same requests."""

    champion: int
    other: int
    failed: int = 0
    slow: int = 0
    """Passes in which the champion failed, and in which it was slow; the other was neither."""
    better: int = 0
    """Passes in which it was the other way round."""

    @property
    def pair(self) -> tuple[int, int]:
        """The two versions."""
        return self.champion, self.other

    def add(self, champion: float | None, other: float | None) -> None:
        """Count a pass by the seconds that each took; None: it failed."""
        if champion is None and other is not None:
            self.failed += 1
        elif _slow(champion, other):
            self.slow += 1
        elif (other is None and champion is not None) or _slow(other, champion):
            self.better += 1

    @property
    def worse(self) -> str | None:
        """A sentence, once the champion is proven worse.

        It tests that either is the worse one with equal chances, by the likelihood ratio of a share
        drawn uniformly from 0 to 1, which exceeds 1 / LEVEL with a chance of at most LEVEL however
        often one looks (Ville's inequality).
        """
        bad, total = self.failed + self.slow, self.failed + self.slow + self.better
        ratio = math.lgamma(bad + 1) + math.lgamma(self.better + 1) - math.lgamma(total + 2)
        if bad <= self.better or ratio + total * math.log(2) < -math.log(LEVEL):
            return None
        return (
            f"version {self.champion} failed in {self.failed:,} passes and took more than "
            f"{SLOW:g} times as long in {self.slow:,}, where version {self.other} did not; the "
            f"other way round it was {self.better:,}"
        )


def _slow(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return False
    return one * 1000 > FAST_MS and one > SLOW * other
