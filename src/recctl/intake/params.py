"""The `intake` section of params.yaml: the sources of new interactions.

An address with a password or a token is written as `env:NAME` and read from that environment
variable; an address that contains one is refused.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from recctl import limits
from recctl.config import Section, Settings


class Folder(Settings):
    """Files in a drop folder: *.csv, *.tsv, *.parquet, *.jsonl, text also as .gz."""

    kind: Literal["folder"]
    path: str = "incoming"
    """Relative to the project, or absolute."""


class Sql(Settings):
    """New rows of a database query."""

    kind: Literal["sql"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    """The name of its watermark: another table or column needs another name."""
    url: str
    """A SQLAlchemy URL, or `env:NAME`."""
    query: str
    """A select with the columns that `ingest` names; `:watermark` is the highest value read so far.

    Use `> :watermark` where no two rows have the same value, else `>= :watermark`: known rows are
    not stored again.
    """
    watermark: str
    """A column that grows with arrival: a serial number, or the time of insertion (`>=`)."""
    initial: int | str = 0
    """The watermark of the first query: a number, or an ISO 8601 time."""
    overlap: float = Field(default=0.0, ge=0, le=limits.OVERLAP)
    """How far below the watermark (in its units, seconds for a time) rows may still appear."""

    @field_validator("initial")
    @classmethod
    def _can_be_followed(cls, initial: int | str) -> int | str:
        if isinstance(initial, int) and abs(initial) > limits.WATERMARK:
            raise ValueError(f"it should be at most {limits.WATERMARK:,} from zero")
        if isinstance(initial, str) and len(initial) > limits.WATERMARK_TEXT:
            raise ValueError(f"it should have at most {limits.WATERMARK_TEXT:,} characters")
        return initial


class Url(Settings):
    """A file that is downloaded each time; its new rows are taken."""

    kind: Literal["url"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    address: str
    """http(s) address of a csv, tsv, parquet or jsonl file; as `env:NAME` if it contains a `?`."""


Source = Annotated[Folder | Sql | Url, Field(discriminator="kind")]


class IntakeParams(Section):
    """The sources of `recctl intake` and of every retraining."""

    section: ClassVar[str] = "intake"
    optional: ClassVar[bool] = True

    sources: list[Source] = Field(default=[])

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        names = [(src.kind, src.name) for src in self.sources if not isinstance(src, Folder)]
        for kind, name in names:
            if names.count((kind, name)) > 1:
                raise ValueError(
                    f"two sources of the kind {kind} are named '{name}' and would share a state; "
                    "give one of them another name"
                )
        return self
