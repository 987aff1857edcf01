"""The notices of a run: what each says, where it is kept, which of them are still to be sent.

A notice is a file in .recctl/notices/, written before it is sent and again with each address that
accepted it. So a retraining that is killed and repeated does not send it twice, and the next run
sends what an address did not accept. Nothing here fails a run or delays it for long.
"""

import hashlib
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from recctl.errors import UserError, circumstance
from recctl.files import locked, read_state, write_json
from recctl.layout import Layout
from recctl.notify import deliver
from recctl.notify.deliver import Notice
from recctl.notify.params import NotifyParams
from recctl.redact import redact
from recctl.render.text import Say, one_line

if TYPE_CHECKING:
    from recctl.monitoring.report import Report
    from recctl.promotion.judge.record import DecisionRecord

DAYS = 7
"""A notice that an address has not accepted after so many days is given up."""


@dataclass(frozen=True)
class Notices:
    """Sends the notices of one run; a problem is one line, and no error."""

    layout: Layout
    say: Say
    what: str
    """The flow or the command, such as `retrain`."""
    run: str | None = None
    """Prefect's id of the run; None at a terminal."""
    link: str | None = None
    """The run's page in Prefect."""

    def decided(self, record: "DecisionRecord", position: int) -> None:
        """A decision of the log."""
        from recctl.promotion.view import words

        key = f"{record.registered_model} {position} {record.time}"
        page = self.layout.decisions / f"{position:04d}" / "decision.html"
        run = record.evidence.run_id if record.evidence else None
        places = {"page": str(page), "MLflow": mlflow_page(run)}
        title = words.title(record, position)
        self._send(_event(record), key, title, _judged(record), places)

    def awaited(self, record: "DecisionRecord", hours: float) -> None:
        """A model that passed its gates and may serve once a person approves."""
        digest = record.challenger.digest if record.challenger else None
        key = f"{self.run} {digest} {record.champion_before}"
        title = f"A model of {record.registered_model} waits for approval"
        limit = f"No answer within {hours:g} hours means no."
        limit += " Answer by 'recctl approve', or on the run's page." if self.run else ""
        self._send("approval-awaited", key, title, [limit, *_judged(record)])

    def fallen(self, report: "Report") -> None:
        """A champion that is proven worse than when it was promoted; once per version."""
        model, name = report.registered_model, f"version {report.version}"
        page = self.layout.monitoring / "report.json"
        title = f"The champion of {model}, {name}, has fallen"
        key = f"{model} {report.version}"
        self._send("champion-fallen", key, title, [report.sentence], {"page": str(page)})

    def failed(self, error: Exception) -> None:
        """The error that ended a run; where validation refused the data, once per version of it."""
        from recctl.pipeline import StageFailed

        if isinstance(error, StageFailed) and error.stage == "validate":
            self._data_rejected(error)
            return
        known = circumstance(error)
        text = str(known or f"a defect of recctl: {type(error).__name__}: {error}")
        self._send("run-failed", self.run or str(time.time()), f"{self.what} failed", [text])

    def _data_rejected(self, error: UserError) -> None:
        from recctl.data import versions
        from recctl.retraining import pages

        lines, key = [str(error)], ""
        with suppress(UserError, OSError):
            key = versions.digest(self.layout) or ""
            lines += pages.failures(self.layout)
        page = self.layout.validation / "data_docs" / "index.html"
        places = {"data": key, "page": str(page) if page.is_file() else None}
        self._send("data-rejected", key, "New data was rejected", lines, places)

    def _send(
        self,
        event: str | None,
        key: str,
        title: str,
        lines: Sequence[str],
        places: Mapping[str, str | None] | None = None,
    ) -> None:
        """Keep a notice, unless it is known or not wanted, and send what was not accepted yet."""
        here = f"{self.layout.root} on {socket.gethostname()}"
        places = {"project": here, **(places or {}), "Prefect": self.link}
        where = [f"{name}: {place}" for name, place in places.items() if place]
        text = "\n".join(one_line(redact(line)) for line in [*lines, *where])
        with self._harmless():
            params = NotifyParams.load(self.layout.params)
            if event is None or not params.addresses or event not in params.events:
                return
            name = hashlib.sha256(key.encode()).hexdigest()[:16]
            path = _folder(self.layout) / f"{event}-{name}.json"
            if path.exists():
                return
            notice = Notice(event, key, one_line(redact(title)), text, time.time(), [])
            with suppress(OSError):  # a full disk is among what people must know
                write_json(path, asdict(notice))
            self.send({path: notice})

    def send(self, new: Mapping[Path, Notice]) -> None:
        """Send each address the new notices, and those that it has not accepted before."""
        with self._harmless():
            for place, problem in send(self.layout, new).items():
                if problem is not None:
                    self.say(f"no notice to {place}: {problem}; the next run tries again")

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except (UserError, OSError) as error:
            self.say(f"notices: {one_line(redact(str(error)))}")


