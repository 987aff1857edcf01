"""The endpoints, their bodies and their errors; each answer names the version that made it."""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from recctl import __version__, limits
from recctl.errors import UserError
from recctl.recommend import Rules
from recctl.serve import direct, page, similar
from recctl.serve.batches import Batches, NotReady, Overloaded
from recctl.serve.challenger import Challenger
from recctl.serve.champion import Champion
from recctl.serve.door import Door, Passed
from recctl.serve.exposures import Exposures, Shadows
from recctl.serve.fields import ERRORS, Id, Item, Made, items
from recctl.serve.posted import Posted, add_events
from recctl.serve.writer import NotKept, running

LOG = logging.getLogger("recctl.serve")
REQUESTS = LOG.getChild("requests")
"""A line for each request."""
ITEMS = 10_000
"""Items of a history or a rule."""
DIVERSE = 100
"""Items of a diverse list."""
RETRY = {"retry-after": "1"}
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which prometheus-client adds up the figures of several processes."""


Items = Annotated[list[Id], Field(max_length=ITEMS)]


class Asked(BaseModel):
    """Who asks, by user id or by history; with neither a newcomer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user: Id | None = None
    history: Items | None = Field(None, description="Item ids, oldest first.")
    k: int = Field(10, ge=1, le=limits.SERVED_K)
    filter_seen: bool | None = Field(
        None, description="Leave out items of the history; by default as the project evaluates."
    )
    exclude: Items = Field(default=[], description="Items that are not recommended.")
    among: Items | None = Field(None, description="The only items that may be recommended.")
    diversity: float = Field(
        0.0, ge=0, le=1, description="0: the best by score; up to 1: items less like each other."
    )


class Recommended(Made):
    """A list, with the version and the decision by which it serves."""

    challenger: int | None = Field(None, description="Another version, which gave items as well.")
    newcomer: bool = Field(description="Nothing of the history is known to the model.")
    unknown: list[str] = Field(description="Items of the history that the model does not know.")
    recommendations: list[Item]


class _Now(Collector):
    """What each process says of itself; not added up."""

    def __init__(self, champion: Champion) -> None:
        self._champion = champion

    def collect(self) -> Iterator[Metric]:
        now, problem = self._champion.current, self._champion.problem
        version = now.version if now else 0
        yield GaugeMetricFamily("recctl_version", "The version that answers.", version)
        text = "1 where the champion of the log answers."
        yield GaugeMetricFamily("recctl_follows", text, float(problem is None))


class Metrics:
    """What `/metrics` shows: of all processes, where several serve."""

    def __init__(self, champion: Champion) -> None:
        self.registry, self.own = CollectorRegistry(), CollectorRegistry()
        self.requests = Counter(
            "recctl_requests", "Requests answered.", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "recctl_request_seconds",
            "Seconds from request to answer.",
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
        )
        self.own.register(_Now(champion))

    def text(self) -> str:
        """In Prometheus' text format."""
        counted = self.registry
        if SHARED in os.environ:
            counted = CollectorRegistry()
            MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
        return (generate_latest(counted) + generate_latest(self.own)).decode()


