"""The command line of promotion: exit codes, JSON, prompts; in this process and on a terminal."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny_project as tiny

from commands import Outcome, Run, here, runner
from lives import SECONDS
from programs import captured
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.models.blend import Blend
from recctl.promotion import history
from recctl.promotion.ledger import log
from recctl.promotion.trial import contenders
from recctl.promotion.view.schema import Output
from recctl.render.console import Console
from recctl.sequences.store import SequenceData
from recctl.training.checkpoint import Checkpoint
from recctl.training.launch import fit_project
from recctl.training.params import TrainParams


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    """A model that was never promoted."""
    layout = tiny.make(tmp_path / "project")
    tiny.train(layout, "item-knn")
    return layout


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], project: Layout) -> Run:
    """Run `recctl ...` in the project, in this process, with all that the libraries print."""

    return partial(runner(monkeypatch, capfd), project.root)


def output(said: Outcome) -> dict[str, Any]:
    """Standard output as what docs/decision.schema.json describes; the rest went elsewhere."""
    Output.model_validate_json(said.out)
    assert all(line.startswith("recctl: ") for line in said.err.splitlines()), said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def champion(project: Layout) -> int | None:
    return history.open_registry(project).aliases().get("champion")


def test_a_blend_is_promoted_and_its_version_recommends(project: Layout, run: Run) -> None:
    data = SequenceData.load(project.sequences)
    small = {"max_length": 12, "hidden_size": 8}
    params = TrainParams.model_validate(
        {"model": "blend", "device": "cpu", "max_epochs": 1, "sasrec": small, "filter_seen": True}
    )
    checkpoint = Checkpoint(project.state / "checkpoints", "b" * 64)
    done = fit_project(data, params, True, checkpoint, console=Console(quiet=True))
    assert isinstance(done.model, Blend)
    assert "markov" in done.model.weights
    tiny.put(project, done.model, about={"params": params.model_dump()})
    policy = {**tiny.POLICY, "baselines": ["popularity", "item-knn"]}
    tiny.set_params(project.root, promotion=policy)

    decision = output(run("promote", "--yes", "--json"))["decision"]
    assert (decision["verdict"], decision["challenger"]["model"]) == ("promoted", "blend")
    registry = history.open_registry(project)
    served = contenders.registered(registry, project, 1, log.in_force(registry.entries())).served
    assert isinstance(served.model, Blend)
    assert served.model.weights == done.model.weights
    assert served.unseen_only  # as its network learnt to
    asked = json.loads(run("recommend", "--history", "i3,i4", "-k", "5", "--json").out)
    best = served.recommend(["i3", "i4"], 5, filter_seen=True)
    assert [one["item_id"] for one in asked["recommendations"]] == [one.item_id for one in best]
    assert best[0].item_id == "i5"


# --- exit codes and JSON


def test_every_exit_code_of_a_judgement(project: Layout, run: Run) -> None:
    first = run("promote", "--yes", "--json")
    found = output(first)
    assert (first.code, found["exit_code"], found["decision"]["verdict"]) == (0, 0, "promoted")
    assert (found["position"], found["state"], found["in_force"]) == (1, "done", True)

    again = run("promote", "--yes", "--json")
    found = output(again)
    assert (again.code, found["decision"], found["position"]) == (0, None, None)
    assert found["note"].startswith("nothing to do: ")

    tiny.train_markov(project, smoothing=1e9)
    worse = run("promote", "--yes", "--json")
    assert (worse.code, output(worse)["exit_code"]) == (3, 3)
    assert output(worse)["decision"]["verdict"] == "rejected"

    tiny.train(project, "markov")
    tiny.set_params(project.root, promotion={**tiny.POLICY, "suspicious_gain": 0.01})
    suspicious = run("promote", "--yes", "--json")
    assert (suspicious.code, output(suspicious)["exit_code"]) == (4, 4)
    assert output(suspicious)["decision"]["verdict"] == "suspicious"

    tiny.set_params(project.root, promotion={"registered_model": "tiny"})
    nothing_compared = run("promote", "--yes", "--json")
    assert (nothing_compared.code, nothing_compared.out) == (2, "")
    assert champion(project) == 1
    tiny.set_params(project.root, promotion={**tiny.POLICY, "suspicious_gain": 0.01})

    forced = run("promote", "--yes", "--force", "--reason", "we know", "--json")
    found = output(forced)
    assert (forced.code, found["exit_code"], found["decision"]["forced"]) == (0, 0, True)
    assert champion(project) == found["decision"]["sets"]["champion"] == 3
    assert run("verify", "--all").code == 0


@pytest.mark.parametrize("as_json", [False, True], ids=["tables", "json"])
def test_a_dry_run_says_the_same_with_the_same_exit_code(
    project: Layout, run: Run, as_json: bool
) -> None:
    option = ["--json"] if as_json else []
    dry = run("promote", "--dry-run", *option)
    assert dry.code == 0
    if as_json:
        found = output(dry)
        assert (found["position"], found["state"], found["digest"]) == (None, None, None)
        assert found["decision"]["sets"] is None
    else:
        assert "WOULD BE PROMOTED" in dry.out
    run("promote", "--yes")
    tiny.train_markov(project, smoothing=1e9)
    before = history.open_registry(project).entries()
    assert run("promote", "--dry-run", *option).code == 3
    assert history.open_registry(project).entries() == before


def test_what_is_on_record_in_tables_and_json(project: Layout, run: Run) -> None:
    run("promote", "--yes")
    tiny.train(project, "markov")
    run("promote", "--yes")
    back = run("rollback", "--reason", "of a [bold]test[/bold]", "--yes", "--json")
    assert (back.code, output(back)["decision"]["kind"]) == (0, "rollback")
    assert champion(project) == 1

    rows = output(run("history", "--json"))["rows"]
    assert [row["body"]["kind"] for row in rows] == ["promotion", "promotion", "rollback"]
    table = run("history").out
    for words in ("PROMOTED", "ROLLED BACK", "of a [bold]test[/bold]", "2 to 1"):
        assert words in table

    checks = output(run("verify", "--json"))
    assert checks["consistent"] is True
    assert run("verify").out.rstrip().endswith("everything is consistent.")

    listed = output(run("models", "list", "--json"))["versions"]
    assert [(one["version"], one["aliases"]) for one in listed] == [
        (2, []),
        (1, ["best", "champion"]),
    ]
    assert "best, champion" in run("models", "list").out
    (shown,) = output(run("models", "show", "champion", "--json"))["versions"]
    assert (shown["version"], shown["model"], shown["decision"]) == (1, "item-knn", 1)
    assert "artifacts/recommender/model.safetensors" in shown["files"]
    assert shown["digest"] in run("models", "show", "1").out

    explained = output(run("explain", "2", "--json"))
    assert explained["decision"] == rows[1]["body"]
    assert "the same verdict and the same figures" in explained["note"]
    text = run("explain", "2").out
    assert "Decision 2: promotion of tiny" in text
    assert "Checked: decided again from its evidence" in text
    assert run("explain", "3").code == 0

    compared = run("compare", "2", "workspace", "--json")
    body = output(compared)["comparison"]
    assert (compared.code, body["challenger"]["digest"]) == (0, body["champion"]["digest"])
    differences = [gate["difference"] for gate in body["gates"] if gate["gate"] == "primary"]
    assert differences == [0.0, 0.0]
    table = run("compare", "1", "2").out
    assert "Comparison of tiny: item-knn, version 1 and markov, version 2" in table


def test_what_is_not_so_exits_with_2(project: Layout, run: Run) -> None:
    run("promote", "--yes")
    (evidence,) = (project.root / "mlartifacts").glob("*/artifacts/decision/evidence.json")
    evidence.write_text(evidence.read_text() + " ")
    explained = run("explain", "1")
    assert explained.code == 2
    assert "NOT CONFIRMED: its evidence was altered" in explained.out
    checked = run("verify", "--json")
    assert (checked.code, output(checked)["consistent"]) == (2, False)


# --- no terminal


@pytest.mark.parametrize(
    "command",
    ["promote", "promote --json", "promote --force --reason x", "rollback --reason x"],
)
def test_a_missing_terminal_is_reported_before_any_work(
    project: Layout, run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(Layout, "find", never)
    said = run(*command.split())
    assert (said.code, said.out) == (2, "")
    assert said.err == "recctl: no terminal to ask for confirmation; give --yes (or --dry-run)\n"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("rollback --yes", "--reason"),
        ("compare 1", "second"),
        ("explain one", "integer"),
        ("models", ""),
        ("promote --yes --forced", "--forced"),
    ],
)
def test_a_command_that_is_not_whole_exits_with_2(run: Run, command: str, says: str) -> None:
    said = run(*command.split())
    assert said.code == 2
    assert says.lower() in (said.out + said.err).lower()
    assert "Traceback" not in said.err


# --- a person at the terminal


class Terminal:
    """A command on a new pseudo-terminal, in a process forked from this one."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            code = 1
            try:
                os.environ |= {"COLUMNS": "100", "TERM": "dumb"}
                signal.signal(signal.SIGINT, signal.default_int_handler)
                sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
                code = here(root, *arguments)
                sys.stdout.flush()
            finally:
                os._exit(code)
        self.seen = ""
        self.ended = False

    def until(self, words: str, seconds: float = SECONDS) -> None:
        end = time.monotonic() + seconds
        while words not in self.seen:
            assert self._read(end - time.monotonic()), f"{words!r} never came:\n{self.seen}"

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self, kill: bool = False) -> int:
        """The exit code, once the command has ended."""
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        while self._read(SECONDS):
            pass
        self.ended = True
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.master)
        return code

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(seconds, 0))
        if not ready:
            return False
        with contextlib.suppress(OSError):  # the other end is closed
            if raw := os.read(self.master, 4096):
                text = raw.decode(errors="replace").replace("\r\n", "\n")
                self.seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
                return True
        return False


