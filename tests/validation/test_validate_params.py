"""The validate section refuses what cannot be meant, in one line that names the known rules."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from recctl.errors import UserError
from recctl.validation.params import SEVERITIES, ValidateParams
from recctl.validation.rules import rules

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def load(tmp_path: Path, text: str) -> ValidateParams:
    path = tmp_path / "params.yaml"
    path.write_text(f"validate:\n{text}")
    return ValidateParams.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  severity: {short-history: warning}", "did you mean 'short-histories'"),
        ("  severity: {nonsense: warning}", "known: schema, users-present"),
        ("  severity: {schema: warning}", "'schema' stays critical"),
        ("  severity: {user-count: fatal}", "'critical', 'warning' or 'ignore'"),
        ("  users: {minimum: 9, maximum: 3}", "minimum 9 is above maximum 3"),
        ("  users: {minimun: 9}", "did you mean 'minimum'"),
        ("  weight: {maximum: .inf}", "finite"),
        ("  maximum_short_share: 1.5", "less than or equal to 1"),
        ("  earliest_time: yesterday", "ISO 8601"),
        ("  popularity_drift: .nan", "validate.popularity_drift"),
    ],
)
def test_a_mistake_is_one_line_with_a_fix(tmp_path, text, message):
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["2015-01-31", "'2015-01-31'", "2015-01-31T02:00:00+02:00"])
def test_the_earliest_time_is_read_as_yaml_gives_it(tmp_path, text):
    params = load(tmp_path, f"  earliest_time: {text}")
    assert params.earliest == datetime(2015, 1, 31, tzinfo=UTC)


def test_every_rule_is_there_unless_ignored_or_without_a_limit():
    everything = rules(ValidateParams(earliest_time="2015-01-31"), NOW)
    assert [rule.name for rule in everything] == list(SEVERITIES)
    few = rules(ValidateParams(severity={"user-count": "ignore"}), NOW)
    assert set(SEVERITIES) - {rule.name for rule in few} == {"user-count", "times-not-early"}


def test_a_severity_given_replaces_the_usual_one():
    by_name = {
        rule.name: rule.severity
        for rule in rules(ValidateParams(severity={"short-histories": "critical"}), NOW)
    }
    assert by_name["short-histories"] == "critical"
    assert by_name["volume-drift"] == "warning"
