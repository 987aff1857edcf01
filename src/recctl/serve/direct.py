"""A route in front of FastAPI's, for the requests that come by the thousand.

FastAPI reads, checks and writes a body in Python, which takes as long as the rest of an answer.
Pydantic does the same from bytes to bytes; FastAPI's route stays as the description of it.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.routing import Route

Asked = TypeVar("Asked", bound=BaseModel)


def put_before(
    app: FastAPI,
    path: str,
    asked: type[Asked],
    endpoint: Callable[[Asked, Request], Awaitable[BaseModel]],
) -> None:
    """Answer POST requests to a path of `app` by its endpoint directly."""

    async def answer(request: Request) -> Response:
        request.scope["route"] = route
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestValidationError([{"loc": ("body",), "type": "json_type", "msg": ""}])
        try:
            body = asked.model_validate_json(await request.body())
        except ValidationError as error:
            errors = error.errors(include_url=False)
            raise RequestValidationError(
                [{**one, "loc": ("body", *one["loc"])} for one in errors]
            ) from None
        found = await endpoint(body, request)
        return Response(found.model_dump_json(), media_type="application/json")

    route = Route(path, answer, methods=["POST"])
    app.router.routes.insert(0, route)
