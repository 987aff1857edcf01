"""A registered model's answers inside MLflow: one list of items for each history asked about.

A version carries this module's source (see package.py), so it is to import no more than serving
needs. It knows nothing of MLflow: what joins the two is the few lines of `package.ENTRY`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recctl.errors import UserError
from recctl.files import digest, read_json
from recctl.recommend import Recommendation, Served

HISTORY = "history"
PARAMS = {"k": 10, "filter_seen": True}
"""What a request may set beside its histories, and what holds otherwise."""


@dataclass(frozen=True)
class Recommendations:
    """A model folder, ready to answer."""

    served: Served

    @classmethod
    def load(cls, folder: Path, digests: Path) -> "Recommendations":
        """Read a model folder whose files are those that `digests` (JSON, name: sha256) names.

        Raises UserError when a file is missing or another. This finds damage. Whoever can change
        the folder can change the digests beside it: forgery shows against the registry's tags.
        """
        for name, expected in read_json(digests, "train").items():
            path = folder / name
            if not path.is_file():
                raise UserError(f"no {path}", "download the model version again")
            if digest(path) != expected:
                raise UserError(f"{path} is not the file registered", "download it again")
        return cls(Served.load(folder))

    def answer(self, asked: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row per row asked: item_ids, titles and scores, lists with the best first.

        `asked` is a table with the column `history`: item ids, oldest first; an empty or null one
        is a newcomer's. Items that the model does not know are left out of a history. A title is
        null where the vocabulary has none. Raises UserError for histories or params that are none,
        and for seen items of a model that learnt nothing about them.
        """
        k, filter_seen = _checked({**PARAMS, **(params or {})})
        self.served.check(filter_seen=filter_seen)
        rows = [self._row(items, k, filter_seen) for items in histories(asked)]
        return pd.DataFrame(rows, columns=["item_ids", "titles", "scores"])

    def _row(self, items: list[str], k: int, filter_seen: bool) -> list[list[Any]]:
        known, _ = self.served.known(items)
        best: list[Recommendation] = self.served.recommend(known, k, filter_seen=filter_seen)
        titles = self.served.vocabulary.titles
        return [
            [one.item_id for one in best],
            [titles.get(one.item_id) for one in best],
            [one.score for one in best],
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
    if given is None or given is pd.NA or (isinstance(given, float) and np.isnan(given)):
        return []
    if not isinstance(given, list | tuple | np.ndarray):
        raise UserError(
            f"history {place} is {given!r:.80}", 'give a list of item ids, such as ["12", "7"]'
        )
    for item in given:
        if not isinstance(item, str):
            raise UserError(f"history {place} holds {item!r:.80}", "item ids are texts")
    return [str(item) for item in given]


def _checked(params: dict[str, Any]) -> tuple[int, bool]:
    for name in params:
        if name not in PARAMS:
            raise UserError(f"unknown param '{name}'", f"known: {', '.join(PARAMS)}")
    k, filter_seen = params["k"], params["filter_seen"]
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise UserError(f"k is {k!r:.80}", "give a whole number of at least 1")
    if not isinstance(filter_seen, bool | np.bool_):
        raise UserError(f"filter_seen is {filter_seen!r:.80}", "give true or false")
    return int(k), bool(filter_seen)
