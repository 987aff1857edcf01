"""Golden requests: what the service is asked about a challenger, and what it must answer.

The lists expected are those of offline ranking. Of equal scores both put the item of the lower
index first. Scores closer than `_EQUAL` count as equal, and their items may come in either order:
histories that are scored together in other batches are rounded otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from recctl.evaluation.ranking import NO_ITEM, top_lists
from recctl.limits import SERVED_K
from recctl.recommend import Rules, Served
from recctl.sequences.store import Cases, Histories
from recctl.sequences.vocabulary import Vocabulary

USERS = 20
"""Known users that are asked for."""
_LONGEST = 10_000
"""Items of a history that the service takes."""
_LISTED = 10
_EXCLUDED = 5
_EQUAL = 1e-5
"""Of the largest score of a list."""


@dataclass(frozen=True)
class Request:
    """A history, the rules of its list, and the list."""

    what: str
    """Such as `a newcomer`."""
    history: list[str]
    rules: Rules
    scores: dict[str, float]
    """By offline ranking, of the items that may be listed, the best first; more than k of them."""

    def differs(self, answered: Sequence[str]) -> str | None:
        """Where an answer is not the list expected; None where it is."""
        expected = list(self.scores)[: self.rules.k]
        what = f"for {self.what} the service's list"
        if len(answered) != len(expected) or len(set(answered)) != len(answered):
            return f"{what} has {len(set(answered)):,} items, offline ranking's {len(expected):,}"
        near = _EQUAL * max(map(abs, self.scores.values()), default=0.0)
        for place, (one, other) in enumerate(zip(answered, expected, strict=True), start=1):
            score = self.scores.get(one)
            if score is None or abs(score - self.scores[other]) > near:
                return f"{what} has {one!r:.80} at place {place}, offline ranking's {other!r:.80}"
        return None


def requests(
    cases: Cases, vocabulary: Vocabulary, served: Served, *, filter_seen: bool
) -> list[Request]:
    """Requests of every kind, about the users of the test set and about others."""
    most = min(served.vocabulary.size, SERVED_K)
    rules = Rules(min(_LISTED, most), filter_seen)
    users = histories(cases.sample(USERS), vocabulary) or [[]]
    longest = histories(cases.select(cases.histories.lengths.argsort()[-1:]), vocabulary)
    unknown = max([*vocabulary.items, *served.vocabulary.items], key=len) + "?"
    asked = [
        *(("a known user", history, rules) for history in users),
        ("a history with unknown items", [unknown, *users[0], unknown], rules),
        ("a history of unknown items", [unknown], rules),
        ("a newcomer", [], rules),
        *(("the longest history", history[-_LONGEST:], rules) for history in longest),
        ("the whole catalogue", users[0], Rules(most, filter_seen)),
        ("excluded items", users[0], rules),
    ]
    offline = _offline(served, [history for _, history, _ in asked], most + 100, filter_seen)
    made = [Request(*one, scores) for one, scores in zip(asked, offline, strict=True)]
    return [*made[:-1], _excluding(made[-1])]


def histories(cases: Cases, vocabulary: Vocabulary) -> list[list[str]]:
    """The external ids of each case's history, oldest first."""
    return [
        [vocabulary.items[item] for item in cases.histories[row].tolist()]
        for row in range(len(cases))
    ]


def _offline(
    served: Served, asked: list[list[str]], k: int, filter_seen: bool
) -> list[dict[str, float]]:
    index, names = served.vocabulary.index, served.vocabulary.items
    known = Histories.of([[index[item] for item in served.known(one)[0]] for one in asked])
    lists, scores = top_lists(served.model, known, k, filter_seen=filter_seen)
    return [
        {names[item]: score for item, score in zip(row, values, strict=True) if item != NO_ITEM}
        for row, values in zip(lists.tolist(), scores.tolist(), strict=True)
    ]


def _excluding(request: Request) -> Request:
    """The same request without the best items of its list."""
    exclude = frozenset(list(request.scores)[:_EXCLUDED])
    rules = Rules(request.rules.k, request.rules.filter_seen, exclude)
    left = {item: score for item, score in request.scores.items() if item not in exclude}
    return Request(request.what, request.history, rules, left)
