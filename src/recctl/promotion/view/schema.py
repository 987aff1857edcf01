"""What `--json` prints: every output of promotion's commands, in types and words.

`docs/decision.schema.json` is generated from here (`python -m recctl.promotion.view.schema`) and a
test holds the two together. Every output is an object with `schema` (1) and `output`, which names
its kind. New keys may appear within a schema's number; a key that changes its meaning or goes
raises the number.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from recctl.promotion.judge.record import SCHEMA, DecisionRecord, Part
from recctl.render.text import echo_json

State = Literal["pending", "done", "undone"]


class HistoryRow(Part):
    """An entry of the log with its place in it."""

    position: int
    """The decision's id: the entry's version number in the registry."""
    state: State
    """`done`: the aliases follow it; `pending`: not yet; `undone`: they never will."""
    in_force: bool
    """false: void; another decision came first and this one has no effect."""
    digest: str
    """sha256 of the body's canonical JSON."""
    body: DecisionRecord | None
    """null where it cannot be read: it was altered, or recctl did not write it."""


class ModelVersion(Part):
    """A registered version of the model."""

    version: int
    """Its number in the registry."""
    model: str
    """Its type, such as bert4rec."""
    aliases: list[str]
    """Of champion, previous, best."""
    digest: str
    """sha256 over the model's own files."""
    registered: str
    """ISO 8601, UTC."""
    data_md5: str | None = None
    """DVC's digest of the raw data it was trained on."""
    commit: str | None = None
    """git's, of the project that trained it."""
    dirty: str | None = None
    """`true` where the work tree held uncommitted changes; `none` where there is no git."""
    split_fingerprint: str | None = None
    """Of the split it was trained on."""
    run_id: str | None = None
    """The MLflow run that trained it."""
    decision: int | None = None
    """The newest decision that judged it."""
    files: dict[str, str] | None = None
    """Relative path and sha256 of every file."""


class Check(Part):
    """One thing that `recctl verify` looked at."""

    name: str
    """What was looked at."""
    ok: bool
    """Whether it is as it must be."""
    detail: str
    """The result; where not ok, what is wrong and what to do."""


class _Output(Part):
    schema_: Literal[1] = Field(alias="schema")


class DecisionOutput(_Output):
    """`recctl promote --json`, `rollback --json`, `explain --json`."""

    output: Literal["decision"]
    position: int | None
    """The decision's id in the log; null: not kept (--dry-run, or nothing to do)."""
    state: State | None
    """As in the history; null where it is not kept."""
    in_force: bool | None
    """As in the history; null where it is not kept."""
    digest: str | None
    """As in the history; null where it is not kept."""
    exit_code: int
    """0 promoted, would be, or nothing to do; 2 refused; 3 rejected; 4 suspicious; 5 stale;
    6 provisional."""
    note: str | None
    """A sentence beside the decision: why there is none (the champion is this very model), what
    forcing it overrode, or, from `explain`, whether the evidence gives the same decision."""
    decision: DecisionRecord | None


class ComparisonOutput(_Output):
    """`recctl compare --json`."""

    output: Literal["comparison"]
    comparison: DecisionRecord


class HistoryOutput(_Output):
    """`recctl history --json`."""

    output: Literal["history"]
    rows: list[HistoryRow]
    """By position."""


class VerificationOutput(_Output):
    """`recctl verify --json`."""

    output: Literal["verification"]
    consistent: bool
    """Whether every check is ok."""
    checks: list[Check]


class VersionsOutput(_Output):
    """`recctl models list --json` and `models show --json`."""

    output: Literal["versions"]
    versions: list[ModelVersion]


class Output(
    RootModel[
        Annotated[
            DecisionOutput | ComparisonOutput | HistoryOutput | VerificationOutput | VersionsOutput,
            Field(discriminator="output"),
        ]
    ]
):
    """What promotion's commands print with --json: one of these, named by `output`."""


def output(kind: str, **fields: Any) -> dict[str, Any]:
    """An output for `--json`; `kind` names it."""
    made = Output.model_validate({"schema": SCHEMA, "output": kind, **fields})
    content: dict[str, Any] = made.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return content


def decision_output(
    record: DecisionRecord | None,
    exit_code: int,
    row: HistoryRow | None = None,
    note: str | None = None,
) -> dict[str, Any]:
    """A decision for `--json`; `row` is its place in the log where it is kept."""
    place = {key: getattr(row, key, None) for key in ("position", "state", "in_force", "digest")}
    return output("decision", **place, exit_code=exit_code, note=note, decision=record)


def document() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of every output."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:recctl:promotion:1",
        **Output.model_json_schema(),
        "title": "What recctl's promotion commands print with --json, schema 1",
    }


if __name__ == "__main__":
    echo_json(document())
