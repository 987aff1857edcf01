"""Logs at addresses, from an S3 server on this machine."""

import gzip
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import settings

import buckets
import ports
from recctl.cli import main
from recctl.datasets import addresses
from recctl.datasets.addresses import at_hand
from recctl.errors import UserError
from recctl.layout import Layout
from web import send_file, serving

pytestmark = pytest.mark.usefixtures("quick_dvc")

HEADER = "user_id,item_id,timestamp\n"
FIRST, SECOND = "ann,tea,1700000000\nbob,tea,1700000001\n", "ann,jam,1700000002\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server with one log in a file, and in a folder as Spark writes it."""
    held = {
        "log.csv": (HEADER + FIRST + SECOND).encode(),
        "days/day=1/part.csv": (HEADER + FIRST).encode(),
        "days/day=2/part.csv": gzip.compress((HEADER + SECOND).encode()),
        "days/day=3/": b"",
        "days/_SUCCESS": b"",
        "days/_temporary/part.csv": b"half",
        "empty/": b"",
    }
    with buckets.server() as address:
        for key, body in held.items():
            buckets.client(address).put_object(Bucket="shop", Key=key, Body=body)
        yield address


@pytest.fixture(autouse=True)
def _environment_names(server: str) -> None:
    buckets.known_to_all(server)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    root = tmp_path / "project"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "params.yaml").write_text("ingest: {name: none, files: [none], format: csv}\n")
    monkeypatch.chdir(root)
    return Layout(root)


