"""Tables at a terminal: all is there, nothing is cut off, and no colour is needed to read it."""

import doctest
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from decision_bodies import (
    ALL,
    CHECKS,
    COMPARISON,
    FIRST,
    FORCED,
    NO_ALIASES,
    POLICY,
    PROMOTED,
    RECOVERY,
    REFUSED,
    REJECTED,
    ROLLBACK,
    ROWS,
    STALE,
    SUSPICIOUS,
    VERSIONS,
    body,
    gate,
    record,
    row,
)
from hypothesis import given
from hypothesis import strategies as st

from recctl.evaluation.slices import Slice
from recctl.promotion.judge.decision import decide
from recctl.promotion.judge.evidence import Conduct, Evidence, Scored, Training
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.ledger.log import canonical
from recctl.promotion.view import tables, words
from recctl.promotion.view.schema import HistoryRow
from recctl.render.console import Console
from recctl.render.text import literal


def _shown(show: Callable[..., None], *given: Any, width: int = 120) -> str:
    """What is printed on a terminal without colours."""
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    show(*given, console=console)
    return file.getvalue()


def _decision(content: dict[str, Any], position: int | None = 7, width: int = 120) -> str:
    place = None if position is None else row(position, content)
    return _shown(tables.decision, record(content), place, width=width)


def _line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_primary_metric_in_one_line() -> None:
    text = _decision(PROMOTED)
    assert _line(text, "NDCG@10").split() == [
        *["NDCG@10", ".2480", ".2611", "+.0131", "[+.0041,", "+.0221]", ">", "-.0050", "pass"]
    ]
    below = text.splitlines()[text.splitlines().index(_line(text, "NDCG@10")) + 1]
    assert below.split() == ["effect", ".04", "resolves", ".0121", "p", ".0002", "better"]


def test_a_metric_that_fails_is_said_in_words() -> None:
    text = _decision(REJECTED)
    assert _line(text, "HR@10").split()[-1] == "FAIL"
    assert "FAIL: ndcg@10 is not proven to be no worse" in text
    assert (
        _line(text, "slices  ")
        == "slices  each must lose less than .0300; p by Holm over the slices"
    )
    assert _line(text, "history length: long").split()[-1] == "FAIL"
    assert _line(text, "history length: short").split()[-1] == "pass"


def test_a_small_slice_is_neither_passed_nor_failed() -> None:
    line = _line(_decision(PROMOTED), "target popularity: tail")
    assert line.split()[3:] == [
        "122",
        "-.0200",
        "[-.0800,",
        "+.0400]",
        "-",
        *["too", "few", "users"],
    ]


def test_a_slice_of_everybody_and_one_of_nobody() -> None:
    gates = [
        gate("slices", "arrival: all", "shown", "judged by primary", users=1000),
        gate("slices", "arrival: newest", "shown", "no users", users=0),
    ]
    text = _decision(PROMOTED | {"gates": gates})
    assert _line(text, "arrival: all").rstrip().endswith("all users")
    assert _line(text, "arrival: newest").rstrip().endswith("no users")


def test_figures_on_both_catalogues() -> None:
    text = _decision(PROMOTED)
    assert _line(text, "champion  ").split() == ["champion", ".2480", ".3920", ".2480", ".3920"]
    assert _line(text, "popularity  ").split() == ["popularity", ".0600", ".1210", "-", "-"]
    assert "full: 520 items, which the gates use; common: 498 items" in text


def test_a_body_from_the_log_has_its_metrics_and_models_in_order() -> None:
    """Canonical JSON sorts keys: HR@10 would stand before NDCG@10, the best before the champion."""
    for text in (_decision(PROMOTED), _decision(json.loads(canonical(PROMOTED)))):
        models = [line.split()[0] for line in text[text.index("\nall models") :].splitlines()[5:10]]
        assert models == ["challenger", "champion", "best", "popularity", "markov"]
        assert _line(text, "champion  ").split() == ["champion", ".2480", ".3920", ".2480", ".3920"]


def test_without_a_champion_there_is_no_common_catalogue() -> None:
    text = _decision(FIRST)
    assert "common" not in text
    assert "champion: none yet; the alias moves from none to 1" in text
    assert "primary metrics" not in text
    assert "first model" in text


