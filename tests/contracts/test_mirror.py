"""Every module of `src/recctl` has a test module of its name, or a line here that names one."""

from pathlib import Path

import recctl

SOURCE = Path(recctl.__file__).parent
TESTS = Path(__file__).parents[1]

COVERED_BY = {
    "test_notebook": "__init__",
    "test_scaffold": "cli/project",
    "cli/test_data_cli": "cli/data data/describe data/forecast datasets/catalogue",
    "cli/test_doctor": "devices",
    "cli/test_edge": "cli/__init__ cli/app errors telemetry",
    "cli/test_retrain_cli": "cli/asking user_identity",
    "contracts/test_pipeline": "config sections settings",
    "data/test_ingest": (
        "data/clean data/columns data/formats data/interactions data/titles render/summary"
    ),
    "data/test_ingest_engine": "data/engine",
    "data/test_ingest_params": "data/params",
    "data/test_ingest_properties": "data/csv_fallback",
    "data/test_spark": "data/executors",
    "data/test_unpack": "data/plain",
    "data/test_versions_bring": "data/versions",
    "datasets/test_own_log": "datasets/preview datasets/times",
    "datasets/test_starter": "datasets/starter_titles",
    "datasets/test_use": "datasets/install",
    "evaluation/test_evaluate_stage": (
        "cli/report evaluation/params evaluation/report stages/evaluate"
    ),
    "evaluation/test_test_set": "evaluation/protocols",
    "intake/test_intake_cli": "cli/intake",
    "intake/test_intake_folder": "intake/base intake/folder intake/read intake/sync",
    "intake/test_intake_limits": "intake/params",
    "intake/test_intake_sources": "intake/intake intake/secrets intake/sql intake/url",
    "models/test_model_folder": "models/__init__ models/base models/kinds models/shapes",
    "models/test_neural": (
        "models/caser models/encoder models/recurrent models/sasrec models/transformer"
    ),
    "models/test_item_knn": "models/sparse",
    "monitoring/test_live_events": "monitoring/events",
    "monitoring/test_monitor_cli": "cli/monitor",
    "monitoring/test_monitoring_page": "monitoring/figures monitoring/report",
    "monitoring/test_watch": "monitoring/params",
    "notify/test_notices": "cli/notify notify/params",
    "monitoring/test_cluster_interval": "online/interval",
    "online/test_online": "online/clicks online/report",
    "promotion/test_aliases": "promotion/ledger/recovery",
    "promotion/test_decide": "promotion/judge/decision promotion/judge/evidence",
    "promotion/test_decision_schema": "promotion/judge/record promotion/view/schema",
    "promotion/test_gates": (
        "promotion/judge/checks promotion/judge/comparison promotion/judge/gate"
        " promotion/judge/guardrails promotion/judge/policy"
    ),
    "promotion/test_golden": "promotion/trial/service serve/trial",
    "promotion/test_package": "promotion/manifest",
    "promotion/test_plots": "render/drawing",
    "promotion/test_promote": "promotion/draft promotion/history promotion/register",
    "promotion/test_promotion_cli": "cli/models cli/promotion",
    "promotion/test_promotion_states": "promotion/write_pages",
    "promotion/test_refit": "promotion/assess sequences/everything",
    "promotion/test_registry": (
        "promotion/ledger/requests promotion/ledger/runs promotion/ledger/versions"
    ),
    "promotion/test_scoring": "promotion/trial/archive promotion/trial/contenders",
    "promotion/test_tables": "promotion/view/words",
    "promotion/test_vouch": "promotion/verify",
    "render/test_text": "render/console",
    "retraining/test_accepted": "retraining/params retraining/publish",
    "retraining/test_backfill": "retraining/workspace",
    "retraining/test_retrain_tune": "retraining/tuning",
    "retraining/test_retrain": "retraining/pages retraining/record retraining/run",
    "serve/test_exposures": "serve/params",
    "serve/test_posted": "data/values",
    "serve/test_serve_app": "serve/app serve/direct serve/fields",
    "serve/test_serve_run": "cli/serve serve/run",
    "sequences/test_sequence_split_stage": "stages/sequence_split",
    "sequences/test_split": "sequences/params sequences/protocols",
    "sequences/test_store": "sequences/vocabulary",
    "stages/test_train_killed": "stages/train",
    "test_artifacts": "tracking/failures",
    "test_bad_input": "cli/stage training/early_stopping",
    "test_leaderboard": "cli/setting published",
    "test_oncall": "promotion/ledger/local",
    "test_pipeline_runs": "dvc",
    "test_private": "files",
    "test_services": "services/down services/environment services/processes services/up",
    "flows/test_deployments": "services/server",
    "forget/test_forget": (
        "forget/evidence forget/params forget/places forget/remotes promotion/trial/pseudonyms"
    ),
    "test_tracking": (
        "tracking/lineage tracking/live tracking/runs tracking/server tracking/training"
    ),
    "training/test_distributed": "training/launch training/params",
    "training/test_loop": ("training/averaging training/checkpoint training/fit training/progress"),
    "tuning/test_search": "cli/tune tuning/params tuning/report tuning/studies",
    "tuning/test_tune_killed": "tracking/tuning",
    "validation/test_validate_stage": "stages/validate validation/facts",
    "validation/test_validation_report": "validation/report",
    "validation/test_validation_rules": (
        "validation/checks validation/params validation/rules validation/suite"
    ),
}
"""By test module the modules of other names that it tests."""


def modules() -> set[str]:
    """All that hold code; a package's `__init__` that is only a docstring does not."""
    paths = [
        path
        for path in SOURCE.rglob("*.py")
        if path.name != "__init__.py" or "import " in path.read_text(encoding="utf-8")
    ]
    return {path.relative_to(SOURCE).with_suffix("").as_posix() for path in paths}


def test_every_module_has_a_test_module() -> None:
    names = {path.stem for path in TESTS.rglob("test_*.py")}
    without = {name for name in modules() if f"test_{Path(name).name}" not in names}
    listed = [module for line in COVERED_BY.values() for module in line.split()]
    assert len(listed) == len(set(listed)), "a module is listed twice"
    assert without - set(listed) == set(), "add a test module, or a line above that names one"
    assert set(listed) - without == set(), "remove: no such module, or it has its own test module"
    stale = [name for name in COVERED_BY if not (TESTS / f"{name}.py").exists()]
    assert stale == [], "no such test module"
