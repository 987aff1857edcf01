"""How much this version of the data differs from the one validated before it.

A profile is what is kept of a version: how many interactions each item has. The two newest are
in one folder, which DVC keeps when the stage runs again (`persist`), so the version before
travels with git and the DVC cache. docs/decisions/0002 says why.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recctl.errors import UserError
from recctl.files import replacing

CURRENT, PREVIOUS = "current.parquet", "previous.parquet"


@dataclass(frozen=True)
class Profile:
    """What is kept of one version of the data."""

    name: str
    """The data set's name; versions of different sets are not compared."""
    users: int
    items: pd.DataFrame
    """`item_id` and `interactions`, one row per item, ordered by item_id."""

    @property
    def interactions(self) -> int:
        return int(self.items["interactions"].sum())

    @property
    def digest(self) -> str:
        """The same for the same data, whatever wrote its file; hex."""
        facts = {"name": self.name, "users": self.users, "interactions": self.interactions}
        sha = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        sha.update("\0".join(self.items["item_id"]).encode())
        sha.update(self.items["interactions"].to_numpy("<i8").tobytes())
        return sha.hexdigest()


@dataclass(frozen=True)
class Comparison:
    """This version beside the one before it, or why there is nothing to compare with."""

    previous: str | None
    """The digest of the version before."""
    reason: str | None
    """Why there is no comparison."""
    volume: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row `before`, `now`, `ratio`, in interactions; none without a comparison."""
    popularity: pd.DataFrame = field(default_factory=pd.DataFrame)
    """`item_id`, `share_before`, `share_now`, `divergence` in bits; the largest first."""


def compare(now: Profile, before: Profile | None) -> Comparison:
    """The drift between two versions of one data set; with the reason where there is none."""
    reason = _not_comparable(now, before)
    if reason is not None or before is None:
        return Comparison(None, reason)
    volume = {
        "before": [before.interactions],
        "now": [now.interactions],
        "ratio": [now.interactions / before.interactions],
    }
    return Comparison(before.digest, None, pd.DataFrame(volume), popularity(now, before))


def _not_comparable(now: Profile, before: Profile | None) -> str | None:
    if before is None:
        return "no previous version"
    if before.name != now.name:
        return f"no previous version of '{now.name}' (the one before is '{before.name}')"
    if not now.interactions or not before.interactions:
        return "no interactions to compare"
    return None


def popularity(now: Profile, before: Profile) -> pd.DataFrame:
    """Each item's part in the Jensen-Shannon divergence of the items' shares, the largest first.

    With p and q an item's shares of the interactions before and now and m = (p + q) / 2, the part
    is (p log2(p / m) + q log2(q / m)) / 2, with 0 log 0 = 0. The parts sum to the divergence in
    bits: 0 for equal shares, 1 where no item occurs in both versions. Unlike the population
    stability index it is finite for items that are new or gone. Source: Lin, Divergence Measures
    Based on the Shannon Entropy, IEEE Transactions on Information Theory 37(1), 1991, section IV.
    """
    both = before.items.merge(
        now.items, on="item_id", how="outer", suffixes=("_before", "_now")
    ).fillna({"interactions_before": 0, "interactions_now": 0})
    p = both["interactions_before"].to_numpy("float64") / before.interactions
    q = both["interactions_now"].to_numpy("float64") / now.interactions
    parts = (_weighted_log(p, (p + q) / 2) + _weighted_log(q, (p + q) / 2)) / 2
    table = pd.DataFrame(
        {"item_id": both["item_id"], "share_before": p, "share_now": q, "divergence": parts}
    )
    return table.sort_values("divergence", ascending=False, ignore_index=True)


def _weighted_log(share: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """share * log2(share / middle), 0 where share is 0."""
    ratio = np.divide(share, middle, out=np.ones_like(share), where=share > 0)
    return np.asarray(share * np.log2(ratio))


def version_before(now: Profile, folder: Path) -> Profile | None:
    """The version that was validated before this one, None where there is none.

    This version itself, validated before, is not the one before it.
    """
    current = _read(folder / CURRENT)
    if current is None or current.digest != now.digest:
        return current
    return _read(folder / PREVIOUS)


def remember(now: Profile, folder: Path) -> None:
    """Make this version the newest of `folder`, which holds the two newest."""
    before = version_before(now, folder)
    if before is not None:  # first, so that a kill in between forgets nothing
        _write(before, folder / PREVIOUS)
    _write(now, folder / CURRENT)


def _write(profile: Profile, path: Path) -> None:
    table = pa.table(
        {
            "item_id": pa.array(profile.items["item_id"], pa.string()),
            "interactions": pa.array(profile.items["interactions"], pa.int64()),
        }
    )
    facts = {"recctl.name": profile.name, "recctl.users": str(profile.users)}
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(facts), temporary, compression="zstd")


def _read(path: Path) -> Profile | None:
    if not path.exists():
        return None
    try:
        table = pq.read_table(path)
        facts = table.schema.metadata or {}
        name, users = facts[b"recctl.name"].decode(), int(facts[b"recctl.users"])
        items = pd.DataFrame(table.select(["item_id", "interactions"]).to_pandas())
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is not a profile of the data ({reason})",
            f"remove {path.parent}: the next version is then compared with none",
        ) from None
    return Profile(name, users, items)