@pytest.mark.parametrize(
    ("content", "title", "last"),
    [
        (PROMOTED, "promotion of recommender, PROMOTED", "PROMOTED: Better by ndcg@10"),
        (REJECTED, "promotion of recommender, REJECTED", "REJECTED: Rejected: ndcg@10"),
        (SUSPICIOUS, "promotion of recommender, SUSPICIOUS", "SUSPICIOUS: A relative gain"),
        (REFUSED, "promotion of recommender, REFUSED", "REFUSED: Cannot be judged"),
        (STALE, "promotion of recommender, STALE", "STALE: Another decision"),
        (
            FORCED,
            "promotion of recommender, PROMOTED BY FORCE",
            "PROMOTED BY FORCE: judged rejected: ndcg@10 may be worse.",
        ),
        (
            ROLLBACK | {"forced": True},
            "rollback of recommender, ROLLED BACK BY FORCE",
            "ROLLED BACK BY FORCE: Version 3",
        ),
        (ROLLBACK, "rollback of recommender, ROLLED BACK", "ROLLED BACK: Version 3"),
        (RECOVERY, "recovery of recommender, RECOVERED", "RECOVERED: Decision 7"),
    ],
)
def test_title_and_last_sentence(content: dict[str, Any], title: str, last: str) -> None:
    lines = _decision(content).splitlines()
    assert lines[0] == f"Decision 7: {title}"
    assert lines[-1].startswith(last)


def test_what_is_not_kept_would_be() -> None:
    text = _decision(PROMOTED, None)
    assert text.startswith("Decision, not kept: promotion of recommender, WOULD BE PROMOTED")
    assert _decision(REJECTED, None).splitlines()[0].endswith("REJECTED")


def test_a_rollback_without_its_own_verdict_is_one_that_was_done() -> None:
    assert "ROLLED BACK" in _decision(ROLLBACK | {"verdict": None})
    assert "STALE" in _decision(ROLLBACK | {"verdict": "stale", "sets": None}).splitlines()[0]


def test_the_verdicts_word_is_not_said_twice() -> None:
    text = _decision(body("stale", "stale: version 5 became champion"))
    assert text.splitlines()[-1] == "STALE: version 5 became champion"


def test_a_decision_that_does_not_count_says_so() -> None:
    void = row(5, PROMOTED, in_force=False)
    text = _shown(tables.decision, record(PROMOTED), void)
    assert "void: another decision came first" in text
    assert "void" not in _decision(PROMOTED)


def test_every_reason_of_every_gate_is_shown() -> None:
    for content in ALL.values():
        text = " ".join(_decision(content, width=200).split())
        for one in content["gates"]:
            if one["gate"] not in ("slices", "primary"):
                assert one["reason"] in text


def test_a_comparison_names_both_sides_and_judges_nothing() -> None:
    text = _shown(tables.comparison, record(COMPARISON))
    assert _line(text, "metric").split() == [
        *["metric", "version", "3", "workspace", "difference", "95%", "interval"]
    ]
    assert text.startswith("Comparison of recommender: bert4rec, the workspace and item-knn, ver")
    assert not {"needed", "verdict", "FAIL", "PROMOTED"} & set(text.split())
    assert _line(text, "workspace  ").split()[1] == ".2611"


# --- nothing is cut off, whatever the width


def _squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", ALL)
def test_nothing_is_cut_off(name: str, width: int) -> None:
    text = _decision(ALL[name], width=width)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 80])
def test_a_long_word_is_folded(width: int) -> None:
    word = "x" * 300
    long = gate("guardrails", word, "fail", word)
    text = _decision(PROMOTED | {"gates": [long], "sentence": word}, width=width)
    assert text.count("x") == 900


def test_figures_stay_on_their_line_at_80_columns() -> None:
    for content in (PROMOTED, REJECTED):
        assert "[" in _line(_decision(content, width=80), "NDCG@10")
        assert "]" in _line(_decision(content, width=80), "NDCG@10")


def test_without_a_terminal_lines_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    tables.decision(record(PROMOTED), row(7, PROMOTED))
    assert max(map(len, capsys.readouterr().out.splitlines())) > 80


# --- what comes from outside is text


@pytest.mark.parametrize("field", ["who", "reason", "sentence", "registered_model"])
def test_markup_and_control_codes_are_text(field: str) -> None:
    hostile = "[bold]a[/bold] [/nothing] \x1b[31mred\x07\r\n\u202eb"
    text = _decision(PROMOTED | {field: hostile}, width=200)
    assert r"[bold]a[/bold] [/nothing] \x1b[31mred\x07 \u202eb" in text
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(text)


@given(st.text(max_size=60))
def test_any_text_prints(text: str) -> None:
    content = PROMOTED | {"reason": text, "gates": [gate("leak", text, "fail", text)]}
    printed = _decision(content)
    assert literal(printed, keep="\n") == printed


# --- history


def _history(rows: list[HistoryRow], width: int = 120) -> str:
    return _shown(tables.history, rows, width=width)


