"""What is said of the outcomes: the closing line, the numbers, the tables."""

import io

from recctl.render.console import Console
from recctl.validation import report
from recctl.validation.rules import Rule
from recctl.validation.suite import Outcome


def outcome(name, verdict, severity="critical", observed=None, unit="rows", **more):
    rule = Rule("users", "none", {}, "some limit", unit, name=name, severity=severity)
    return Outcome(rule, verdict, observed, **more)


OUTCOMES = [
    outcome("users-present", "failed", observed=1, samples=[{"user_id": None, "item_id": "[red]"}]),
    outcome("user-count", "passed", observed=1234, unit="users"),
    outcome("item-count", "failed", observed=1, unit="items"),
    outcome("short-histories", "failed", "warning", 0.25, "of users"),
    outcome("volume-drift", "not checked", "warning", note="no previous version"),
]


def shown(outcomes, width=80) -> str:
    console = Console(file=io.StringIO(), width=width)
    report.show(outcomes, console)
    return console.file.getvalue()


def test_critical_failures_make_one_line_that_counts_what_was_checked():
    assert str(report.failure(OUTCOMES)) == (
        "validation failed: 2 of 4 expectations: users-present, item-count; "
        "fix the data or the thresholds under 'validate' in params.yaml"
    )


def test_warnings_alone_stop_nothing():
    assert report.failure(OUTCOMES[1:2] + OUTCOMES[3:]) is None


def test_metrics_are_flat_numbers_and_leave_out_what_was_not_checked():
    assert report.metrics(OUTCOMES, None) == {
        "rules_checked": 4,
        "failed_critical": 2,
        "failed_warning": 1,
        "short_history_share": 0.25,
    }


def test_the_table_gives_every_rule_its_number_limit_and_verdict():
    lines = [" ".join(line.split()) for line in shown(OUTCOMES).splitlines()]
    assert "users-present critical 1 row some limit failed" in lines
    assert "user-count critical 1,234 users some limit passed" in lines
    assert "short-histories warning 25.00% of users some limit warning" in lines
    assert "volume-drift warning - some limit not checked" in lines
    assert "Not checked: no previous version." in lines


def test_sample_rows_are_shown_as_they_are():
    lines = [" ".join(line.split()) for line in shown(OUTCOMES).splitlines()]
    assert "(missing) [red]" in lines


def test_rows_that_two_rules_share_are_shown_once():
    same = [{"before": 9, "now": 3, "ratio": 1 / 3}]
    both = [outcome(name, "failed", samples=same) for name in ("volume-drift", "volume-break")]
    assert shown(both).count("before") == 1


def test_the_error_about_rows_without_a_user_names_the_setting_that_allows_them():
    samples = [{"cause": "no-user", "rows": 35, "share": 0.35}]
    failed = outcome("quarantine-share", "failed", samples=samples)
    assert str(report.failure([failed])).endswith(
        "ingest.anonymous: drop lets rows without a user not count as bad"
    )


def test_the_page_says_the_same_and_links_to_the_pages_of_great_expectations():
    text = report.html([*OUTCOMES, outcome("<b>", "passed")], {"users": "validations/users.html"})
    assert "<strong>FAILED</strong>validation failed: 2 of 5 expectations: " in text
    for cell in ("<strong>warning</strong>", "25.00% of users", "&lt;b&gt;", "[red]", "(missing)"):
        assert f"<td>{cell}</td>" in text
    assert "<p>Not checked: no previous version.</p>" in text
    assert '<a href="validations/users.html">users</a>' in text
    passed = report.html(OUTCOMES[1:2] + OUTCOMES[3:], {})
    assert "<strong>PASSED</strong>2 expectations checked; warnings: 1<" in passed
