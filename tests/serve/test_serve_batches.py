"""Requests that are scored together get what each would get alone."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recctl.errors import UserError
from recctl.models.popularity import Popularity
from recctl.recommend import Rules, Served
from recctl.sequences.vocabulary import Vocabulary
from recctl.serve import batches
from recctl.serve.batches import Batches, NotReady, Overloaded
from recctl.serve.champion import Loaded

ITEMS = tuple(f"i{n}" for n in range(8))


@dataclass
class Fixed:
    """A champion that stays."""

    current: Loaded | None


def served(unseen_only: bool = False) -> Served:
    counts = torch.arange(len(ITEMS), 0, -1, dtype=torch.float32)
    return Served(Popularity(counts), Vocabulary(ITEMS, (1,) * len(ITEMS)), unseen_only)


def champion(one: Served) -> Any:
    return Fixed(Loaded(7, 3, "2026-01-01T00:00:00+00:00", one))


items = st.lists(st.sampled_from([*ITEMS, "new"]), max_size=6)
rules = st.builds(
    Rules,
    k=st.integers(1, 10),
    filter_seen=st.booleans(),
    exclude=st.frozensets(st.sampled_from([*ITEMS, "new"]), max_size=4),
    among=st.none() | st.frozensets(st.sampled_from([*ITEMS, "new"]), max_size=4),
)


@given(st.lists(st.tuples(items, rules), max_size=12))
def test_each_gets_what_a_plain_loop_gives(asked: list[tuple[list[str], Rules]]) -> None:
    async def answers() -> list[batches.Answer]:
        made = Batches(champion(served()))
        task = asyncio.create_task(made.run())
        found = await asyncio.gather(*(made.answer(*one) for one in asked))
        task.cancel()
        return found

    for (history, rule), found in zip(asked, asyncio.run(answers()), strict=True):
        left = [
            item
            for item in ITEMS  # the most popular first
            if not (rule.filter_seen and item in history)
            and item not in rule.exclude
            and (rule.among is None or item in rule.among)
        ]
        assert [one.item_id for one in found.best] == left[: rule.k]
        assert found.unknown == [item for item in history if item == "new"]
        assert found.by.version == 7


def test_one_that_cannot_be_answered_leaves_the_others_alone() -> None:
    async def answers() -> list[Any]:
        made = Batches(champion(served(unseen_only=True)))
        task = asyncio.create_task(made.run())
        rules = [Rules(2, True), Rules(2, False), Rules(2, True, diversity=0.5), Rules(2, True)]
        asked = [made.answer([], one) for one in rules] + [made.similar("i0", 2)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        task.cancel()
        return found

    first, *refused, third, similar = asyncio.run(answers())
    assert (
        [one.item_id for one in first.best] == ["i0", "i1"] == [one.item_id for one in third.best]
    )
    assert [type(one) for one in [*refused, similar]] == [UserError] * 3


def test_a_failure_of_the_model_is_the_answer_and_the_next_request_is_scored() -> None:
    async def answers() -> list[Any]:
        one = champion(served())
        broken = Served(None, one.current.served.vocabulary)  # type: ignore[arg-type]
        made = Batches(one)
        task = asyncio.create_task(made.run())
        one.current = Loaded(8, 4, "", broken)
        found = [*await asyncio.gather(made.answer([], Rules(1, True)), return_exceptions=True)]
        one.current = Loaded(7, 3, "", served())
        found.append(await made.answer([], Rules(1, True)))
        one.current = None
        found += await asyncio.gather(made.answer([], Rules(1, True)), return_exceptions=True)
        task.cancel()
        return found

    failed, sound, none = asyncio.run(answers())
    assert isinstance(failed, AttributeError)
    assert sound.best[0].item_id == "i0"
    assert isinstance(none, NotReady)


def test_one_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "WAITING", 2)

    async def ends() -> list[Any]:
        made = Batches(champion(served()))
        waiting = [asyncio.create_task(made.answer([], Rules(1, True))) for _ in range(3)]
        await asyncio.sleep(0)
        task = asyncio.create_task(made.run())
        found = await asyncio.gather(*waiting, return_exceptions=True)
        task.cancel()
        return [type(one) for one in found]

    assert asyncio.run(ends()) == [batches.Answer, batches.Answer, Overloaded]


def test_who_waits_when_it_ends_is_refused() -> None:
    async def end() -> BaseException | None:
        made = Batches(champion(served()))
        task = asyncio.create_task(made.run())
        await asyncio.sleep(0)
        waiting = asyncio.create_task(made.answer([], Rules(1, True)))
        await asyncio.sleep(0)
        task.cancel()
        (found,) = await asyncio.gather(waiting, return_exceptions=True)
        return found if isinstance(found, BaseException) else None

    assert isinstance(asyncio.run(end()), NotReady)
