"""Notices: one for each event, kept until they are accepted; they never change a run's result."""

import errno
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import decision_bodies as bodies
import pytest
import small_project as small
from ruamel.yaml import YAML
from typer.testing import CliRunner

import ports
from recctl.cli.app import app
from recctl.errors import UserError
from recctl.files import write_json
from recctl.layout import Layout
from recctl.notify import deliver, notices
from recctl.notify.notices import Notices, during
from recctl.pipeline import StageFailed
from recctl.retraining.run import Hooks
from webhooks import Webhook

PROMOTED, REJECTED = bodies.record(bodies.PROMOTED), bodies.record(bodies.REJECTED)


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    return Layout(tmp_path)


def configure(layout: Layout, *addresses: str, **more: Any) -> None:
    with layout.params.open("w") as file:
        YAML().dump({"notify": {"addresses": list(addresses), **more}}, file)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def sender(project: Layout, webhook: Webhook, said: list[str]) -> Notices:
    configure(project, webhook.address)
    return Notices(project, said.append, "retrain")


def test_a_decision_is_one_notice_with_its_reason_figures_and_page(
    sender: Notices, webhook: Webhook, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:s3cret@mlflow.example:5000/")
    sender.decided(PROMOTED, 3)
    sender.decided(PROMOTED, 3)
    [message] = webhook.messages
    assert message["title"] == "recctl: Decision 3: promotion of recommender, PROMOTED"
    assert message["type"] == "success"
    lines = message["message"].splitlines()
    assert lines[0] == PROMOTED.sentence.removeprefix("promoted: ")
    assert any("the alias moves from 3 to 4" in line for line in lines)
    assert "NDCG@10 .2611, champion .2480, difference +.0131 [+.0041, +.0221]" in lines
    page = sender.layout.decisions / "0003" / "decision.html"
    assert f"page: {page}" in lines
    assert f"MLflow: https://mlflow.example:5000/#/runs/{'0f' * 16}" in lines
    assert "s3cret" not in message["message"]
    assert said == []


def test_another_model_of_the_registry_has_its_own_decisions(
    sender: Notices, webhook: Webhook
) -> None:
    sender.decided(PROMOTED, 3)
    sender.decided(PROMOTED.but(registered_model="another"), 3)
    assert len(webhook.messages) == 2


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("promoted", "promoted"),
        ("first", "promoted"),
        ("forced", "promoted"),
        ("rejected", "rejected"),
        ("suspicious", "suspicious"),
        ("refused", "run-failed"),
        ("rollback", "rolled-back"),
        ("stale", None),
        ("recovery", None),
    ],
)
def test_decisions_are_events_by_their_verdict(
    sender: Notices, webhook: Webhook, name: str, event: str | None
) -> None:
    configure(sender.layout, webhook.address, events=["rejected", event or "promoted"])
    sender.decided(bodies.record(bodies.ALL[name]), 3)
    kept = [json.loads(path.read_text())["event"] for path in files(sender.layout)]
    assert kept == ([event] if event else [])


def test_a_rejection_is_no_event_unless_it_is_named(sender: Notices, webhook: Webhook) -> None:
    sender.decided(REJECTED, 4)
    assert files(sender.layout) == webhook.messages == []


def files(layout: Layout) -> list[Path]:
    return sorted((layout.state / "notices").glob("*.json"))


def test_an_approval_is_awaited_until_when_and_where(project: Layout, webhook: Webhook) -> None:
    configure(project, webhook.address)
    page = "http://127.0.0.1:4200/runs/flow-run/7"
    for run in ("7", "7", "8"):  # a run that is killed and repeated is answered on another page
        Notices(project, print, "retrain", run, page).awaited(PROMOTED, 24)
    assert webhook.titles == ["recctl: A model of recommender waits for approval"] * 2
    lines = webhook.messages[0]["message"].splitlines()
    assert lines[0].startswith("No answer within 24 hours means no. Answer by 'recctl approve'")
    assert lines[-1] == f"Prefect: {page}"


def test_a_failed_run_is_one_notice_and_fails_as_it_would(
    project: Layout, webhook: Webhook, said: list[str]
) -> None:
    configure(project, webhook.address)
    for _ in range(2):  # the retries of one flow run
        with (
            pytest.raises(OSError, match="No space left"),
            during(project, said.append, "retrain", run="7"),
        ):
            raise OSError(errno.ENOSPC, "No space left on device", "data/log.csv")
    [message] = webhook.messages
    assert message["title"] == "recctl: retrain failed"
    first = "No space left on device at data/log.csv; free some disk space and run the"
    assert message["message"].startswith(first)
    assert said == []


