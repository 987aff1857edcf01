"""The `intake` section of params.yaml: where new interactions come from.

What could be a secret (an address with a password or a token) is written `env:NAME` and read from
that environment variable; an address that shows one is refused.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from recctl import limits
from recctl.config import Section, Settings


class Folder(Settings):
    """Files that are dropped there: *.csv, *.tsv, *.parquet, *.jsonl, text also as .gz."""

    kind: Literal["folder"]
    path: str = "incoming"
    """Below the project or absolute."""


class Sql(Settings):
    """The rows of a query that are newer than the last ones taken."""

    kind: Literal["sql"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    """What its watermark is kept under: with another table or column it needs another name."""
    url: str
    """A SQLAlchemy URL, or `env:NAME`."""
    query: str
    """A select with the columns that `ingest` names; `:watermark` stands for the last one taken.

    `> :watermark` where no two rows have the same, else `>= :watermark`: known rows are not stored
    again.
    """
    watermark: str
    """The column that only grows with arrival: a serial number, the time of insertion (`>=`)."""
    initial: int | str = 0
    """The watermark of the first query: a number, or an ISO 8601 time."""
    overlap: float = Field(default=0.0, ge=0, le=limits.OVERLAP)
    """How far back (in the watermark's units, seconds for a time) rows may still appear."""

    @field_validator("initial")
    @classmethod
    def _can_be_followed(cls, initial: int | str) -> int | str:
        if isinstance(initial, int) and abs(initial) > limits.WATERMARK:
            raise ValueError(f"it should lie within {limits.WATERMARK:,} of zero")
        if isinstance(initial, str) and len(initial) > limits.WATERMARK_TEXT:
            raise ValueError(f"it should have at most {limits.WATERMARK_TEXT:,} characters")
        return initial


class Url(Settings):
    """A file that is fetched anew each time; of its rows those are taken that are new."""

    kind: Literal["url"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    address: str
    """http(s) address of a csv, tsv, parquet or jsonl; one with a `?` as `env:NAME`."""


Source = Annotated[Folder | Sql | Url, Field(discriminator="kind")]


class IntakeParams(Section):
    """Where `recctl intake`, and every retraining, looks for new interactions."""

    section: ClassVar[str] = "intake"
    optional: ClassVar[bool] = True

    sources: list[Source] = Field(default=[])

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        names = [(one.kind, one.name) for one in self.sources if not isinstance(one, Folder)]
        for kind, name in names:
            if names.count((kind, name)) > 1:
                raise ValueError(
                    f"two sources of the kind {kind} are named '{name}' and would share what is "
                    "remembered of each; give one of them another name"
                )
        return self