def build(
    champion: Champion,
    challenger: Challenger | None = None,
    *,
    filter_seen: bool = True,
    token: str | None = None,
    exposures: float = 0.0,
) -> FastAPI:
    """The application that answers with `champion`; with `token` only who sends it.

    `challenger` is compared with it. `exposures` is the share of the lists that are kept in the
    exposure log; interleaved ones always are.
    """
    shadows = Shadows(champion.layout, champion.say)
    batches = Batches(champion, challenger, shadows.add)
    metrics, recent = Metrics(champion), page.Recent(alone=SHARED not in os.environ)
    posted = Posted(champion.layout, metrics.registry, champion.say)
    shown = Exposures(champion.layout, exposures, metrics.registry, champion.say)

    def other() -> str | None:
        """What is wrong besides the champion: what cannot be kept, or compared."""
        kept = posted.problem or shown.problem or shadows.problem
        return kept or (challenger.problem if challenger else None)

    def passed(one: Passed) -> None:
        metrics.requests.labels(one.path, str(one.status)).inc()
        metrics.seconds.observe(one.seconds)
        recent.add(one)
        REQUESTS.info("%s", json.dumps({**vars(one), "seconds": round(one.seconds, 4)}))

    @contextlib.asynccontextmanager
    async def scoring(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(batches.run())
        async with running(posted), running(shown), running(shadows):
            yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app = FastAPI(
        title="recctl",
        version=__version__,
        lifespan=scoring,
        docs_url=None,  # its pages would load scripts from other hosts
        redoc_url=None,
    )
    app.add_middleware(Door, token=token, passed=passed)
    if token is None:  # else any page in a browser could ask, by a host name that leads here
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    _errors(app)
    app.include_router(similar.router(batches), responses=ERRORS)

    @app.post("/recommend", tags=["recommendations"], responses=ERRORS)
    async def recommend(asked: Asked, request: Request) -> Recommended:
        """The items to show next to a user, or after a history."""
        if asked.user is not None and asked.history is not None:
            raise UserError("'user' and 'history' are both given", "send one of them")
        if asked.diversity and asked.k > DIVERSE:
            raise UserError(f"'diversity' is for lists of at most {DIVERSE}", "send a lower 'k'")
        history = asked.history or []
        if asked.user is not None:
            found = champion.users.history(asked.user) if champion.users else None
            history = posted.last.history(asked.user, found)
        among = None if asked.among is None else frozenset(asked.among)
        seen = filter_seen if asked.filter_seen is None else asked.filter_seen
        rules = Rules(asked.k, seen, frozenset(asked.exclude), among, asked.diversity)
        both = challenger is not None and asked.user is not None and challenger.takes(asked.user)
        answer = await batches.answer(history, rules, both)
        shown.add(request.state.request, asked.user, answer)
        return Recommended.by(
            answer,
            request,
            challenger=answer.challenger.version if answer.challenger else None,
            newcomer=len(answer.unknown) == len(history),
            unknown=answer.unknown,
            recommendations=items(answer),
        )

    direct.put_before(app, "/recommend", Asked, recommend)
    add_events(app, posted)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def status() -> HTMLResponse:
        """The status page."""
        text = page.html(champion, recent, other())
        return HTMLResponse(text, headers={"cache-control": "no-store"})

    @app.get("/healthz", tags=["service"])
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["service"])
    async def readyz() -> JSONResponse:
        """Which version answers, and why the champion does not, where that is so."""
        now, compared = champion.current, challenger.current if challenger else None
        content: dict[str, Any] = {
            "version": now.version if now else None,
            "decision": now.decision if now else None,
            "since": now.since if now else None,
            "challenger": compared.version if compared else None,
            "problem": champion.problem or other(),
        }
        return JSONResponse(content, 200 if now else 503)

    @app.get("/metrics", tags=["service"], response_class=PlainTextResponse)
    async def show_metrics() -> PlainTextResponse:
        """Figures in Prometheus' text format."""
        return PlainTextResponse(metrics.text())

    return app


def _errors(app: FastAPI) -> None:
    """Every error is one sentence in JSON, without a traceback."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        what = str(first["msg"]).removeprefix("Value error, ")
        if first["loc"] == ("body",) or first["type"] == "json_invalid":
            place, what = "the body", "send a JSON object with 'content-type: application/json'"
        return JSONResponse({"error": f"{place}: {what[:1].lower()}{what[1:]}"[:300]}, 422)

    @app.exception_handler(UserError)
    async def refused(_: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(Overloaded)
    async def overloaded(_: Request, error: Overloaded) -> JSONResponse:
        return JSONResponse({"error": "too many requests wait: try again"}, 503, RETRY)

    @app.exception_handler(NotKept)
    async def not_kept(_: Request, error: NotKept) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 503, RETRY)

    @app.exception_handler(NotReady)
    async def not_ready(_: Request, error: NotReady) -> JSONResponse:
        return JSONResponse({"error": "no version is loaded: see /readyz"}, 503, RETRY)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail).lower()}, error.status_code)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        number = getattr(request.state, "request", "none")
        return JSONResponse({"error": f"the service failed; its log names request {number}"}, 500)
