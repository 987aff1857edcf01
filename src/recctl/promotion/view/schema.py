"""What `--json` prints: every output of promotion's commands, in types and words.

The commands print plain dicts; these models say what is in them. `docs/decision.schema.json` is
generated from here (`python -m recctl.promotion.view.schema`) and a test holds the two together.
Every output is an object with `schema` (1) and `output`, which names its kind. New keys may appear
within a schema's number; a key that changes its meaning or goes raises the number.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from recctl.promotion.judge.decision import Verdict
from recctl.promotion.judge.gate import Outcome
from recctl.promotion.ledger.log import SCHEMA, Entry
from recctl.render.text import echo_json

Means = dict[str, dict[str, float | None]]
"""By model, by metric; null where a model's ranks were no numbers."""


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="ignore", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Gate(_Part):
    """One row of a decision: a rule, what it looked at, and what came of it."""

    gate: str
    """The policy's key: primary, floors, baselines, slices, guardrails, suspicious_gain, ratchet,
    convergence, leak, first_model; `evidence` for what cannot be judged at all."""
    name: str
    """What was looked at, such as `ndcg@10` or `history length: short`."""
    outcome: Outcome
    """`shown` decides nothing, such as a slice with too few users."""
    reason: str
    """One sentence for people."""
    challenger: float | None = None
    """The challenger's figure."""
    reference: float | None = None
    """The figure it is held against: the champion's, a baseline's, the best version's."""
    difference: float | None = None
    """challenger - reference."""
    low: float | None = None
    """Lower end of the 95% interval of the difference."""
    high: float | None = None
    """Upper end of the 95% interval of the difference."""
    threshold: float | None = None
    """What the deciding figure had to exceed, or not to exceed; the reason says which."""
    p_value: float | None = None
    """Of the difference, by a sign-flip randomisation test; a slice's: of a loss of the margin."""
    users: int | None = None
    """How many users the figures are means over."""
    details: dict[str, float | None] = {}
    """More figures by name: effect_size, resolvable, p_holm."""


class Contender(_Part):
    """A model that takes part."""

    version: int | None
    """Its version in the registry; null: the workspace's model, not registered."""
    digest: str
    """sha256 over the model's own files."""
    model: str
    """Its type, such as bert4rec."""
    manifest: str | None = None
    """sha256 of the version's list of files (path, size and sha256 of each); null: not registered,
    or decided upon by a recctl that vouched for the model's own files only."""


class Aliases(_Part):
    """The versions that the aliases point to; null: no such alias."""

    champion: int | None
    """The version that serves."""
    previous: int | None
    """The champion before it."""
    best: int | None
    """The best version ever promoted."""


class Figures(_Part):
    """Means over today's test users."""

    full: Means
    """Over today's whole catalogue; the gates use these."""
    common: Means = {}
    """Over the items that both models know."""


class Lineage(_Part):
    """What the challenger and today's test set come from."""

    commit: str | None = None
    """git's, of the project."""
    dirty: str | None = None
    """`true` where the work tree held uncommitted changes; `none` where there is no git."""
    data_md5: str | None = None
    """DVC's digest of the raw data."""
    split_fingerprint: str | None = None
    """Of the split protocol and what it was made of."""
    evaluation_fingerprint: str | None = None
    """Of the protocol and its data; two numbers with different ones are never compared."""


class EvidenceFiles(_Part):
    """Where the evidence lies."""

    run_id: str | None
    """The MLflow run that keeps it."""
    files: dict[str, str]
    """Name and sha256 of each file."""


