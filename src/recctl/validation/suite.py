"""Runs Great Expectations: rules and tables in, outcomes and Data Docs out."""

import gc
import logging
import os
import shutil
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from recctl.render.text import html
from recctl.validation.rules import Frame, Rule

SAMPLES = 5
"""Rows shown of a rule that failed."""

_ALONE = """<head>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>body { font-family: sans-serif; } footer { display: none; }
.fa-check-circle::after { content: "met"; } .fa-times::after { content: "failed"; }
.fa-exclamation-triangle::after { content: "error"; }</style>"""
"""How a page of Great Expectations begins: it loads nothing and says in words what icons do."""

Verdict = Literal["passed", "failed", "not checked"]


@dataclass(frozen=True)
class Outcome:
    """The result of one rule."""

    rule: Rule
    verdict: Verdict
    observed: float | None = None
    """Rows that fail, their share, or a number of the whole table, as `rule.measure` says."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Rows that made the rule fail, at most SAMPLES."""
    note: str = ""
    """Why the rule was not checked."""


def not_checked(rules: Iterable[Rule], note: str) -> list[Outcome]:
    """The outcomes of rules that could not be checked."""
    return [Outcome(rule, "not checked", note=note) for rule in rules]


class Suite:
    """A Great Expectations context in memory and the Data Docs of what was checked."""

    def __init__(self) -> None:
        self._gx = _great_expectations()
        self._context = self._gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = {"globally": False}
        self._source = self._context.data_sources.add_pandas("recctl")

    def check(
        self, frame: Frame, rules: list[Rule], tables: Iterable[pd.DataFrame]
    ) -> list[Outcome]:
        """Check the rules of one frame on its table, which may come in parts.

        Of several parts, the rows that fail are added up; only rules that check each row
        separately allow that. Raises RuntimeError when an expectation cannot be evaluated.
        """
        assert all(rule.frame == frame for rule in rules)
        if not rules:
            return []
        definition = self._definition(frame, rules)
        tallies = {rule.name: _Tally(rule) for rule in rules}
        for table in tables:
            for result in self._run(definition, frame, table):
                tallies[result["expectation_config"]["meta"]["rule"]].add(result, table)
        return [tally.outcome() for tally in tallies.values()]

    def write_docs(self, folder: Path) -> dict[str, str]:
        """Write Data Docs, static HTML, into an empty folder.

        Gives the path of each result page in the folder by the name of its table.
        """
        literally = str(folder).replace("$", r"\$")  # else an environment variable's name begins
        backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": literally}
        # it would log the traceback of what it then raises, such as on a full disk
        logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
        site = {"class_name": "SiteBuilder", "store_backend": backend}
        self._context.add_data_docs_site("recctl", site)
        self._context.build_data_docs(site_names=["recctl"])
        shutil.rmtree(folder / "static", ignore_errors=True)  # fonts and pictures
        for page in folder.rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            page.write_text(text.replace("<head>", _ALONE, 1), encoding="utf-8")
        pages = sorted(folder.glob("validations/*/*/*/*.html"))
        return {page.parts[-3]: page.relative_to(folder).as_posix() for page in pages}

    def _definition(self, frame: Frame, rules: list[Rule]) -> Any:
        """What Great Expectations calls a validation: a suite of expectations and a batch."""
        suite = self._context.suites.add(self._gx.ExpectationSuite(name=frame))
        for rule in rules:
            suite.add_expectation(self._expectation(rule))
        batch = self._source.add_dataframe_asset(frame).add_batch_definition_whole_dataframe("all")
        return self._context.validation_definitions.add(
            self._gx.ValidationDefinition(name=frame, data=batch, suite=suite)
        )

    def _expectation(self, rule: Rule) -> Any:
        kind = getattr(self._gx.expectations, rule.expectation)
        return kind(
            **rule.settings,
            severity=rule.severity,
            meta={"rule": rule.name},
            notes=f"Rule {rule.name}: {rule.limit}.",
        )

    def _run(self, definition: Any, frame: Frame, table: pd.DataFrame) -> list[dict[str, Any]]:
        several = frame == "interactions" and len(table) and table.index[0] > 0
        run_name = f"{frame}-from-{table.index[0]}" if several else frame
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = definition.run(
                batch_parameters={"dataframe": _for_pages(table)},
                # Not COMPLETE, which would put every failing row into Data Docs.
                result_format={"result_format": "SUMMARY", "partial_unexpected_count": SAMPLES},
                run_id=self._gx.RunIdentifier(run_name=run_name),
            )
        results = [result.to_json_dict() for result in outcome.results]
        del outcome
        gc.collect(1)  # a reference cycle would keep the table
        return results


def _for_pages(table: pd.DataFrame) -> pd.DataFrame:
    """The table with text that means nothing in HTML: pages show values as they are.

    Different texts stay different, so the outcome is the same.
    """
    changed: dict[str, Any] = {}
    for name in map(str, table.select_dtypes("str").columns):
        column: Any = table[name]
        marked = column.str.contains("[<>&]", regex=True, na=False)
        if marked.any():
            changed[name] = column.where(~marked, column[marked].map(html))
    return table.assign(**changed) if changed else table


class _Tally:
    """The results of one rule, added up over the parts of a table."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.success = True
        self.rows = self.unexpected = 0
        self.value: float | None = None
        self.samples: list[dict[str, Any]] = []

    def add(self, result: dict[str, Any], table: pd.DataFrame) -> None:
        """Take in the result for one part."""
        _check_evaluated(self.rule, result)
        details = result["result"]
        self.success &= bool(result["success"])
        self.rows += details.get("element_count") or 0
        self.unexpected += details.get("unexpected_count") or 0
        self.value = details.get("observed_value")
        if not result["success"]:
            room = SAMPLES - len(self.samples)
            self.samples += _records(_failing(self.rule, details, table).head(room))

    def outcome(self) -> Outcome:
        """The verdict, the number observed and, of a failure, sample rows."""
        verdict: Verdict = "passed" if self.success else "failed"
        return Outcome(self.rule, verdict, self._observed(), self.samples)

    def _observed(self) -> float | None:
        if self.rule.measure == "rows":
            return self.unexpected
        if self.rule.measure == "share":
            return self.unexpected / self.rows if self.rows else 0.0
        return self.value


def _failing(rule: Rule, details: dict[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    """The rows to show: those that fail; of a number of a whole summary, its first rows."""
    if rule.measure != "value":
        return table.loc[details.get("partial_unexpected_index_list") or []]
    return table.iloc[:0] if rule.frame in ("users", "items") else table


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON knows them: times as text, missing and infinite values as null or text."""
    rows = table.to_dict(orient="records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if value in (float("inf"), float("-inf")):
        return str(value)
    return value.item() if hasattr(value, "item") else value


def _check_evaluated(rule: Rule, result: dict[str, Any]) -> None:
    """Raise when the expectation itself broke, which is never a verdict on the data."""
    problem = result.get("exception_info") or {}
    problems = [problem] if "raised_exception" in problem else list(problem.values())
    for info in problems:
        if info.get("raised_exception"):
            raise RuntimeError(f"rule {rule.name}: {info.get('exception_message')}")


def _great_expectations() -> Any:
    """The package, imported without telemetry and without the warnings of what it imports."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import great_expectations as gx
            import great_expectations.expectations
        except SystemExit:
            # pyspark, which it imports, does that under `python -c` where grpcio is missing.
            raise RuntimeError("importing Great Expectations tried to end the process") from None
    return gx
