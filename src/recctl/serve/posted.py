"""What users did, sent to `POST /events`: kept for the next intake, in histories at once."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    Tag,
)

from recctl import journal, limits
from recctl.data.params import IngestParams
from recctl.data.values import LARGEST, wrong_id
from recctl.errors import UserError
from recctl.intake.params import Folder, IntakeParams
from recctl.journal import Row
from recctl.layout import Layout
from recctl.serve.fields import ERRORS, Id
from recctl.serve.last_events import ALL, LastEvents
from recctl.serve.writer import Writer
from recctl.validation.params import ValidateParams, utc

WAITING = 20 * limits.SERVED_EVENTS
"""Events that may wait to be written."""
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
"""An earlier time is that of a clock that was not set."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _good(text: str) -> str:
    """An id that ingest would keep as it is."""
    if wrong := wrong_id(text):
        raise ValueError(wrong)
    return text


def _time(given: Any) -> Any:
    try:
        return given if given is None else utc(given)
    except (ValueError, OverflowError, TypeError):
        raise ValueError("is no ISO 8601 time such as 2026-11-29T10:00:00Z") from None


GoodId = Annotated[Id, AfterValidator(_good)]


class Event(BaseModel):
    """A user met an item."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user: GoodId
    item: GoodId
    time: Annotated[AwareDatetime | None, BeforeValidator(_time)] = Field(
        None, description="ISO 8601, UTC without an offset; by default now."
    )
    weight: FiniteFloat | None = Field(None, description="Needed where the log has weights.")
    request: Id | None = Field(None, description="The `request` of the answer that showed it.")


def _kind(body: Any) -> str:
    return "events" if isinstance(body, list) else "event"


Several = Annotated[list[Event], Field(min_length=1, max_length=limits.SERVED_EVENTS)]
Body = Annotated[
    Annotated[Event, Tag("event")] | Annotated[Several, Tag("events")], Discriminator(_kind)
]


class Taken(BaseModel):
    """The events are on disk."""

    taken: int


class Posted(Writer):
    """The events of this service's clients, on disk for the intake and in memory for histories."""

    def __init__(
        self, layout: Layout, registry: CollectorRegistry, say: Callable[[str], None]
    ) -> None:
        super().__init__(journal.events(layout), WAITING, say)
        self._ingest = IngestParams.load(layout.params)
        self._validate = ValidateParams.load(layout.params)
        self.last = LastEvents(self._ingest.minimum_weight)
        self._taken = Counter("recctl_events", "Events taken.", registry=registry)
        self._mark = journal.mark(layout)
        self._read_at: int | None = None
        self._news = journal.News(self.journal)
        sources = IntakeParams.load(layout.params).sources
        folders = [layout.root / one.path for one in sources if isinstance(one, Folder)]
        self._untaken = self.journal.folder not in folders

    async def take(self, body: Event | list[Event]) -> int:
        """How many events there are, when all are on disk.

        Raises UserError for one that ingest or validate would not accept, Overloaded and NotKept.
        """
        rows = list(self._checked(body))
        written = self.put(rows, len(rows))
        self.soon()
        await written
        self._taken.inc(len(rows))
        if self._untaken:
            self._untaken = False
            self._say(
                "events are kept, but no intake takes them: add '{kind: folder, path: "
                ".recctl/served/events}' to intake.sources in params.yaml"
            )
        return len(rows)

    def _checked(self, body: Event | list[Event]) -> Iterator[Row]:
        if self._ingest.format == "sequences":
            raise UserError(
                "a log of format 'sequences' has no times, so nothing can be added to it",
                "use a log with times",
            )
        now = datetime.now(UTC)
        events = (
            {f"events.{at}": event for at, event in enumerate(body)}
            if isinstance(body, list)
            else {"event": body}
        )
        for place, event in events.items():
            time = event.time or now
            if wrong := self._wrong(event, time, now):
                raise UserError(f"{place}.{wrong}")
            us = (time - _EPOCH) // timedelta(microseconds=1)
            yield event.user, event.item, us, event.weight, event.request

    def _wrong(self, event: Event, time: datetime, now: datetime) -> str | None:
        """Why ingest would set an event aside, or validate stop because of it."""
        rules, weight = self._validate, event.weight
        ahead = rules.future_tolerance_hours
        earliest = max(EARLIEST, rules.earliest or EARLIEST)
        least = -LARGEST if rules.weight.minimum is None else rules.weight.minimum
        most = LARGEST if rules.weight.maximum is None else rules.weight.maximum
        if time < earliest:
            return f"time: is before {earliest:%Y-%m-%d}"
        if time > now + timedelta(hours=ahead):
            return f"time: is more than {ahead:g} hours in the future"
        if (weight is None) != (self._ingest.weight_column is None):
            return "weight: is missing" if weight is None else "weight: the log has no weights"
        if weight is not None and not least <= weight <= most:
            return f"weight: is not between {least:g} and {most:g}"
        return None

    def write(self, groups: list[list[Row]]) -> None:
        super().write(groups)
        for rows in groups:
            self.last.add(rows)

    async def step(self) -> None:
        await super().step()
        await self._try(self._read if self._read_at != self._marked() else self._follow)

    def _marked(self) -> int:
        """When a user was forgotten last, of whom nothing may stay in memory."""
        return self._mark.stat().st_mtime_ns if self._mark.exists() else 0

    def _follow(self) -> None:
        """Take over what other processes were sent."""
        self.last.add(self._news.rows())

    def _read(self) -> None:
        """Read the newest events again, as many as are kept."""
        now, found, count = self._marked(), list[list[Row]](), 0
        self.journal.finish()
        self._news = journal.News(self.journal)
        for path in reversed(self.journal.files()):
            found.append(journal.read_events(path))
            count += len(found[-1])
            if count >= ALL:
                break
        last = LastEvents(self._ingest.minimum_weight)
        for rows in reversed(found):
            last.add(rows)
        self.last, self._read_at = last, now


def add_events(app: FastAPI, posted: Posted) -> None:
    """The endpoint."""

    @app.post("/events", tags=["events"], status_code=202, responses=ERRORS)
    async def post_events(body: Body) -> Taken:
        """What users did. The answer comes when all of it is on disk; a repeat counts once."""
        return Taken(taken=await posted.take(body))