def test_history_tells_who_what_and_what_moved() -> None:
    text = _history(ROWS)
    first = _line(text, " 3").split()
    assert first == [
        *["3", "2026-03-01", "04:05", "PROMOTED,", "pending"],
        *["3", "to", "4", "4", "+.0131"],
    ]
    assert _line(text, " 1").split()[3:] == ["PROMOTED", "none", "to", "1", "1", "-"]
    assert _line(text, " 2").split()[3:] == ["REJECTED", "stays", "4", "-.0201"]
    assert _line(text, " 7").split()[3:] == ["ROLLED", "BACK", "4", "to", "3", "3", "-"]
    assert "[-.0291, -.0111]" in text


def test_history_says_what_is_forced_and_what_is_void() -> None:
    text = _history(ROWS)
    assert "PROMOTED BY FORCE" in text
    assert "decision 6: approved by Ann [bold]Lee[/bold]" in text
    assert "STALE, void" in _line(text, " 5")
    assert "decision 6: incident 42: the champion [bold]lacks[/bold] the new catalogue" in text
    assert "decision 5: void: another decision came first" in text
    assert "decision 3: pending: the aliases do not follow it yet" in text


def test_history_at_80_columns_is_whole() -> None:
    text = _history(ROWS, 80)
    assert "…" not in text
    assert "nightly@trainer-1" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_empty_history() -> None:
    assert _history([]) == "No decision has been taken yet.\n"


def test_a_rejection_that_was_first_moves_nothing() -> None:
    text = _history([row(1, REJECTED | {"saw": NO_ALIASES})])
    assert "stays" in _line(text, " 1")


# --- versions and checks


def test_versions_in_a_list() -> None:
    text = _shown(tables.versions, VERSIONS, width=80)
    assert "champion, previous" in text
    assert "commit 0123456789ab (dirty)" in " ".join(text.split())
    assert _line(text, "      4").split()[:3] == ["4", "bert4rec", "a1a1a1a1a1a1"]


def test_no_versions() -> None:
    assert _shown(tables.versions, []) == "No version is registered yet.\n"


def test_one_version_with_its_files() -> None:
    text = _squeezed(_shown(tables.version, VERSIONS[0], width=80))
    assert "b2" * 32 in text
    assert "f6f6f6f6f6f6artifacts/recommender/model.safetensors" in text


def test_checks_say_what_is_wrong() -> None:
    text = _shown(tables.checks, CHECKS, width=80)
    assert _line(text, "version 4").split()[2:4] == ["NOT", "OK"]
    assert _line(text, "decision log").split()[2] == "ok"
    assert _squeezed(CHECKS[1].detail) in _squeezed(
        "".join(line[24:] for line in text.splitlines())
    )
    assert text.splitlines()[-1] == "1 of 3 checks failed."


def test_checks_that_all_hold() -> None:
    text = _shown(tables.checks, [CHECKS[0], CHECKS[2]])
    assert text.splitlines()[-1] == "2 checks, everything is consistent."


# --- a decision as `decide` makes it


def test_a_judgement_of_today_shows_every_reason() -> None:
    """The names and figures that the gates give are those that the tables look for."""
    rng = np.random.default_rng(0)
    users, catalogue = np.arange(600), 100
    ranks = rng.integers(1, 60, 600)
    scored = Scored("e5", users, ranks)
    mixed = np.where(rng.random(600) < 0.5, ranks + 1, ranks)
    evidence = Evidence(
        catalogue=catalogue,
        fingerprint="e5",
        users=users,
        challenger=scored,
        champion=Scored("e5", users, np.maximum(ranks - 1, 1)),
        best=Scored("e5", users, mixed),
        baselines={"popularity": Scored("e5", users, ranks + 30), "markov": scored},
        slices=[Slice("arrival", "newest", "the newest", users > 500)],
        conduct={"challenger": Conduct(0.5, 0.1, 30, 10), "champion": Conduct(0.9, 0.1, 3, 10)},
        overlap=0.5,
        training=Training(40, 40, True, True),
        leaks={name: np.zeros(600, np.bool_) for name in ("challenger", "champion", "best")},
    )
    judged = decide(evidence, PromotionParams.model_validate(POLICY))
    gates = [asdict(one) for one in judged.gates]
    text = _decision(body(judged.verdict, judged.sentence, gates=gates), width=250)
    assert "\n\nREJECTED: " in text
    assert _line(text, "NDCG@10").split()[-1] == "FAIL"
    assert _line(text, "arrival: newest").split()[2] == "99"
    assert _line(text, "arrival: newest").rstrip().endswith("too few users")
    for one in judged.gates:
        if one.gate != "slices":
            assert one.outcome == "pass" or one.reason in text


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(words)
    assert result.attempted >= 1
    assert result.failed == 0