class Body(_Part):
    """A decision exactly as the log keeps it; its canonical JSON is what the digest is taken of."""

    schema_: Literal[1] = Field(alias="schema")
    previous: str | None = None
    """The digest of the entry in force before this one; null for the first."""
    nonce: str | None = None
    """A random word that makes the digest of every entry its own."""
    kind: Literal["promotion", "rollback", "recovery", "comparison"]
    """A comparison is never kept in the log."""
    rules: int | None = None
    """Which rules judged; null where nothing was judged. Later rules may judge otherwise."""
    verdict: Verdict | None
    """What came of it; null for a comparison, and for a rollback or recovery that was done."""
    sentence: str
    """The verdict's reason in one sentence for people."""
    time: str
    """ISO 8601, UTC."""
    who: str
    """user@host"""
    forced: bool = False
    """Whether a person overrode the verdict, or rolled back to what never served, by --force."""
    reason: str | None = None
    """What a person gave as the reason; always there where forced and for a rollback."""
    approved_by: str | None = None
    """Who said that the version may serve; null where nothing moves or nobody was asked."""
    registered_model: str
    """The model's name in MLflow's registry."""
    saw: Aliases | None = None
    """The aliases when the decision was taken."""
    sets: Aliases | None = None
    """The aliases after it; null: nothing moves."""
    challenger: Contender | None = None
    champion: Contender | None = None
    """null where no champion served."""
    best: Contender | None = None
    """The best version ever promoted; null where it is the champion or there is none."""
    users: int | None = None
    """Test users."""
    catalogue: int | None = None
    """Items of today's catalogue."""
    common_catalogue: int | None = None
    """Items that both models know."""
    means: Figures | None = None
    gates: list[Gate] = []
    policy: dict[str, Any] | None = None
    """The promotion section of params.yaml, defaults filled in."""
    lineage: Lineage | None = None
    evidence: EvidenceFiles | None = None
    acknowledges: list[str] = []
    """Breaks of the log that whoever took this decision knew of and accepted."""
    key: str | None = None
    """Which data, settings and code were judged, as one hash; a retraining does it once."""


class HistoryRow(_Part):
    """An entry of the log with its place in it."""

    position: int
    """The decision's id: the entry's version number in the registry."""
    state: Literal["pending", "done", "undone"]
    """`done`: the aliases follow it; `pending`: not yet; `undone`: they never will."""
    in_force: bool
    """false: void, another decision came first, nobody acts on it."""
    digest: str
    """sha256 of the body's canonical JSON."""
    body: Body | None
    """null where it cannot be read: it was altered, or recctl did not write it."""


class ModelVersion(_Part):
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


class Check(_Part):
    """One thing that `recctl verify` looked at."""

    name: str
    """What was looked at."""
    ok: bool
    """Whether it is as it must be."""
    detail: str
    """What was found, in plain words; where not ok, what is wrong and what to do."""


class _Output(_Part):
    schema_: Literal[1] = Field(alias="schema")


class DecisionOutput(_Output):
    """`recctl promote --json`, `rollback --json`, `explain --json`."""

    output: Literal["decision"]
    position: int | None
    """The decision's id in the log; null: not kept (--dry-run, or nothing to do)."""
    state: Literal["pending", "done", "undone"] | None
    """As in the history; null where it is not kept."""
    in_force: bool | None
    """As in the history; null where it is not kept."""
    digest: str | None
    """As in the history; null where it is not kept."""
    exit_code: int
    """0 promoted, would be, or nothing to do; 2 refused; 3 rejected; 4 suspicious; 5 stale."""
    note: str | None
    """A sentence beside the decision: why there is none (the champion is this very model), what
    forcing it overrode, or, from `explain`, whether the evidence gives the same decision."""
    decision: Body | None


class ComparisonOutput(_Output):
    """`recctl compare --json`."""

    output: Literal["comparison"]
    comparison: Body


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
    """What promotion's commands print with --json: one of these, told apart by `output`."""


# --- what the commands print


def history_row(entry: Entry, in_force: bool) -> dict[str, Any]:
    """An entry of the log as a row of `recctl history`."""
    return {
        "position": entry.position,
        "state": entry.state,
        "in_force": in_force,
        "digest": entry.digest,
        "body": entry.content if readable(entry) else None,
    }


def readable(entry: Entry) -> bool:
    """Whether an entry's body is one, with all that is shown of it."""
    try:
        Body.model_validate(entry.content)
    except ValidationError:
        return False
    return True


def decision_output(
    body: dict[str, Any] | None,
    exit_code: int,
    row: dict[str, Any] | None = None,
    note: str | None = None,
) -> dict[str, Any]:
    """A decision for `--json`; `row` is its place in the log (`history_row`) where it is kept."""
    place = {key: (row or {}).get(key) for key in ("position", "state", "in_force", "digest")}
    return _output("decision", **place, exit_code=exit_code, note=note, decision=body)


def comparison_output(body: dict[str, Any]) -> dict[str, Any]:
    """A comparison for `--json`."""
    return _output("comparison", comparison=body)


def history_output(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The log for `--json`."""
    return _output("history", rows=rows)


def verification_output(checks: list[dict[str, Any]]) -> dict[str, Any]:
    """What `recctl verify` found, for `--json`."""
    return _output("verification", consistent=all(one["ok"] for one in checks), checks=checks)


def versions_output(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Registered versions for `--json`."""
    return _output("versions", versions=rows)


def _output(kind: str, **content: Any) -> dict[str, Any]:
    return {"schema": SCHEMA, "output": kind, **content}


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