def test_each_failed_run_at_a_terminal_is_a_notice(project: Layout, webhook: Webhook) -> None:
    configure(project, webhook.address)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), during(project, print, "retrain"):
            _ = 1 / 0
    assert len(webhook.messages) == 2
    assert "a defect of recctl: ZeroDivisionError" in webhook.messages[0]["message"]


def test_an_interrupt_is_no_failure(project: Layout, webhook: Webhook) -> None:
    configure(project, webhook.address)
    with pytest.raises(KeyboardInterrupt), during(project, print, "retrain"):
        raise KeyboardInterrupt
    assert webhook.messages == []


def test_a_secret_in_an_error_is_not_sent(sender: Notices, webhook: Webhook) -> None:
    sender.failed(UserError("no answer from https://ann:s3cret@example.com/x?token=t0ken"))
    assert "no answer from https://example.com/x?token=***" in webhook.messages[0]["message"]


def test_rejected_data_is_one_notice_whichever_flow_sees_it(
    project: Layout, webhook: Webhook
) -> None:
    configure(project, webhook.address)
    (project.root / "data.dvc").write_text("outs:\n- md5: 9e107d9d.dir\n  path: data\n")
    rule = {"rule": "volume-break", "verdict": "failed", "observed": 99.0, "limit": "at most 10"}
    write_json(project.validation / "report.json", {"rules": [{**rule, "unit": "times"}]})
    error = StageFailed("stage 'validate' failed", "validate", "1 of 20 expectations")
    for run in ("7", "8"):
        with pytest.raises(StageFailed), during(project, print, "retrain", run=run):
            raise error
    [message] = webhook.messages
    assert message["title"] == "recctl: New data was rejected"
    lines = message["message"].splitlines()
    assert lines[:2] == [
        "stage 'validate' failed: 1 of 20 expectations",
        "volume-break: 99.0 times (at most 10)",
    ]
    assert "data: 9e107d9d.dir" in lines


def test_what_was_not_accepted_waits_for_the_next_run(
    sender: Notices, webhook: Webhook, other: Webhook, said: list[str]
) -> None:
    """And goes only to the address that has not accepted it."""
    configure(sender.layout, webhook.address, other.address)
    other.statuses = [500] * 3
    sender.decided(PROMOTED, 3)
    [line] = said
    assert line.startswith("no notice to address 2 (json): ")
    assert "error=500" in line
    assert line.endswith("; the next run tries again")
    for _ in range(2):
        with during(sender.layout, said.append, "retrain"):
            pass
    assert (len(webhook.messages), len(other.messages), len(said)) == (1, 1, 1)


