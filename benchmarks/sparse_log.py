"""A log as sparse as a shop's with real behaviour: short stretches of the histories of a dense log.

    python benchmarks/sparse_log.py ml-1m.txt.gz sparse.txt.gz [--mean 9] [--seed 0]

The log has a line `user item` per interaction, in time order, and so has the output:
`recctl data use amazon-beauty --from sparse.txt.gz` reads it, with the settings for sparse sets. Of
each user one stretch is kept, at a random place, of 5 items and more, `--mean` on average. Of
MovieLens 1M that leaves, after the 5-core, some 9 interactions per user and 28 per item.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

SHORTEST = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mean", type=float, default=9, help="items kept per user")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    histories: dict[str, list[str]] = {}
    with gzip.open(given.log, "rt") as log:
        for line in log:
            user, item = line.split()
            histories.setdefault(user, []).append(item)
    with gzip.open(given.out, "wt") as out:
        for user, items in histories.items():
            kept = min(len(items), SHORTEST - 1 + rng.geometric(1 / (given.mean - SHORTEST + 1)))
            first = rng.integers(len(items) - kept + 1)
            out.writelines(f"{user} {item}\n" for item in items[first : first + kept])


if __name__ == "__main__":
    main()