@pytest.fixture
def run(
    project: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run `recctl data ...`: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["recctl", "data", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        code = end.value.code
        return code if isinstance(code, int) else 0, *capsys.readouterr()

    return call


def fetched(layout: Layout, *names: str, said: list[str] | None = None) -> list[Path]:
    say = (said if said is not None else []).append
    with at_hand(layout, names, lambda done, total: say(f"{done} of {total}"), say) as paths:
        return paths


def test_a_file_is_used_as_a_log(run: Run, project: Layout) -> None:
    code, out, err = run("use", "s3://shop/log.csv")
    assert code == 0, err
    assert (project.data / "log.csv").read_text() == HEADER + FIRST + SECOND
    assert "data/ holds log: log.csv (83 bytes); data.dvc has its digest" in out
    assert err.startswith("fetching s3://shop/log.csv\n0 bytes of 83 bytes\n83 bytes of 83 bytes\n")
    assert buckets.SETTINGS["AWS_SECRET_ACCESS_KEY"] not in out + err
    assert not list(project.state.glob("downloads/*"))


def test_a_folder_gives_its_files_without_what_is_hidden(project: Layout) -> None:
    said: list[str] = []
    one, two = fetched(project, "s3://shop/days/", said=said)
    assert one.read_text() == HEADER + FIRST
    assert gzip.decompress(two.read_bytes()).decode() == HEADER + SECOND
    size = one.stat().st_size + two.stat().st_size
    assert said[0] == "fetching s3://shop/days/: 2 files"
    assert said[-1] == f"{size} of {size}"


def test_what_was_fetched_is_kept_until_it_is_cleared(project: Layout) -> None:
    said: list[str] = []
    [kept] = fetched(project, "s3://shop/log.csv")
    assert fetched(project, "s3://shop/log.csv", said=said) == [kept]
    assert said == []
    addresses.clear(project)
    assert not kept.exists()


def test_a_changed_file_is_fetched_again(project: Layout, server: str) -> None:
    for body in (b"one", b"two"):
        buckets.client(server).put_object(Bucket="shop", Key="changing.csv", Body=body)
        [path] = fetched(project, "s3://shop/changing.csv")
        assert path.read_bytes() == body


def test_a_broken_download_leaves_no_half_file_and_keeps_the_whole_ones(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc_s3 import S3FileSystem

    get_file = S3FileSystem.get_file
    asked: list[str] = []

    def broken(self: Any, path: str, local: str, **options: Any) -> None:
        asked.append(path)
        if path.endswith("day=2/part.csv"):
            Path(local).write_bytes(b"half")
            raise ConnectionResetError("cut")
        get_file(self, path, local, **options)

    monkeypatch.setattr(S3FileSystem, "get_file", broken)
    with pytest.raises(UserError, match=r"s3://shop/days cannot be read \(cut\)"):
        fetched(project, "s3://shop/days")
    assert [path.name for path in project.state.glob("downloads/*/*/*")] == ["part.csv"]
    monkeypatch.setattr(S3FileSystem, "get_file", get_file)
    said: list[str] = []
    assert len(fetched(project, "s3://shop/days", said=said)) == 2
    assert said[0] == "fetching s3://shop/days: 1 files"
    assert asked == ["shop/days/day=1/part.csv", "shop/days/day=2/part.csv"]


def test_errors_name_the_address(run: Run) -> None:
    code, out, err = run("preview", "s3://shop/log.csv", "--user-column", "who")
    assert (code, out) == (2, "")
    assert "recctl: s3://shop/log.csv has no column 'who'" in err
    assert ".recctl" not in err


def test_a_known_set_from_a_store(run: Run, project: Layout) -> None:
    code, _, err = run("use", "ml-1m", "--from", "s3://shop/log.csv")
    assert code == 2
    assert "recctl: s3://shop/log.csv does not hold ml-1m" in err
    code, _, err = run("use", "ml-1m", "--from", "s3://shop/days")
    assert code == 2
    assert err.endswith("s3://shop/days is a folder; name the set's archive or file in it\n")


def test_two_files_of_one_name_from_the_web(project: Layout, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "log.csv").write_text(folder)
    with serving(lambda request: send_file(request, tmp_path)) as address:
        one, two = fetched(project, f"{address}/a/log.csv", f"{address}/b/log.csv")
    assert (one.read_text(), two.read_text()) == ("a", "b")


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("s3://shop/none.csv", "there is nothing at s3://shop/none.csv; check the bucket"),
        (
            "s3://nowhere/log.csv",
            "there is nothing at s3://nowhere/log.csv (The specified bucket does not exist); check",
        ),
        ("s3://shop/empty/", "s3://shop/empty/ is a folder without files; check the address"),
        ("s3://", "s3:// cannot be read (Cannot traverse all of S3); check"),
        ("gs://shop/log.csv", "gs://shop/log.csv needs a plugin of DVC's; pip install 'dvc-gs'"),
        ("ftp://shop/log.csv", "(config file error: Unsupported URL type ftp://); check"),
        ("remote://none/log.csv", "(config file error: remote 'none' doesn't exist); check"),
    ],
)
def test_what_cannot_be_fetched(project: Layout, address: str, line: str) -> None:
    with pytest.raises(UserError) as raised:
        fetched(project, address)
    assert line in str(raised.value)
    assert not list(project.state.glob("downloads/*/*/*"))


def test_one_line_and_exit_code_2(run: Run, project: Layout) -> None:
    code, out, err = run("use", "s3://shop/none.csv")
    assert (code, out) == (2, "")
    assert err == (
        "recctl: there is nothing at s3://shop/none.csv; check the bucket and the path\n"
    )
    assert not project.data.exists()


def test_without_the_plugin(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dvc_s3", None)
    with pytest.raises(UserError, match=r"needs a plugin of DVC's; pip install 'recctl\[s3\]'"):
        fetched(project, "s3://shop/log.csv")


def test_without_credentials(project: Layout) -> None:
    del os.environ["AWS_ACCESS_KEY_ID"]
    with pytest.raises(UserError, match=r"\(Unable to locate credentials\); check .* credentials"):
        fetched(project, "s3://shop/log.csv")


def test_access_denied(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0.0)  # it knows nobody
    with pytest.raises(UserError, match=r"s3://shop/log.csv may not be read \(.*\); check the cre"):
        fetched(project, "s3://shop/log.csv")


def test_no_server(project: Layout) -> None:
    with ports.refusing() as port:
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        with pytest.raises(UserError, match=rf"Could not connect .*:{port}/shop.*; check"):
            fetched(project, "s3://shop/log.csv")


def test_a_silent_server(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError, match=r"s3://shop/log.csv does not answer within 1 s"):
            fetched(project, "s3://shop/log.csv")


def test_a_full_disk_is_named(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc_s3 import S3FileSystem

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(S3FileSystem, "get_file", full)
    with pytest.raises(OSError, match="No space left on device"):
        fetched(project, "s3://shop/log.csv")