@pytest.fixture
def terminal(project: Layout) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        started.append(Terminal(project.root, *arguments))
        return started[-1]

    yield start
    for one in started:
        if not one.ended:
            one.end(kill=True)


@pytest.mark.parametrize(
    ("keys", "code", "says", "serves"),
    [
        (b"y\n", 0, "Decision 1: promotion of tiny, PROMOTED", 1),
        (b"n\n", 2, "recctl: not promoted: declined; nothing was changed", None),
        (b"\n", 2, "recctl: not promoted: declined; nothing was changed", None),
        (b"\x03", 130, "recctl: interrupted", None),
        (b"\x04", 130, "recctl: interrupted", None),
    ],
    ids=["yes", "no", "nothing", "ctrl-c", "ctrl-d"],
)
def test_a_person_is_shown_the_decision_and_asked(
    project: Layout,
    terminal: Callable[..., Terminal],
    keys: bytes,
    code: int,
    says: str,
    serves: int | None,
) -> None:
    shown = terminal("promote")
    shown.until("Let this model serve? [y/N]:")
    assert "WOULD BE PROMOTED" in shown.seen
    shown.type(keys)
    assert shown.end() == code, shown.seen
    assert says in shown.seen
    assert "Traceback" not in shown.seen
    assert champion(project) == serves
    if serves is None:
        registry = history.open_registry(project)
        assert (registry.versions(), registry.entries()) == ([], [])