def test_a_notice_of_a_killed_process_is_sent_by_the_next_run(
    sender: Notices, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(deliver, "deliver", killed)
        with pytest.raises(KeyboardInterrupt):
            sender.decided(PROMOTED, 3)
    assert webhook.messages == []
    sender.decided(PROMOTED, 3)
    sender.send({})
    assert len(webhook.messages) == 1


def test_a_notice_that_is_too_old_is_given_up(
    sender: Notices, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook.statuses = [500] * 3
    sender.decided(PROMOTED, 3)
    now = time.time() + notices.DAYS * 24 * 3600
    monkeypatch.setattr("recctl.notify.notices.time.time", lambda: now)
    sender.send({})
    assert webhook.messages == []


def test_a_full_disk_does_not_hide_itself(
    sender: Notices, webhook: Webhook, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(notices, "write_json", full)
    monkeypatch.setattr(notices, "locked", full)
    sender.failed(OSError(errno.ENOSPC, "No space left on device", "data/log.csv"))
    assert (webhook.titles, said) == (["recctl: retrain failed"], [])


def test_while_another_process_sends_a_notice_is_kept(
    sender: Notices, webhook: Webhook, said: list[str]
) -> None:
    from recctl.files import locked

    with locked(sender.layout.state / "notices" / "lock"):
        sender.decided(PROMOTED, 3)
    assert webhook.messages == []
    assert said == ["notices: another process sends notices; wait until it has ended"]
    sender.send({})
    assert len(webhook.messages) == 1


@pytest.mark.parametrize("text", ["notify: {adresses: []}", "notify: [", "<<<<<<< ours\n"])
def test_mistakes_in_params_yaml_fail_no_run(sender: Notices, said: list[str], text: str) -> None:
    sender.layout.params.write_text(text)
    sender.decided(PROMOTED, 3)
    assert len(said) == 1
    assert said[0].startswith("notices: ")


def test_without_addresses_nothing_is_imported_or_written(project: Layout) -> None:
    configure(project)
    program = (
        "import sys; from pathlib import Path; from recctl.layout import Layout;"
        "from recctl.notify.notices import during;"
        f"layout = Layout(Path({str(project.root)!r}))\n"
        "try:\n"
        "    with during(layout, print, 'retrain') as sent: 1 / 0\n"
        "except ZeroDivisionError: print('apprise' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
    assert not project.state.exists()


def run(layout: Layout, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    monkeypatch.chdir(layout.root)
    done = CliRunner().invoke(app, ["notify", *arguments])
    if isinstance(done.exception, UserError):  # which `recctl.cli.main` prints
        return 2, str(done.exception)
    return done.exit_code, done.output


def test_a_test_says_for_each_address_whether_it_was_accepted(
    project: Layout, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(project, webhook.address)
    assert run(project, monkeypatch, "--test") == (0, "address 1 (json): accepted\n")
    assert webhook.titles == ["recctl: A test of recctl"]
    with ports.refusing() as port:
        configure(project, webhook.address, f"json://127.0.0.1:{port}/s3cret", "foo")
        code, output = run(project, monkeypatch, "--test")
    assert code == 2
    first, second, third = output.splitlines()
    assert first == "address 1 (json): accepted"
    assert second.startswith("address 2 (json): not accepted: ")
    assert third.startswith("address 3: not accepted: ")
    assert "s3cret" not in output
    assert files(project) == []


def test_a_test_without_an_address_is_an_error(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(project)
    code, output = run(project, monkeypatch, "--test")
    assert (code, "notify.addresses in params.yaml is empty" in output) == (2, True)


def test_the_command_sends_what_waits(
    sender: Notices, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook.statuses = [500] * 6
    sender.decided(PROMOTED, 3)
    code, output = run(sender.layout, monkeypatch)
    assert (code, "error=500" in output) == (2, True)
    assert run(sender.layout, monkeypatch) == (0, "address 1 (json): accepted\n")
    assert run(sender.layout, monkeypatch) == (0, "No notice waits.\n")
    assert len(webhook.messages) == 1


@pytest.fixture
def trained(tmp_path: Path, webhook: Webhook) -> Layout:
    """A project that retrains in seconds."""
    layout = small.make(tmp_path / "small")
    small.settings(layout, notify={"addresses": [webhook.address]})
    return layout


Retrain = Callable[..., int]


@pytest.fixture
def recctl(trained: Layout, monkeypatch: pytest.MonkeyPatch) -> Retrain:
    def call(*arguments: str) -> int:
        return CliRunner().invoke(app, list(arguments)).exit_code

    monkeypatch.chdir(trained.root)
    return call


@pytest.mark.usefixtures("quick_decisions", "quick_stages", "quick_dvc")
def test_each_command_sends_what_happens_once(
    trained: Layout, webhook: Webhook, recctl: Retrain
) -> None:
    """The first retraining is killed after its decision, and repeated twice."""
    hooks = Hooks(
        say=print, decided=Notices(trained, print, "retrain").decided, step=_killed_at("publish")
    )
    with pytest.raises(KeyboardInterrupt):
        small.retrain(trained, hooks)
    expected = ["Decision 1: promotion of tiny, PROMOTED"]
    assert shown(webhook) == expected
    assert recctl("retrain") == recctl("retrain") == 0
    assert shown(webhook) == expected

    small.drop(trained, 10, 11)
    (trained.root / "bad-data").touch()
    assert recctl("retrain") == recctl("retrain") == 1  # typer's runner, not recctl's exit code
    expected += ["New data was rejected"]
    assert shown(webhook) == expected
    assert "volume-break: 99.0" in webhook.messages[-1]["message"]

    (trained.root / "bad-data").unlink()
    small.settings(trained, train={"device": "cpu", "model": "popularity"})
    assert recctl("retrain") == 3
    assert recctl("promote", "--yes", "--force", "--reason", "a try") == 0
    assert recctl("rollback", "--yes", "--reason", "it is slow") == 0
    expected += ["Decision 3: promotion of tiny, PROMOTED BY FORCE"]
    expected += ["Decision 4: rollback of tiny, ROLLED BACK"]
    assert shown(webhook) == expected
    assert "it is slow" in webhook.messages[-1]["message"]


def shown(webhook: Webhook) -> list[str]:
    return [title.removeprefix("recctl: ") for title in webhook.titles]


def _killed_at(name: str) -> Any:
    def step(at: str, work: Callable[[], Any], /) -> Any:
        if at == name:
            raise KeyboardInterrupt
        return work()

    return step