@contextmanager
def during(
    layout: Layout, say: Say, what: str, run: str | None = None, link: str | None = None
) -> Iterator[Notices]:
    """The notices of a run: first those that an earlier one could not send, last its failure."""
    notices = Notices(layout, say, what, run, link)
    notices.send({})
    try:
        yield notices
    except Exception as error:
        notices.failed(error)
        raise


def mlflow_server() -> str | None:
    """The address of MLflow's pages, where MLflow runs as a server."""
    server = os.environ.get("RECCTL_MLFLOW_UI") or os.environ.get("MLFLOW_TRACKING_URI", "")
    return redact(server).rstrip("/") if server.startswith("http") else None


def mlflow_page(run_id: str | None) -> str | None:
    """The page of a run in MLflow, where it is known."""
    server = mlflow_server()
    return f"{server}/#/runs/{run_id}" if server and run_id else None


def _event(record: "DecisionRecord") -> str | None:
    if record.sets:
        return {"promotion": "promoted", "rollback": "rolled-back"}.get(record.kind)
    return "run-failed" if record.verdict == "refused" else record.verdict


def _judged(record: "DecisionRecord") -> list[str]:
    """A decision's sentence, what was judged, and the figures of the primary metrics."""
    from recctl.promotion.view import words
    from recctl.render.numbers import change, figure, label

    lines = [words.sentence(record), *words.circumstances(record)]
    for gate in record.of("primary"):
        if gate.challenger is not None:
            line = f"{label(gate.name)} {figure(gate.challenger)}"
            if gate.difference is not None and gate.low is not None and gate.high is not None:
                difference = change(gate.difference, gate.low, gate.high)
                line += f", champion {figure(gate.reference)}, difference {difference}"
            lines.append(line)
    return lines


def _folder(layout: Layout) -> Path:
    return layout.state / "notices"


def send(layout: Layout, new: Mapping[Path, Notice]) -> dict[str, str | None]:
    """Send each address what it has not accepted, if anything.

    By address what went wrong, None where it accepted all. Raises MayPass where another process
    sends notices.
    """
    addresses = NotifyParams.load(layout.params).addresses
    if not addresses or not {**new, **_waiting(layout)}:
        return {}
    with ExitStack() as stack:
        with suppress(OSError):  # of a full disk, which has no room for the lock's file
            stack.enter_context(locked(_folder(layout) / "lock", "another process sends notices"))
        kept = {**new, **_waiting(layout)}
        digests = {address: hashlib.sha256(address.encode()).hexdigest() for address in addresses}

        def accepted(path: Path, address: str) -> None:
            known = {*kept[path].accepted, digests[address]}
            done = known >= set(digests.values())
            kept[path] = replace(kept[path], accepted=sorted(known), done=done)
            with suppress(OSError):  # it is sent again then
                write_json(path, asdict(kept[path]))

        wanted = {
            address: {p: one for p, one in kept.items() if digests[address] not in one.accepted}
            for address in addresses
        }
        some = {address: notices for address, notices in wanted.items() if notices}
        return deliver.deliver(addresses, some, accepted)


def _waiting(layout: Layout) -> dict[Path, Notice]:
    """The notices that some address has not accepted, oldest first, without those given up."""
    after = time.time() - DAYS * 24 * 3600
    kept = [(p, read_state(p, Notice)) for p in _folder(layout).glob("[!.]*.json")]
    waiting = [(p, one) for p, one in kept if one and not one.done and one.time > after]
    return dict(sorted(waiting, key=lambda pair: pair[1].time))


def test(layout: Layout) -> dict[str, str | None]:
    """Send every address a test message; the result as that of `send`.

    Raises UserError where params.yaml has no address.
    """
    addresses = NotifyParams.load(layout.params).addresses
    if not addresses:
        raise UserError("notify.addresses in params.yaml is empty", "add one (docs/notices.md)")
    notice = Notice("test", "", "A test of recctl", f"project: {layout.root}", time.time(), [])
    wanted = {address: {layout.root: notice} for address in addresses}
    return deliver.deliver(addresses, wanted, lambda path, address: None)