def test_whoever_decides_too_late_is_stale(
    project: Layout, terminal: Callable[..., Terminal], run: Run
) -> None:
    """While one person thinks, another process promotes the same model."""
    run("promote", "--yes")
    tiny.train(project, "markov")
    slow = terminal("promote")
    slow.until("Let this model serve? [y/N]:")
    assert captured(lambda: here(project.root, "promote", "--yes"))[0] == 0
    slow.type(b"y\n")
    assert slow.end() == 5, slow.seen
    assert "STALE" in slow.seen
    said = output(run("history", "--json"))["rows"]
    assert [row["body"]["verdict"] for row in said] == ["promoted", "promoted", "stale"]
    assert champion(project) == 2
    assert len(history.open_registry(project).versions()) == 2
    assert run("verify").code == 0


def test_a_model_that_changes_while_a_person_thinks_is_not_promoted(project: Layout) -> None:
    """What is registered is what was judged."""

    def retrain(body: object) -> bool:
        tiny.train_markov(project, smoothing=1e9)
        return True

    with pytest.raises(UserError, match="changed while it was judged"):
        tiny.promote(project, confirm=retrain)
    registry = history.open_registry(project)
    assert (registry.versions(), registry.entries(), registry.aliases()) == ([], [], {})


def test_a_decision_that_comes_first_makes_json_stale_with_5(
    project: Layout, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, in a program: the second process comes between judging and writing."""
    from recctl.promotion import promote as module

    run("promote", "--yes")
    tiny.train(project, "markov")
    keep = module._keep_evidence

    def overtaken(*arguments: Any) -> str:
        monkeypatch.setattr(module, "_keep_evidence", keep)
        assert captured(lambda: here(project.root, "promote", "--yes"))[0] == 0
        return keep(*arguments)

    monkeypatch.setattr(module, "_keep_evidence", overtaken)
    late = run("promote", "--yes", "--json")
    found = output(late)
    assert (late.code, found["exit_code"]) == (5, 5)
    assert (found["decision"]["verdict"], found["decision"]["sets"]) == ("stale", None)
    assert "run the command again" in found["decision"]["sentence"]
    assert run("promote", "--yes").code == 0  # the model serves: nothing to do
