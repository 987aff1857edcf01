"""The `ingest` section of params.yaml: how to read the raw log."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from recctl.config import Section, Settings
from recctl.files import leads_out


def lookup_encoding(name: str) -> None:
    """ValueError where Python knows no text encoding of that name."""
    try:
        "".encode(name)
    except LookupError:
        raise ValueError(f"'{name}' is not a text encoding; use utf-8, latin-1 or cp1252") from None


Format = Literal["csv", "tsv", "parquet", "jsonl", "sequences"]
TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
Decimal = Literal[".", ","]
Anonymous = Literal["quarantine", "drop"]


class Spark(Settings):
    """Where Spark runs, if not on this machine."""

    master: str | None = None
    """Spark's master, such as `spark://host:7077` or `yarn`; null: this machine's processors."""
    remote: str | None = Field(default=None, pattern="^sc://.+")
    """A server of Spark Connect, `sc://host:15002`, instead of a master. A token is read from
    SPARK_CONNECT_AUTHENTICATE_TOKEN."""
    config: dict[str, str] = Field(default={})
    """Spark's settings, such as `spark.executor.memory: 8g`."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.master is not None and self.remote is not None:
            raise ValueError("give a master or a remote, not both")
        return self


class IngestParams(Section):
    """How to read `data/` as interactions. `recctl data use` writes it."""

    section: ClassVar[str] = "ingest"

    name: str
    """The data set's name, for reports."""
    files: list[str] = Field(min_length=1)
    """The log's files below data/, in order; plain or gzip."""
    format: Format
    """`sequences` is one `user item` per line, the order of lines being the time."""
    delimiter: str | None = None
    """Between the fields of a csv, when it is not a comma (MovieLens: `::`)."""
    columns: list[str] | None = None
    """Names of a csv's or tsv's columns when the file has no header line."""
    user_column: str = "user_id"
    """The column of users, by its exact name."""
    item_column: str = "item_id"
    """The column of items."""
    time_column: str = "timestamp"
    """The column of times."""
    weight_column: str | None = None
    """A rating or count; without it every interaction weighs the same."""
    time_unit: TimeUnit = "s"
    """Unit of a numeric time since 1970-01-01 UTC; `iso` for ISO 8601 text (UTC if no offset)."""
    time_format: str | None = None
    """The format of times, as in DuckDB's strptime; replaces `time_unit`."""
    encoding: str | None = None
    """Of a text file without a byte order mark; null: UTF-8."""
    decimal: Decimal | None = None
    """The decimal sign of a csv's weights, where they hold commas; null: plain numbers."""
    minimum_weight: float | None = None
    """Interactions that weigh less go to quarantine."""
    anonymous: Anonymous | None = None
    """Rows without a user: `drop` leaves them out on purpose, so that they do not count as bad."""
    title_column: str | None = None
    """The column of the items' titles, if the log has one."""
    items_file: str | None = None
    """A csv below data/ with the columns item_id and title, for reports and recommendations."""
    engine: Literal["duckdb", "spark"] = "duckdb"
    """The engine that runs the table expressions."""
    spark: Spark = Field(default=Spark())

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.minimum_weight is not None and self.weight_column is None:
            raise ValueError("minimum_weight needs a weight_column")
        if self.columns is not None and self.format not in ("csv", "tsv"):
            raise ValueError(f"columns name the fields of a csv or tsv, not of {self.format}")
        if self.decimal is not None and self.format not in ("csv", "tsv"):
            raise ValueError(f"decimal is of numbers in a csv or tsv, not of {self.format}")
        if self.title_column is not None and self.items_file is not None:
            raise ValueError("titles come from title_column or from items_file, not from both")
        if self.encoding is not None:
            lookup_encoding(self.encoding)
        for name in [*self.files, *([self.items_file] if self.items_file else [])]:
            if leads_out(name):
                raise ValueError(f"'{name}' is outside data/; name files in it")
        columns = (self.user_column, self.item_column, self.time_column)
        if self.format != "sequences" and len(set(columns)) < 3:
            raise ValueError("user_column, item_column and time_column must be three columns")
        return self
