"""Delivery to webhooks that answer, refuse, hang or do not exist; no secret is shown."""

import base64
import time
from pathlib import Path

import pytest

import ports
from recctl.notify import deliver
from recctl.notify.deliver import Notice, exposed
from webhooks import Webhook

SECRET = "s3cret-t0ken"
NOTICE = Notice("run-failed", "key", "retrain failed", "the disk is full", 0.0, [])


def deliver_to(*addresses: str, count: int = 1) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """What went wrong, and which notice was accepted by which address."""
    accepted: list[tuple[str, str]] = []
    notices = {Path(str(number)): NOTICE for number in range(count)}
    problems = deliver.deliver(
        addresses,
        dict.fromkeys(addresses, notices),
        lambda path, address: accepted.append((str(path), address)),
    )
    return {place: text for place, text in problems.items() if text}, accepted


def test_a_webhook_gets_title_text_and_kind(webhook: Webhook) -> None:
    assert deliver_to(webhook.address) == ({}, [("0", webhook.address)])
    [message] = webhook.messages
    assert message["title"] == "recctl: retrain failed"
    assert message["message"] == "the disk is full"
    assert message["type"] == "failure"


def test_several_notices_arrive_in_their_order(webhook: Webhook) -> None:
    problems, accepted = deliver_to(webhook.address, count=3)
    assert problems == {}
    assert [name for name, _ in accepted] == ["0", "1", "2"]
    assert len(webhook.messages) == 3


def test_a_webhook_that_fails_once_is_tried_again(webhook: Webhook) -> None:
    webhook.statuses = [500, 503]
    assert deliver_to(webhook.address) == ({}, [("0", webhook.address)])
    assert len(webhook.messages) == 1


def test_a_webhook_that_answers_500_gets_no_further_notice(webhook: Webhook) -> None:
    webhook.statuses = [500] * 9
    problems, accepted = deliver_to(webhook.address, count=2)
    assert list(problems) == ["address 1 (json)"]
    assert "error=500" in problems["address 1 (json)"]
    assert accepted == []
    assert len(webhook.requests) == len(deliver.WAITS)


def test_a_webhook_that_is_down_is_one_line() -> None:
    with ports.refusing() as port:
        problems, accepted = deliver_to(f"json://127.0.0.1:{port}/{SECRET}")
    [(place, problem)] = problems.items()
    assert place == "address 1 (json)"
    assert "onnection error" in problem
    assert SECRET not in problem
    assert "\n" not in problem
    assert accepted == []


def test_a_webhook_that_hangs_delays_no_other_and_ends_in_time(
    webhook: Webhook, other: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "SECONDS", 1.0)
    webhook.statuses = [0] * 9
    began = time.monotonic()
    problems, accepted = deliver_to(webhook.address, other.address)
    assert 1.0 <= time.monotonic() - began < 3.0
    assert problems == {"address 1 (json)": "no answer within 1 s"}
    assert accepted == [("0", other.address)]


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (f"no-such://{SECRET}", "address 1"),
        (f"slack://{SECRET}", "address 1 (slack)"),
        (SECRET, "address 1"),
        ("json://[", "address 1 (json)"),
        ("", "address 1"),
    ],
)
def test_a_bad_address_is_one_line_without_it(
    address: str, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    problems, _ = deliver_to(address)
    assert problems == {place: "Apprise knows no such address, or a part of it is missing"}
    assert capfd.readouterr() == ("", "")


def test_a_secret_comes_from_the_environment_and_is_not_shown(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOOK_KEY", SECRET)
    host = webhook.address.removeprefix("json://")
    address = f"json://ann:${{HOOK_KEY}}@{host}${{HOOK_KEY}}"
    webhook.statuses = [500] * 3
    problems, _ = deliver_to(address)
    assert SECRET not in str(problems)
    assert deliver_to(address) == ({}, [("0", address)])
    request = webhook.requests[-1]
    assert request.path == f"/{SECRET}"
    sent = base64.b64decode(request.headers["Authorization"].removeprefix("Basic "))
    assert sent.decode() == f"ann:{SECRET}"
    assert capfd.readouterr() == ("", "")


def test_a_variable_may_hold_the_whole_address(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", webhook.address)
    assert deliver_to("${HOOK}")[0] == deliver_to("env:HOOK")[0] == {}
    assert len(webhook.messages) == 2


def test_a_variable_that_is_not_set_is_named() -> None:
    problems, _ = deliver_to("slack://${NO_SUCH_TOKENS}")
    [problem] = problems.values()
    assert "the environment variable NO_SUCH_TOKENS, which is not set" in problem


def test_addresses_with_a_secret_in_params_yaml_are_found() -> None:
    addresses = [
        "json://127.0.0.1/",
        "mailto://ann:s3cret@example.com",
        "mailto://ann:${MAIL_PASSWORD}@example.com",
        "env:HOOK",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "no-such://x",
    ]
    assert exposed(addresses) == ["address 2 (mailto)", "address 5 (slack)"]
