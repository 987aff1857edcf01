"""Items similar to one, by the version that serves."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException

from recctl import limits
from recctl.serve.batches import Batches
from recctl.serve.fields import Item, Made, items


class Similar(Made):
    """The items nearest to one, with the version and the decision by which it serves."""

    item: str
    title: str | None
    similar: list[Item]


class _Rest(Convertor[str]):
    """The rest of a path: slashes and line ends belong to an id."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def router(batches: Batches) -> APIRouter:
    """The endpoint `/similar/{item}`."""
    register_url_convertor("rest", _Rest())
    made = APIRouter()

    @made.get("/similar/{item:rest}", tags=["recommendations"])
    async def similar(
        item: str, request: Request, k: Annotated[int, Query(ge=1, le=limits.SERVED_K)] = 10
    ) -> Similar:
        """The items nearest to one, without itself."""
        answer = await batches.similar(item, k)
        if answer.unknown:
            raise HTTPException(404, f"version {answer.by.version} does not know this item")
        return Similar.by(
            answer,
            request,
            item=item,
            title=answer.by.served.vocabulary.titles.get(item),
            similar=items(answer),
        )

    return made
