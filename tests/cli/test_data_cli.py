"""`recctl data` as a user meets it: in a project, from the command line."""

import errno
import gzip
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recctl.cli import main
from recctl.datasets.catalogue import KNOWN
from recctl.datasets.recognise import LAYOUTS
from web import send_file, serving

pytestmark = pytest.mark.usefixtures("quick_dvc")

PARAMS = "ingest: {name: none, files: [none], format: csv}\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    command = [sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"]
    subprocess.run(command, cwd=folder, check=True)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / "params.yaml").write_text(PARAMS)
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(template, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `recctl data ...`: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["recctl", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        code = end.value.code
        return (code if isinstance(code, int) else 0), out, err

    return call


def test_list_needs_no_project(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("list")
    assert code == 0
    for name in ("starter", "ml-100k", "ml-1m", "ml-20m", "ml-32m", "amazon-beauty", "steam"):
        assert f"\n{name} " in out
    code, out, _ = run("list", "--json")
    sets = {known["name"]: known for known in json.loads(out)}
    assert sets["amazon-beauty"]["settings"]["sequence-split"] == {
        "minimum_user_interactions": 5,
        "minimum_item_interactions": 5,
    }


def test_the_known_sets_are_complete() -> None:
    for known in KNOWN.values():
        assert set(known.layouts) <= {*LAYOUTS, "table"}
        assert (known.name == "starter") == (known.address is None)
        assert known.licence
        assert known.checksum is None or known.checksum.startswith("https://")


TIMES = [1_500_000_000, 1_500_000_060, 1_500_086_400]
USERS, ITEMS = ["a", "a", "b"], ["x", "y", "x"]


def delimited(separator: str, times: Sequence[object] = TIMES, header: bool = True) -> bytes:
    lines = [("user_id", "item_id", "timestamp")] if header else []
    rows = [*lines, *zip(USERS, ITEMS, times, strict=True)]
    return "".join(separator.join(map(str, row)) + "\n" for row in rows).encode()


def parquet(times: list[Any]) -> bytes:
    table = pa.table({"user_id": USERS, "item_id": ITEMS, "timestamp": times})
    pq.write_table(table, file := io.BytesIO())
    return file.getvalue()


def records() -> bytes:
    rows = zip(USERS, ITEMS, TIMES, strict=True)
    lines = [{"user_id": user, "item_id": item, "timestamp": time} for user, item, time in rows]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


MOMENTS = [datetime.fromtimestamp(time, UTC) for time in TIMES]
LOGS = {
    "comma.csv": lambda: delimited(","),
    "packed.csv.gz": lambda: gzip.compress(delimited(",")),
    "bare.tsv": lambda: delimited("\t", header=False),
    "semicolon.csv": lambda: delimited(";"),
    "records.jsonl": records,
    "numbers.parquet": lambda: parquet([time * 1000 for time in TIMES]),
    "times.parquet": lambda: parquet(MOMENTS),
    "iso.csv": lambda: delimited(",", [moment.isoformat() for moment in MOMENTS]),
    "nano.csv": lambda: delimited(",", [time * 10**9 for time in TIMES]),
}
"""A log of three interactions in every form."""
OPTIONS = {"bare.tsv": ["--format", "tsv", "--columns", "user_id,item_id,timestamp"]}


def write_log(path: Path) -> Path:
    path.write_bytes(LOGS[path.name]())
    return path


@pytest.mark.parametrize("name", LOGS)
def test_own_logs_of_every_form_are_used_and_described(
    run: Run, project: Path, tmp_path: Path, name: str
) -> None:
    code, _, err = run("use", write_log(tmp_path / name), *OPTIONS.get(name, []))
    assert code == 0
    assert err.startswith(f"files: {name}, read as ")
    code, out, err = run("describe", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    counts = {key: found[key] for key in ("rows", "bad_rows", "users", "items", "repeats")}
    assert counts == {"rows": 3, "bad_rows": 0, "users": 2, "items": 2, "repeats": 0}
    assert found["name"] == name.split(".")[0]
    assert found["first"] == "2017-07-14T02:40:00+00:00"
    assert found["last"] == "2017-07-15T02:40:00+00:00"
    assert list(found["files"]) == [name]


def test_sequences_have_an_order_and_no_times(run: Run, project: Path, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("1 1\n1 2\n1 1\n2 2\n")
    assert run("use", tmp_path / "log.txt", "--format", "sequences")[0] == 0
    code, out, _ = run("describe")
    assert code == 0
    assert "rows     4 (0 in quarantine)\n" in out
    assert "repeats  1 (" in out
    assert "hidden   100.0% of the users' last items" in out
    assert "; with so many repeats set evaluate.filter_seen: false\n" in out
    assert "times    none: the order of lines is the time" in out
    assert "needs    about 9 s on two cores, 536.9 MB of memory and 600 bytes of disk" in out


def test_use_says_what_it_did(run: Run, project: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "comma.csv")
    code, out, _ = run("use", log, "--name", "shop")
    assert code == 0
    assert out.startswith("data/ holds shop: comma.csv (")
    assert "params.yaml: ingest.name: none -> shop\n" in out
    code, out, _ = run("use", log, "--json")
    assert json.loads(out)["changes"] == [
        {"setting": "ingest.name", "before": "shop", "after": "comma"}
    ]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the files in tmp_path / "web"."""
    (tmp_path / "web").mkdir()
    with serving(lambda handler: send_file(handler, tmp_path / "web")) as address:
        yield address


def test_a_known_set_from_a_web_address(run: Run, project: Path, tmp_path: Path, web: str) -> None:
    with zipfile.ZipFile(tmp_path / "web" / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::2::5::978300760\n")
    code, _, err = run("use", "ml-1m", "--from", f"{web}/ml-1m.zip")
    assert code == 0
    assert err.startswith(f"fetching {web}/ml-1m.zip; licence: research only")
    assert err.splitlines()[1:] == ["0 bytes of 151 bytes", "151 bytes of 151 bytes"]
    assert (project / "data" / "ratings.dat").read_text() == "1::2::5::978300760\n"
    assert (project / ".recctl" / "downloads" / "ml-1m" / "ml-1m.zip").exists()


def test_a_page_in_place_of_the_file_is_not_kept(
    run: Run, project: Path, tmp_path: Path, web: str
) -> None:
    (tmp_path / "web" / "ratings.csv").write_text("<html>please log in</html>\n")
    for _ in range(2):  # the second try fetches it again
        code, _, err = run("use", "amazon-beauty", "--from", f"{web}/ratings.csv")
        assert code == 2
        assert "fetching" in err
        assert "does not hold amazon-beauty" in err
    assert not (project / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ml1m"], "unknown data set or file 'ml1m'; did you mean 'ml-1m'?"),
        (["nowhere.csv"], "no file or folder nowhere.csv; give the path"),
        (["ml-1m", "--from", "nowhere.zip"], "no file or folder nowhere.zip; give the path"),
        (["ml-1m", "--format", "csv"], "'ml-1m' is a known set, whose format is known; omit"),
        (["params.yaml", "--from", "x"], "--from needs the name of one known set"),
        (["params.yaml", "--format", "xlsx"], "unknown format 'xlsx'; known: csv, tsv, parquet"),
        (["params.yaml", "--time-unit", "h"], "unknown time unit 'h'; known: s, ms, us, ns, iso"),
        (["params.yaml", "--min-weight", "0,1"], "--min-weight '0,1' is not a number; write it"),
        (["params.yaml", "--zzz", "1"], "no such option: --zzz; see: recctl data use --help"),
        ([], "missing argument 'NAME | FILE...'; see: recctl data use --help"),
        (["params.yaml"], "no column 'user_id'"),
        ([".dvc"], "is a folder; name its files"),
    ],
)
def test_mistakes_are_one_line(run: Run, project: Path, arguments: list[str], message: str) -> None:
    code, out, err = run("use", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("recctl: ")
    assert err.count("\n") == 1
    assert message in err
    assert (project / "params.yaml").read_text() == PARAMS
    assert not (project / "data").exists()


def test_a_full_disk_leaves_everything_as_it_was(
    run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path / "comma.csv")
    assert run("use", tmp_path / "comma.csv")[0] == 0
    params = (project / "params.yaml").read_text()

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    code, _, err = run("use", tmp_path / "comma.csv", "--name", "other")
    assert (code, err.count("\n")) == (2, 1)
    assert f"No space left on device at {project / 'data'}; free some disk space" in err
    assert [path.name for path in (project / "data").iterdir()] == ["comma.csv"]
    assert (project / "params.yaml").read_text() == params
    assert not list(project.glob(".data.*"))


def test_no_project_and_no_data(
    run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run("describe")
    assert (code, err.count("\n")) == (2, 1)
    assert "run 'recctl data use'" in err
    monkeypatch.chdir(tmp_path)
    code, _, err = run("use", "starter")
    assert (code, err.count("\n")) == (2, 1)
    assert "no recctl project" in err


def test_preview_shows_what_use_would_do(run: Run, project: Path, tmp_path: Path) -> None:
    write_log(tmp_path / "semicolon.csv")
    code, out, _ = run("preview", tmp_path / "semicolon.csv", "--min-weight", "1", "--json")
    assert code == 2  # there is no weight column
    code, out, _ = run("preview", tmp_path / "semicolon.csv", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["rows"], found["interactions"], found["quarantine"]) == (3, 3, {})
    assert found["ingest"]["delimiter"] == ";"
    assert (project / "params.yaml").read_text() == PARAMS
    code, out, _ = run("preview", tmp_path / "semicolon.csv")
    assert code == 0
    for word in ("separator ';'", "2017-07-14T02:40:00+00:00 to 2017-07-15T02:40:00+00:00"):
        assert word in out
