"""Recommendations and similar items; a model folder is enough, a user's id needs the sequences."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from recctl.errors import UserError
from recctl.evaluation.ranking import NO_ITEM, top_items, without_seen
from recctl.models import load_model
from recctl.models.base import LEAST, Counted, Recommender, read_settings
from recctl.sequences.store import Histories, SequenceData
from recctl.sequences.vocabulary import COLD, Vocabulary

_AT_ONCE = 256
"""Histories that are scored together."""
_CANDIDATES = 5
"""Of a diverse list, for each of its items."""


@dataclass(frozen=True)
class Recommendation:
    """One recommended item; rank 1 comes first."""

    rank: int
    item_id: str
    score: float


@dataclass(frozen=True)
class Rules:
    """What holds for one list."""

    k: int
    filter_seen: bool
    exclude: frozenset[str] = frozenset()
    among: frozenset[str] | None = None
    """The only items that may be recommended; None: all."""
    diversity: float = 0.0
    """0: the best by score; up to 1: the less the items of a list may be similar."""

    @property
    def candidates(self) -> int:
        """How many of the best items the list is chosen from."""
        return self.k * _CANDIDATES if self.diversity else self.k


@dataclass(frozen=True)
class Served:
    """A model that can recommend: its weights and the names of its items."""

    model: Recommender
    vocabulary: Vocabulary
    unseen_only: bool = False
    """It learnt to rank what a user has not seen; its scores of seen items mean nothing."""

    @classmethod
    def load(cls, folder: Path, device: torch.device | None = None) -> "Served":
        """Read a model folder, by default onto the CPU, where one request is answered soonest.

        Raises UserError when the folder or a file of it is missing, damaged or of another model.
        """
        if not folder.is_dir():
            raise UserError(f"no model folder {folder}", "train one: 'dvc repro train'")
        model = load_model(folder, device or torch.device("cpu"))
        vocabulary = Vocabulary.load(folder / "vocabulary.json", "train")
        if vocabulary.size != model.n_items:
            raise UserError(
                f"{folder} holds a model of {model.n_items} items and a vocabulary of "
                f"{vocabulary.size}",
                "restore the folder whole: 'dvc checkout', or train again: 'dvc repro -f train'",
            )
        return cls(model, vocabulary, _unseen_only(folder, model))

    def check(self, *, filter_seen: bool, diversity: float = 0.0) -> None:
        """Raise UserError for rules that the model cannot keep.

        Seen items by scores that mean nothing; diversity by a model without pairs of items.
        """
        if diversity:
            self.model.similar(0, torch.tensor([0]))
        if self.unseen_only and not filter_seen:
            raise UserError(
                "this model was trained to rank what a user has not seen: its scores of seen items "
                "mean nothing",
                "leave seen items out (filter_seen), or train with 'evaluate.filter_seen: false'",
            )

    def leaves_out_seen(self, filter_seen: bool) -> bool:
        """Whether a ranking shows what it serves without seen items, whatever is asked for."""
        return filter_seen or self.unseen_only

    def known(self, item_ids: Sequence[str]) -> tuple[list[str], list[str]]:
        """The items that training saw and those it did not, each in the order given."""
        index = self.vocabulary.index
        unknown = [item for item in item_ids if item not in index]
        return [item for item in item_ids if item in index], unknown

    def recommend(
        self, item_ids: Sequence[str], k: int, *, filter_seen: bool
    ) -> list[Recommendation]:
        """The k items to recommend after a history (oldest first), fewer if there are no more.

        The same scores and seen filter that evaluation ranks with (which counts equal scores
        against the model, where this list has to choose an order). All `item_ids` must be
        known; an empty history is allowed.
        """
        return self.recommend_each([item_ids], k, filter_seen=filter_seen)[0]

    def recommend_each(
        self,
        histories: Sequence[Sequence[str]],
        k: int,
        *,
        filter_seen: bool,
        exclude: Collection[str] = (),
        among: Collection[str] | None = None,
    ) -> list[list[Recommendation]]:
        """`recommend` for each history, without the items `exclude` and `among` others alone."""
        rules = Rules(
            k, filter_seen, frozenset(exclude), None if among is None else frozenset(among)
        )
        return self.answer([(history, rules) for history in histories])

    def answer(self, asked: Sequence[tuple[Sequence[str], Rules]]) -> list[list[Recommendation]]:
        """The best items for each history by its own rules, scored `_AT_ONCE` at a time."""
        found = []
        for first in range(0, len(asked), _AT_ONCE):
            found += self._answer(asked[first : first + _AT_ONCE])
        return found

    def _answer(self, asked: Sequence[tuple[Sequence[str], Rules]]) -> list[list[Recommendation]]:
        index = self.vocabulary.index
        histories = Histories.of([[index[item] for item in history] for history, _ in asked])
        with torch.inference_mode():
            scores = self.model.score(histories)
            unseen = without_seen(scores, histories)
            filtered = torch.tensor([rules.filter_seen for _, rules in asked])
            scores = torch.where(filtered[:, None].to(scores.device), unseen, scores)
            for row, (_, rules) in enumerate(asked):
                if rules.among is not None:
                    allowed = torch.full_like(scores[row], -torch.inf)
                    at = [index[item] for item in rules.among if item in index]
                    allowed[at] = scores[row, at]
                    scores[row] = allowed
                if excluded := [index[item] for item in rules.exclude if item in index]:
                    scores[row, excluded] = -torch.inf
            best = top_items(scores, max((rules.candidates for _, rules in asked), default=1))
            values = scores.gather(1, best.clamp(min=0)).tolist()
            lists = [
                self._listed(row[: rules.candidates], each[: rules.candidates])
                for row, each, (_, rules) in zip(best.tolist(), values, asked, strict=True)
            ]
            return [
                self._diverse(best, rules) if rules.diversity and best else best
                for best, (_, rules) in zip(lists, asked, strict=True)
            ]

    def _diverse(self, best: list[Recommendation], rules: Rules) -> list[Recommendation]:
        """k of them by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

        Next comes the item with the most of (1 - diversity) * relevance - diversity * similarity:
        relevance is the score, from 0 to 1 among `best`; similarity, 0 at least, that to the most
        similar item before it.
        """
        items = torch.tensor([self.vocabulary.index[one.item_id] for one in best])
        scores = torch.tensor([one.score for one in best])
        relevance = (scores - scores.min()) / (scores.max() - scores.min()).clamp(min=LEAST)
        similarity = torch.zeros(len(best))
        chosen: list[int] = []
        while len(chosen) < min(rules.k, len(best)):
            worth = (1 - rules.diversity) * relevance - rules.diversity * similarity
            worth[chosen] = -torch.inf
            chosen.append(int(worth.argmax()))
            near = self.model.similar(int(items[chosen[-1]]), items).cpu()
            similarity = torch.maximum(similarity, near)
        return [replace(best[at], rank=rank) for rank, at in enumerate(chosen, start=1)]

    def similar(self, item_id: str, k: int) -> list[Recommendation]:
        """The k items nearest to one, without itself; fewer where the model says no more.

        Raises UserError for an unknown item, and for a model that says nothing about pairs of
        items.
        """
        item = self.vocabulary.index.get(item_id)
        if item is None:
            raise UserError(f"the model does not know the item '{item_id}'")
        with torch.inference_mode():
            scores = self.model.similar(item)
            scores[item] = -torch.inf
            best = top_items(scores[None], k)[0]
            values = scores[best.clamp(min=0)]
        return self._listed(best.tolist(), values.tolist())

    def _listed(self, best: list[int], scores: list[float]) -> list[Recommendation]:
        items = self.vocabulary.items
        return [
            Recommendation(rank, items[item], score)
            for rank, (item, score) in enumerate(zip(best, scores, strict=True), start=1)
            if item != NO_ITEM
        ]


def _unseen_only(folder: Path, model: Recommender) -> bool:
    about = read_settings(folder).get("about")
    params = about.get("params") if isinstance(about, dict) else None
    filtered = isinstance(params, dict) and params.get("filter_seen") is True
    return filtered and not isinstance(model, Counted)  # counts do not depend on it


@dataclass(frozen=True)
class UserHistory:
    """What is known of a user."""

    item_ids: list[str]
    """Oldest first, cold items too."""
    times: list[int] = field(default_factory=list)
    """Of each of `item_ids`, microseconds since 1970; empty where they are unknown."""


class Users:
    """The histories of all users, by external id, from what sequence-split wrote."""

    def __init__(self, sequences: Path) -> None:
        self._data = SequenceData.load(sequences)
        self._places = {user_id: place for place, user_id in enumerate(self._data.user_ids)}

    def history(self, user_id: str) -> UserHistory | None:
        """All of a user's items in time order; None for a user who is not there."""
        place = self._places.get(user_id)
        if place is None:
            return None
        data = self._data
        own = slice(data.offsets[place], data.offsets[place + 1])
        known = data.all_items[own] != COLD
        names = [data.all_ids[item] for item in data.all_items[own][known].tolist()]
        return UserHistory(names, data.times[own][known].tolist())


def user_histories(sequences: Path, user_ids: Sequence[str]) -> dict[str, UserHistory]:
    """The histories of some users; UserError when one of them is not there."""
    users = Users(sequences)
    histories = {}
    for user_id in user_ids:
        found = users.history(user_id)
        if found is None:
            raise UserError(
                f"no user '{user_id}' in {sequences}",
                "users with fewer interactions than sequence-split.minimum_user_interactions are "
                "left out: recommend for them with --history ITEM,ITEM,...",
            )
        histories[user_id] = found
    return histories
