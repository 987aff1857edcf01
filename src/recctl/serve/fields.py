"""Fields that bodies of several endpoints have."""

from collections import ChainMap
from typing import Annotated, Any, Self

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, StringConstraints

from recctl.serve.batches import Answer

ID = 1000
"""Characters of an id."""


def _text(given: Any) -> Any:
    """An id; a whole number is its decimal digits."""
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("is no text in UTF-8") from None
    return text


Id = Annotated[str, StringConstraints(min_length=1, max_length=ID), BeforeValidator(_text)]


class Item(BaseModel):
    """An item of a list."""

    rank: int
    item: str
    title: str | None
    score: float


class Made(BaseModel):
    """What every list says of itself: its request, and the version and decision that made it."""

    request: str
    version: int
    decision: int

    @classmethod
    def by(cls, answer: Answer, request: Request, **rest: Any) -> Self:
        """The body of an answer."""
        made_by = answer.by
        number = request.state.request
        return cls(request=number, version=made_by.version, decision=made_by.decision, **rest)


class Problem(BaseModel):
    """What is wrong, in one sentence."""

    error: str


ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": Problem, "description": "Error"}}
"""What /openapi.json says of every other answer."""


def items(answer: Answer) -> list[Item]:
    """A list with its titles."""
    made_by = [one for one in (answer.by, answer.challenger) if one is not None]
    titles = ChainMap(*(one.served.vocabulary.titles for one in made_by))
    return [
        Item(rank=one.rank, item=one.item_id, title=titles.get(one.item_id), score=one.score)
        for one in answer.best
    ]
