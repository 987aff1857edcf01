"""What --json prints: every output fits the published schema, key for key."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from decision_bodies import ALL, CHECKS, COMPARISON, PROMOTED, ROWS, VERSIONS, record
from pydantic import BaseModel, ValidationError

from recctl.promotion import history
from recctl.promotion.ledger.log import Entry, canonical, digest
from recctl.promotion.view import schema

_PUBLISHED = Path(__file__).parents[2] / "docs" / "decision.schema.json"
_OUTPUTS: dict[str, dict[str, Any]] = {
    **{name: schema.decision_output(record(body), 0, ROWS[0]) for name, body in ALL.items()},
    "dry run": schema.decision_output(record(PROMOTED), 0),
    "nothing to do": schema.decision_output(None, 0, note="version 4 is this very model"),
    "comparison": schema.output("comparison", comparison=record(COMPARISON)),
    "history": schema.output("history", rows=ROWS),
    "empty history": schema.output("history", rows=[]),
    "verification": schema.output("verification", consistent=False, checks=CHECKS),
    "versions": schema.output("versions", versions=VERSIONS),
}


def test_published_schema_is_the_generated_one() -> None:
    assert json.loads(_PUBLISHED.read_text()) == schema.document()


def test_published_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.document())


@pytest.mark.parametrize("name", _OUTPUTS)
def test_output_fits_the_published_schema(name: str) -> None:
    jsonschema.validate(_OUTPUTS[name], json.loads(_PUBLISHED.read_text()))


@pytest.mark.parametrize("name", _OUTPUTS)
def test_output_has_no_key_that_the_schema_does_not_name(name: str) -> None:
    read = schema.Output.model_validate_json(json.dumps(_OUTPUTS[name]))
    assert read.model_dump(by_alias=True, exclude_unset=True, mode="json") == _OUTPUTS[name]
    assert not _extra(read.root)


def _extra(part: Any) -> list[str]:
    """The keys of a part, and of the parts in it, that its model does not name."""
    if isinstance(part, list):
        return [name for one in part for name in _extra(one)]
    if not isinstance(part, BaseModel):
        return []
    found = [name for value in dict(part).values() for name in _extra(value)]
    return [*found, *(part.model_extra or {})]


def test_every_key_is_described() -> None:
    """By its own sentence, or by the one of the part that it refers to."""
    parts = schema.document()["$defs"]
    for part in parts.values():
        assert "description" in part
        for key, value in part["properties"].items():
            named = "description" in value or "$ref" in json.dumps(value)
            assert named or key in ("schema", "output"), key


def _damaged(*path: Any, value: Any) -> dict[str, Any]:
    output = copy.deepcopy(schema.decision_output(record(PROMOTED), 0))
    inner: Any = output
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return output


@pytest.mark.parametrize(
    "output",
    [
        _damaged("schema", value=2),
        _damaged("output", value="verdict"),
        _damaged("decision", "verdict", value="accepted"),
        _damaged("decision", "gates", 0, "outcome", value="passed"),
        _damaged("decision", "gates", 0, "low", value="-.1"),
        _damaged("decision", "means", "full", "challenger", value=0.2),
        _damaged("decision", "sets", value={"champion": 4}),
        _damaged("exit_code", value=None),
    ],
)
def test_damage_does_not_fit(output: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(output, schema.document())
    with pytest.raises(ValidationError):
        schema.Output.model_validate_json(json.dumps(output))


def test_history_row_of_an_entry() -> None:
    text = canonical(PROMOTED)
    row = history.row(Entry(9, text, digest(text), "pending"), in_force=False)
    assert row.content() == {
        "position": 9,
        "state": "pending",
        "in_force": False,
        "digest": digest(text),
        "body": PROMOTED,
    }


@pytest.mark.parametrize("name", ALL)
def test_a_record_that_was_read_is_written_byte_for_byte(name: str) -> None:
    """Keys of a newer recctl and keys that an older one did not write, too: the digest fits."""
    newer = ALL[name] | {"of_a_newer_recctl": {"any": [1, 2.5, None]}}
    for body in (ALL[name], newer):
        text = canonical(body)
        read = Entry(1, text, digest(text), "done").record
        assert read is not None
        assert canonical(read.content()) == text


def test_bodies_are_canonical_json() -> None:
    for body in ALL.values():
        assert json.loads(canonical(body)) == body
