"""Numbers on the command line beyond all bounds: one refusal, whatever the project is like."""

import sys
from pathlib import Path

import pytest

from recctl import cli, limits

HUGE = "9" * 5000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["recommend", "-k", "0"], "-k"),
        (["recommend", "-k", str(limits.SERVED_K + 1)], "-k"),
        (["recommend", "-k", HUGE], "-k"),
        (["wait", "--timeout", "nan"], "--"),
        (["wait", "--timeout", "-1"], "--timeout"),
        (["wait", "--timeout", "1e300"], "--timeout"),
        (["retrain", "--wait", "nan"], "--"),
        (["retrain", "--wait", "inf"], "--wait"),
        (["rollback", "--to", str(2**31), "--reason", "x", "--yes"], "--to"),
        (["explain", "99999999999999999999"], "decision"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_number_out_of_bounds_is_a_usage_error(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["recctl", *arguments])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert leaving.value.code == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("recctl: ")
    assert said.count("\n") == 1
    assert "no recctl project" not in said
