"""A registered model's answers inside MLflow: one list of items for each history asked about.

A version carries this module's source (see package.py), so it is to import no more than serving
needs. It knows nothing of MLflow: what joins the two is the few lines of `package.ENTRY`.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from recctl.errors import UserError
from recctl.files import read_json
from recctl.limits import SERVED_K
from recctl.promotion import manifest
from recctl.recommend import Recommendation, Served

RECOMMENDER = PurePosixPath("artifacts/recommender")
"""The folder of recctl's own content in a version: the model that was judged."""
DIGESTS = PurePosixPath("artifacts/digests.json")
"""The manifest that a version carries: of every file but this one."""
HISTORY = "history"
PARAMS = {"k": 10, "filter_seen": True}
"""What a request may set beside its histories, and what holds otherwise."""
COLUMNS = ["item_ids", "titles", "scores", "unknown_ids"]


def answering(version: Path) -> Path:
    """The folder of the model that a version answers with."""
    again = version / manifest.AGAIN
    return again if again.is_dir() else version / RECOMMENDER


@dataclass(frozen=True)
class Recommendations:
    """A model folder, ready to answer."""

    served: Served

    @classmethod
    def load(cls, version: Path) -> "Recommendations":
        """Read a version whose files are those that it names in digests.json, and no other ones.

        Raises UserError when a file is missing, another, or not named. This finds damage. A
        person who can change the folder can change the digests in it; the decision finds that.
        """
        manifest.check(version, read_json(version / DIGESTS, "train"), [str(DIGESTS)])
        return cls(Served.load(answering(version)))

    def answer(self, asked: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row per row asked: item_ids, titles and scores, lists with the best first.

        `asked` is a table with the column `history`: item ids, oldest first; an empty or null one
        is a newcomer's. Items that the model does not know are left out of a history and come back
        in `unknown_ids`. A title is null where the vocabulary has none. Raises UserError for
        histories or params that are none, and for seen items of a model that learnt nothing about
        them.
        """
        k, filter_seen = _checked({**PARAMS, **(params or {})})
        self.served.check(filter_seen=filter_seen)
        rows = [self._row(items, k, filter_seen) for items in histories(asked)]
        return pd.DataFrame(rows, columns=COLUMNS)

    def _row(self, items: list[str], k: int, filter_seen: bool) -> list[list[Any]]:
        known, unknown = self.served.known(items)
        best: list[Recommendation] = self.served.recommend(known, k, filter_seen=filter_seen)
        titles = self.served.vocabulary.titles
        return [
            [one.item_id for one in best],
            [titles.get(one.item_id) for one in best],
            [one.score for one in best],
            unknown,
        ]


def histories(asked: Any) -> list[list[str]]:
    """The histories of a request; UserError where it is no table with a column `history`.

    >>> histories(pd.DataFrame({"history": [["1", "2"], None]}))
    [['1', '2'], []]
    """
    # Held against the signature, a table without the column comes without its rows as well: it
    # is an error, not a newcomer, or a misspelt name would be answered with nothing.
    if not isinstance(asked, pd.DataFrame) or HISTORY not in asked.columns:
        example = '{"dataframe_records": [{"history": ["12", "7"]}]}'
        raise UserError(f"the request has no column '{HISTORY}'", f"send it like {example}")
    return [_history(one, place) for place, one in enumerate(asked[HISTORY])]


def _history(given: Any, place: int) -> list[str]:
    if _missing(given):
        return []
    if not isinstance(given, list | tuple | np.ndarray):
        raise UserError(
            f"history {place} is {given!r:.80}", 'give a list of item ids, such as ["12", "7"]'
        )
    return [_item_id(item, place) for item in given if not _missing(item)]


def _missing(value: Any) -> bool:
    """Whether a value is null, in any of the forms that JSON, numpy and pandas have for it."""
    not_a_number = isinstance(value, float | np.floating) and np.isnan(value)
    return value is None or value is pd.NA or bool(not_a_number)


def _item_id(item: Any, place: int) -> str:
    """An item id as the vocabulary has it: a whole number is its decimal digits."""
    if isinstance(item, str):
        return str(item)
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        return str(item)
    raise UserError(f"history {place} holds {item!r:.80}", 'item ids are texts, such as "12"')


def _checked(params: dict[str, Any]) -> tuple[int, bool]:
    for name in params:
        if name not in PARAMS:
            raise UserError(f"unknown param '{name}'", f"known: {', '.join(PARAMS)}")
    k, filter_seen = params["k"], params["filter_seen"]
    whole = isinstance(k, int | np.integer) and not isinstance(k, bool)
    if not whole or not 1 <= k <= SERVED_K:
        raise UserError(f"k is {k!r:.80}", f"give a whole number from 1 to {SERVED_K:,}")
    if not isinstance(filter_seen, bool | np.bool_):
        raise UserError(f"filter_seen is {filter_seen!r:.80}", "give true or false")
    return int(k), bool(filter_seen)
