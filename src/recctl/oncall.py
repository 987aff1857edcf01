"""What `recctl status` shows: who serves, the last and the next retraining, what needs a person.

Each part is a check like those of `recctl doctor`; one that cannot be read says so in its line.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

from recctl import doctor, lock
from recctl.doctor import Check, State
from recctl.errors import UserError
from recctl.files import read_json
from recctl.layout import Layout
from recctl.render.numbers import percent
from recctl.render.text import one_line
from recctl.services import down, processes, server
from recctl.services.flow_runs import Prefect

_NOT_MISSED = ("mlflow", "down")
"""The state of MLflow where `recctl up` found a server of the team."""
_UP = "start the services: 'recctl up'"


def checks(layout: Layout) -> list[Check]:
    """Every part of the status, the most important first; changes nothing."""
    parts: dict[str, Callable[[Layout], Check]] = {
        "champion": _champion,
        "monitoring": _monitoring,
        "retraining": _retraining,
        "log": _log,
        "disk": lambda layout: doctor.disk(layout.root),
    }
    with ThreadPoolExecutor() as pool:  # while the registry is read, DVC and Prefect answer
        data = pool.submit(doctor.guarded, "data", partial(doctor.data, layout))
        runs = pool.submit(_runs, layout)
        found = {name: doctor.guarded(name, partial(part, layout)) for name, part in parts.items()}
        found["data"] = data.result()
        found |= {check.name: check for check in runs.result()}
    before, champion = found["monitoring"], found["champion"]
    if before.fix and before.values.get("version") != champion.values.get("version"):
        text = f"not of today's champion: {before.found}"
        found["monitoring"] = Check("monitoring", "ok", text, None, before.values)
    return [*(found[name] for name in _ORDER), *services(layout)]


_ORDER = (
    *("champion", "monitoring", "retraining", "schedule", "approval"),
    *("data", "log", "disk"),
)


def services(layout: Layout) -> list[Check]:
    """A check per service; `blocked` where one is missed that should be up."""
    found = []
    for service in down.status(layout):
        missed = service.state != "up" and (service.name, service.state) != _NOT_MISSED
        text = " ".join(filter(None, (service.state, service.address)))
        fix = f"{_UP}; its log: {service.log}" if missed else None
        state: State = "blocked" if missed else "ok"
        check = Check(service.name, state, text, fix, dict(vars(service)))
        serves = (service.name, service.state) == ("serve", "up")
        found.append(_with_version(layout, check) if serves else check)
    return found


def _with_version(layout: Layout, check: Check) -> Check:
    """The check of the HTTP service with the version that answers, and what is wrong."""
    address, log = check.values["address"], check.values["log"]
    ready = server.ready(address) if processes.listens(layout, "serve") else None
    if ready is None:
        return Check(
            "serve", "warning", f"{check.found}, no answer", f"its log: {log}", check.values
        )
    values = {**check.values, **ready}
    found = f"{check.found}, version {ready['version'] or 'none'}"
    if ready["problem"] is None:
        return Check("serve", "ok", found, None, values)
    found += f": {one_line(ready['problem'])}"
    return Check("serve", "warning", found, f"see {address} and {log}", values)


def is_missed(found: list[Check]) -> bool:
    """Whether a service is not up that should be."""
    return any(check.name in processes.NAMES and check.state == "blocked" for check in found)


def _champion(layout: Layout) -> Check:
    """Which version serves, since when, by which decision; whether its files are there."""
    from recctl.promotion import history
    from recctl.promotion.view import words
    from recctl.tracking.artifacts import sqlite_file
    from recctl.tracking.server import tracking_uri

    fix = "train one and let it be judged: 'dvc repro', 'recctl promote'"
    none = Check("champion", "warning", "no version serves yet", fix)
    database = sqlite_file(tracking_uri(layout))
    if database is not None and not database.exists():
        return none
    registry, now = history.reading(layout)
    serves = words.serving([history.row(entry, in_force=True) for entry in now.line])
    if serves is None:
        return none
    number, row = serves
    record = row.body
    assert record is not None, "a decision that lets a version serve can be read"
    by = f"decision {row.position} ({words.verdict(record, row.position)})"
    found = f"version {number} of '{registry.name}' since {words.when(record.time)} UTC, by {by}"
    values = {"version": number, "since": record.time, "decision": row.position}
    if not now.agree or now.broken:
        what = now.broken[0] if now.broken else "the aliases differ from the log of decisions"
        finish = "finish it: 'recctl promote'" if now.pending else "see 'recctl verify'"
        return Check("champion", "blocked", f"{found}; {what}", finish, values)
    try:
        registry.reach(registry.version(number))
    except UserError as error:
        back = "let another version serve: 'recctl rollback --reason ...'"
        return Check("champion", "blocked", f"{found}; {error}", back, values)
    return Check("champion", "ok", f"{found}: {words.sentence(record)}", None, values)


def _monitoring(layout: Layout) -> Check:
    """The champion's figure on the interactions after its training, as of the last check."""
    path = layout.monitoring / "report.json"
    if not path.exists():
        return Check("monitoring", "ok", "the champion was not monitored yet ('recctl monitor')")
    report = read_json(path, "monitor", ["verdict", "sentence", "version"])
    found = one_line(report["sentence"])
    values = {name: report[name] for name in ("verdict", "version")}
    if report["verdict"] != "fallen":
        return Check("monitoring", "ok", found, None, values)
    fix = "train a new model: 'recctl retrain'; or go back: 'recctl rollback --reason ...'"
    return Check("monitoring", "warning", found, fix, values)


