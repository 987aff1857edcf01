"""One list made of two, so that clicks show which of two versions a user prefers."""

import random
from collections.abc import Sequence


def team_draft(
    champion: Sequence[str], challenger: Sequence[str], k: int, rng: random.Random
) -> list[tuple[str, int | None]]:
    """At most k items, each with the list that gave it: 0, 1, or None for both.

    The lists take turns, and a coin says which begins each round; the one whose turn it is gives
    its best item that is not there yet (Radlinski, Kurup and Joachims, CIKM 2008). So a click is as
    likely to fall on either's items where neither is better, whatever the positions do. Items with
    which both lists begin say nothing about a preference and belong to neither.

    >>> team_draft(["a", "b", "c"], ["a", "c", "d"], 3, random.Random(0))
    [('a', None), ('c', 1), ('b', 0)]
    """
    found: dict[str, int | None] = {}
    for one, other in zip(champion[:k], challenger, strict=False):
        if one != other:
            break
        found[one] = None
    left, given = (iter(champion), iter(challenger)), [0, 0]
    while len(found) < k:
        turn = rng.getrandbits(1) if given[0] == given[1] else int(given[0] > given[1])
        for team in (turn, 1 - turn):  # the other one where a list has no more
            item = next((item for item in left[team] if item not in found), None)
            if item is not None:
                found[item] = team
                given[team] += 1
                break
        else:
            break
    return list(found.items())
