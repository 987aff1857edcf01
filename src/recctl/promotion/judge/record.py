"""The record of a decision: what the log keeps of it for good; tables and pages show it.

Every kind of decision has the same keys. The log stores the record's canonical JSON, and the
digests of its chain are taken of that: a record that was read is written again byte for byte.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from recctl.promotion.judge.gate import KEPT, Gate

SCHEMA = 1
"""Of a record; raise it when a key changes its meaning."""

Verdict = Literal["promoted", "provisional", "rejected", "suspicious", "refused", "stale"]
Kind = Literal["promotion", "rollback", "recovery", "comparison", "forget"]
Retire = Literal["never", "next-promotion", "now"]
Means = dict[str, dict[str, float | None]]
"""By model, by metric; null where a model's ranks were no numbers."""


class Part(BaseModel):
    """A part of a record, or of what the commands print; keys of a newer recctl are kept."""

    model_config = ConfigDict(**KEPT, extra="allow", frozen=True)

    def content(self) -> dict[str, Any]:
        """The keys that were set, as JSON has them."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def but(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        unknown = changes.keys() - type(self).model_fields.keys()
        assert not unknown, f"no such fields: {unknown}"
        return self.model_copy(update=changes)


class Contender(Part):
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


class Aliases(Part):
    """The versions that the aliases point to; null: no such alias."""

    champion: int | None
    """The version that serves."""
    previous: int | None
    """The champion before it."""
    best: int | None
    """The best version ever promoted."""


class Figures(Part):
    """Means over today's test users."""

    full: Means
    """Over today's whole catalogue; the gates use these."""
    common: Means = {}
    """Over the items that both models know."""
    deviations: Means = {}
    """Standard deviations over the users, of `full`; decisions before 0.2.0 have none."""


class Lineage(Part):
    """What the challenger and today's test set come from."""

    commit: str | None = None
    """git's, of the project."""
    dirty: str | None = None
    """`true` where the work tree held uncommitted changes; `none` where there is no git."""
    data_md5: str | None = None
    """DVC's digest of the raw data."""
    data_until: str | None = None
    """The newest interaction's time, ISO 8601, UTC; null where the log has no real times."""
    split_fingerprint: str | None = None
    """Of the split protocol and what it was made of."""
    evaluation_fingerprint: str | None = None
    """Of the protocol and its data; two numbers with different ones are never compared."""


class EvidenceFiles(Part):
    """Where the evidence is."""

    run_id: str | None
    """The MLflow run that keeps it."""
    files: dict[str, str]
    """Name and sha256 of each file."""


class Erased(Part):
    """What forgetting users took from the evidence of a decision."""

    users: int
    """Rows that were erased."""
    files: dict[str, str]
    """Name and sha256 of each file as it is since."""


class DecisionRecord(Part):
    """A decision exactly as the log keeps it; its canonical JSON is what the digest is taken of."""

    schema_: Literal[1] = Field(alias="schema")
    previous: str | None = None
    """The digest of the entry in force before this one; null for the first."""
    nonce: str | None = None
    """A random word that makes the digest of every entry its own."""
    kind: Kind
    """A comparison is never kept in the log; `forget`: users were erased from evidence."""
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
    """Who said that the version may serve; null where nothing moves or no person was asked."""
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
    """Damage to the log that was known and accepted when this decision was taken."""
    key: str | None = None
    """Which data, settings and code were judged, as one hash; a retraining does it once."""
    erased: dict[str, Erased] = {}
    """By decision the users erased from its evidence; only where users were forgotten."""
    trained: list[int] = []
    """The versions that were trained on users who were forgotten."""
    retire: Retire | None = None
    """When these versions may no longer serve; null in entries of other kinds."""

    @property
    def champion_before(self) -> int | None:
        """The version that served when the decision was taken."""
        return self.saw.champion if self.saw else None

    def of(self, *gates: str) -> list[Gate]:
        """The rows of some gates, in their order."""
        return [gate for gate in self.gates if gate.gate in gates]