def _retraining(layout: Layout) -> Check:
    """How the last retraining ended, or what holds the project now."""
    from recctl.retraining import record

    path = record.path(layout)
    last, holder = record.read(layout), lock.holder(layout)
    now = f"now {holder}; " if holder else ""
    if last is None:
        return Check("retraining", "ok", f"{now}none has been recorded here yet")
    time = _minute(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    values = {"time": time, "ending": last.ending, "state": last.state, "decision": last.position}
    if last.state == "done" or last.ending == "refused":
        sentence = one_line(last.sentence).removeprefix(f"{last.ending}: ")
        found = f"{now}last {last.ending}, {time}: {sentence}"
        if last.ending not in ("refused", "suspicious"):
            return Check("retraining", "ok", found, None, values)
        fix = f"see why: 'recctl explain {last.position}'" if last.position else "see its log"
        return Check("retraining", "warning", found, f"{fix}, then 'recctl retrain'", values)
    what = "begun" if last.state == "begun" else f"decided ({last.ending}), not published"
    found = f"{now}last {what}, {time}, and not finished"
    if holder:
        return Check("retraining", "ok", found, None, values)
    return Check("retraining", "warning", found, "finish it: 'recctl retrain'", values)


def _runs(layout: Layout) -> list[Check]:
    """What Prefect knows: the last run and the next one, and who waits for an answer."""
    try:
        prefect = Prefect.find(layout)
        last, coming, waiting = prefect.last(), prefect.next(), prefect.waiting()
    except UserError as error:
        found = f"not known: {error.what}"
        return [Check(name, "warning", found, _UP) for name in ("schedule", "approval")]
    return [_schedule(last, coming), _approval(waiting)]


def _schedule(last: dict[str, Any] | None, coming: dict[str, Any] | None) -> Check:
    texts: list[str] = []
    fixes: list[str] = []
    if last:
        state = last["state"]
        texts.append(f"last run {one_line(last['name'])}, {state['name']}, {_at(state)}")
        if state["type"] in ("FAILED", "CRASHED"):
            texts[0] += f": {one_line(state.get('message') or 'no message')}"
            fixes.append(f"its log: 'prefect flow-run logs {last['id']}'")
    time = _at(coming, "expected_start_time") if coming else ""
    texts.append(f"next {time}" if coming else "no run is scheduled")
    if coming is None:
        fixes.append("register the schedule of prefect.yaml: 'recctl up'")
    elif coming["state"]["name"] == "Late":
        texts[-1] = f"a run is late since {time}"
        fixes.append("see that a worker runs: 'recctl up'")
    values = {"last": last and last["name"], "next": coming and coming["expected_start_time"]}
    how: State = "warning" if fixes else "ok"
    return Check("schedule", how, "; ".join(texts), "; ".join(fixes) or None, values)


def _approval(waiting: list[dict[str, Any]]) -> Check:
    names = [one_line(run["name"]) for run in waiting]
    values = {"waiting": [{name: run[name] for name in ("name", "id")} for run in waiting]}
    if not waiting:
        return Check("approval", "ok", "nothing waits for a person", None, values)
    found = f"waiting for a person: {', '.join(names)}, since {_at(waiting[0]['state'])}"
    fix = f"'recctl approve {names[0]}', or with --decline"
    return Check("approval", "warning", found, fix, values)


def _log(layout: Layout) -> Check:
    """The last ingest and validation: quarantine, age of the newest interaction, failed rules."""
    path = layout.interactions / "report.json"
    if not path.exists():
        return Check("log", "warning", "nothing was ingested yet", "run 'dvc repro'")
    report = read_json(path, "ingest", ["rows_in", "quarantined"])
    share = report["quarantined"] / max(report["rows_in"], 1)
    texts = [f"{percent(share)} of {report['rows_in']:,} rows in quarantine"]
    values: dict[str, Any] = {"quarantine_share": share, "newest": report.get("last_time")}
    if report.get("last_time"):  # a log without times has none
        newest = datetime.fromisoformat(report["last_time"])
        days = (datetime.now(UTC) - newest).days
        old = f"{days:,} days" if days > 1 else "at most a day"
        texts.append(f"newest interaction {_minute(newest)}, {old} old")
    path = layout.validation / "report.json"
    if not path.exists():
        return Check("log", "warning", "; ".join([*texts, "not validated"]), "run 'dvc repro'")
    rules = read_json(path, "validate", ["rules"])["rules"]
    failed = [one_line(rule["rule"]) for rule in rules if rule["verdict"] == "failed"]
    if not failed:
        texts.append(f"{len(rules)} expectations, none failed")
        return Check("log", "ok", "; ".join(texts), None, values)
    texts.append(f"failed expectations: {', '.join(failed)}")
    fix = f"see {path.relative_to(layout.root)}"
    return Check("log", "warning", "; ".join(texts), fix, values | {"failed": failed})


def _minute(moment: datetime) -> str:
    """A moment, to the minute, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _at(found: dict[str, Any], name: str = "timestamp") -> str:
    """A time in Prefect's answer."""
    return _minute(datetime.fromisoformat(found[name]))
