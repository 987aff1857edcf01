"""The stage `validate`: check the interactions against the expectations in params.yaml."""

from datetime import UTC, datetime

from recctl.data import engine
from recctl.files import replacing_folder, write_json
from recctl.layout import Layout
from recctl.render.console import Console
from recctl.validation import checks, drift, report
from recctl.validation.facts import Log
from recctl.validation.params import ValidateParams
from recctl.validation.rules import rules
from recctl.validation.suite import Suite


def run(layout: Layout) -> None:
    """Check artifacts/interactions/ and write artifacts/validation/, also when a rule failed.

    Raises UserError when a critical rule failed.
    """
    params = ValidateParams.load(layout.params)
    profiles = layout.validation / "profiles"
    suite = Suite()
    with engine.duckdb(layout.state) as connection:
        findings = checks.check(
            Log(layout.interactions),
            rules(params, datetime.now(UTC)),
            suite,
            connection,
            profiles,
        )
    _write(layout, findings, suite)
    console = Console()
    report.show(findings.outcomes, console)
    if findings.repeats is not None:
        said = filter(None, [findings.repeats.sentence, findings.repeats.advice])
        console.print(f"Repeats: {'; '.join(said)}.", soft_wrap=True)
    failure = report.failure(findings.outcomes)
    if failure is not None:
        raise failure
    assert findings.profile is not None
    drift.remember(findings.profile, profiles)


def _write(layout: Layout, findings: checks.Findings, suite: Suite) -> None:
    outcomes, profile = findings.outcomes, findings.profile
    with replacing_folder(layout.validation / "data_docs") as folder:
        pages = suite.write_docs(folder)  # the largest first: on a full disk nothing is replaced
        (folder / "index.html").write_text(report.html(outcomes, pages), encoding="utf-8")
        content = report.report(outcomes, profile, findings.drift, findings.repeats)
        write_json(layout.validation / "report.json", content)
        write_json(layout.validation / "metrics.json", report.metrics(outcomes, profile))
