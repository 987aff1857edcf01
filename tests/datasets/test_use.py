"""`recctl data use` in a separate project: what is in data/, params.yaml and DVC afterwards."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import databases
from recctl.config import read_params
from recctl.data import versions
from recctl.data.params import IngestParams
from recctl.datasets import starter
from recctl.datasets.catalogue import KNOWN
from recctl.datasets.install import Used
from recctl.datasets.use import OwnLog, use_files, use_known
from recctl.errors import UserError
from recctl.files import read_json
from recctl.layout import Layout

pytestmark = pytest.mark.usefixtures("quick_dvc")

PARAMS = """\
# the settings of this project
ingest:
  name: old  # a name
  files: [old.csv]
  format: csv
  minimum_weight: 3
  weight_column: stars
  engine: duckdb  # or spark

# --- the model ---
train:
  bert4rec:
    max_length: 10     # positions
    dropout: .1
evaluate: {filter_seen: false}
"""
OLD = "user_id,item_id,timestamp\nu,i,1\n"
U_DATA = "1\t10\t5\t881250949\n2\t20\t3\t891717742\n"


def dvc(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose data/ DVC holds."""
    folder = tmp_path_factory.mktemp("template")
    dvc(folder, "init", "--no-scm", "--quiet")
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "data").mkdir()
    (folder / "data" / "old.csv").write_text(OLD)
    dvc(folder, "add", "--quiet", "data")
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Layout:
    root = tmp_path / "project"
    shutil.copytree(template, root)
    return Layout(root)


@pytest.fixture
def starter_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The starter set, which `test_starter.py` tests, is copied and not generated again."""
    made = databases.starter()
    copy = partial(shutil.copytree, made, dirs_exist_ok=True)
    monkeypatch.setattr(starter, "write", copy)


def known(project: Layout, name: str, source: Path | None) -> Used:
    return use_known(project, KNOWN[name], str(source) if source else None, no_progress, print)


def no_progress(done: int, total: int | None) -> None:
    pass


def own(project: Layout, *paths: Path, **options: object) -> Used:
    return use_files(project, list(paths), OwnLog(**options), print)  # type: ignore[arg-type]


def test_an_archive_fills_data_params_and_dvc(project: Layout, tmp_path: Path) -> None:
    path = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-100k/u.data", U_DATA)
        flags = "|".join("1" + "0" * 18)
        archive.writestr("ml-100k/u.item", f"10|Été (1995)|d||u|{flags}\n".encode("latin-1"))
    used = known(project, "ml-100k", path)
    assert (project.data / "u.data").read_text() == U_DATA
    assert (project.data / "items.csv").read_text(encoding="utf-8") == (
        "item_id,title,genres\n10,Été (1995),unknown\n"
    )
    assert used.files == {"items.csv": 45, "u.data": 34}
    assert not (project.data / "old.csv").exists()
    assert dvc(project.root, "status", "--json", "data.dvc").strip() == "{}"
    assert IngestParams.load(project.params) == IngestParams(
        name="ml-100k",
        files=["u.data"],
        format="tsv",
        columns=["user_id", "item_id", "rating", "timestamp"],
        weight_column="rating",
        items_file="items.csv",
    )


def test_params_keep_their_comments_and_get_the_settings_that_suit(
    project: Layout, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("1 1\n1 2\n")
    used = known(project, "ml-1m", tmp_path / "log")
    assert project.params.read_text() == (
        "# the settings of this project\n"
        "ingest:\n"
        "  name: ml-1m  # a name\n"
        "  files: [log]\n"
        "  format: sequences\n"
        "  minimum_weight: null\n"
        "  weight_column: null\n"
        "  engine: duckdb  # or spark\n"
        "  user_column: user_id\n"
        "  item_column: item_id\n"
        "  time_column: timestamp\n"
        "  time_unit: us\n"
        "\n"
        "# --- the model ---\n"
        "train:\n"
        "  bert4rec:\n"
        "    max_length: 10     # positions\n"
        "    dropout: .1\n"
        "evaluate: {filter_seen: true}\n"
    )
    changed = {change.setting: (change.before, change.after) for change in used.changes}
    assert [change.setting for change in used.kept] == ["train.bert4rec.max_length"]
    assert changed["evaluate.filter_seen"] == (False, True)
    assert "train.bert4rec.mask_probability" not in changed  # it was not in params.yaml


def test_the_data_before_can_be_brought_back(project: Layout, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("1 1\n1 2\n")
    used = known(project, "ml-1m", tmp_path / "log")
    assert used.before is not None
    for file in used.before.iterdir():
        shutil.copy(file, project.root)
    dvc(project.root, "checkout", "--quiet", "data.dvc")
    assert (project.data / "old.csv").read_text() == OLD
    assert project.params.read_text() == PARAMS


def test_the_starter_set_is_the_same_each_time(project: Layout) -> None:
    known(project, "starter", None)
    first = versions.digest(project)
    used = known(project, "starter", None)
    assert versions.digest(project) == first
    assert sorted(used.files) == ["interactions.csv.gz", "items.csv"]
    assert used.changes == []
    assert used.before is None
    with pytest.raises(UserError, match="generated, not read; omit --from"):
        known(project, "starter", project.data)


MEMBERS = {
    "ml-1m": ("ratings.dat", "1::2::5::978300760\n", "movies.dat", "2::T::Drama\n"),
    "ml-20m": (
        "ratings.csv",
        "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n",
        "movies.csv",
        "movieId,title,genres\n2,T,Drama\n",
    ),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_unpacked_folders(project: Layout, tmp_path: Path, name: str) -> None:
    log, log_text, items, items_text = MEMBERS[name]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / log).write_text(log_text)
    (tmp_path / "in" / items).write_text(items_text)
    known(project, name, tmp_path / "in")
    params = IngestParams.load(project.params)
    assert (params.name, params.files, params.items_file) == (name, [log], "items.csv")
    assert (params.delimiter, params.user_column) == (
        ("::", "user_id") if name == "ml-1m" else (None, "userId")
    )
    assert (project.data / log).read_text() == log_text


def test_reviews_become_interactions(project: Layout, tmp_path: Path) -> None:
    line = "{u'username': u'a', u'product_id': u'7', u'date': u'2017-12-17', u'text': u'x'}\n"
    (tmp_path / "steam_reviews.json.gz").write_bytes(gzip.compress(line.encode()))
    known(project, "steam", tmp_path / "steam_reviews.json.gz")
    params = IngestParams.load(project.params)
    assert (params.files, params.format, params.time_unit) == (
        ["interactions.csv.gz"],
        "csv",
        "iso",
    )
    packed = (project.data / "interactions.csv.gz").read_bytes()
    assert gzip.decompress(packed) == b"user_id,item_id,timestamp\na,7,2017-12-17\n"


def test_amazon_ratings(project: Layout, tmp_path: Path) -> None:
    (tmp_path / "ratings").write_text("A39HTATAQ9V7YF,0205616461,5.0,1369699200\n")
    known(project, "amazon-beauty", tmp_path / "ratings")
    params = IngestParams.load(project.params)
    assert params.columns == ["user_id", "item_id", "rating", "timestamp"]
    assert (params.format, params.weight_column, params.time_unit) == ("csv", "rating", "s")


def test_another_set_than_the_one_named_is_refused(project: Layout, tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text(U_DATA)
    with pytest.raises(UserError, match=r"does not hold ml-1m .* it looks like u\.data"):
        known(project, "ml-1m", tmp_path / "u.data")


def test_own_files_with_their_own_columns(project: Layout, tmp_path: Path) -> None:
    for day in "12":
        folder = tmp_path / day
        folder.mkdir()
        (folder / "my log*.csv").write_text(f"who;what;when;n\nu;i;150000000000{day};2\n")
    (tmp_path / "films.csv").write_text("item_id,title\ni,Film\n")
    used = own(
        project,
        tmp_path / "1" / "my log*.csv",
        tmp_path / "2" / "my log*.csv",
        user_column="who",
        item_column="what",
        time_column="when",
        weight_column="n",
        items=tmp_path / "films.csv",
        name="shop",
    )
    # Names are safe for readers that take * for a pattern, and two files keep two names.
    assert used.ingest == IngestParams(
        name="shop",
        files=["my-log-.csv", "1-my-log-.csv"],
        format="csv",
        delimiter=";",
        user_column="who",
        item_column="what",
        time_column="when",
        weight_column="n",
        time_unit="ms",
        items_file="items.csv",
    )
    assert (project.data / "items.csv").read_text() == "item_id,title,genres\ni,Film,\n"


def test_a_movielens_file_needs_no_options(project: Layout, tmp_path: Path) -> None:
    (tmp_path / "ratings.gz").write_bytes(gzip.compress(b"1::2::5::978300760\n"))
    used = own(project, tmp_path / "ratings.gz")
    assert (used.ingest.name, used.ingest.delimiter) == ("ratings", "::")
    assert used.ingest.files == ["ratings.gz"]


def test_the_name_in_data_shows_gzip(project: Layout, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(gzip.compress(OLD.encode()))
    (tmp_path / "b.csv.gz").write_text(OLD)
    used = own(project, tmp_path / "a.csv", tmp_path / "b.csv.gz")
    assert used.ingest.files == ["a.csv.gz", "b.csv"]


def test_a_log_in_data_itself_can_be_used(project: Layout) -> None:
    used = own(project, project.data / "old.csv", time_unit="ms")
    assert used.ingest.time_unit == "ms"
    assert (project.data / "old.csv").read_text() == OLD


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        (OLD.splitlines()[0], {}, "no rows in log.csv"),
        (OLD, {"user_column": "uid"}, "no column 'uid'; .* name the right one with --user-column"),
        (OLD, {"weight_column": "n"}, "no column 'n'; .* --weight-column"),
        (OLD, {"user_column": "item_id"}, "must be three columns"),
        (OLD.replace(",1\n", ",soon\n"), {}, "neither numbers nor ISO 8601"),
        (OLD, {"format": "parquet"}, "not a whole parquet file"),
        (OLD, {"format": "jsonl"}, "does not begin with JSON objects"),
        (OLD, {"items": Path("nowhere.csv")}, r"no file or folder nowhere\.csv"),
    ],
)
def test_bad_logs_change_nothing(
    project: Layout, tmp_path: Path, text: str, options: dict[str, object], message: str
) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        own(project, tmp_path / "log.csv", **options)
    assert "\n" not in str(caught.value)
    assert_untouched(project)


def assert_untouched(project: Layout) -> None:
    assert (project.data / "old.csv").read_text() == OLD
    assert project.params.read_text() == PARAMS
    assert sorted(path.name for path in project.root.iterdir()) == sorted(
        [".dvc", ".dvcignore", ".recctl", "data", "data.dvc", "dvc.yaml", "params.yaml"]
    )


def test_a_column_missing_in_the_second_file(project: Layout, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(OLD)
    (tmp_path / "b.csv").write_text(OLD.replace("item_id", "item"))
    with pytest.raises(UserError, match=r"b\.csv has no column 'item_id'"):
        own(project, tmp_path / "a.csv", tmp_path / "b.csv")
    (tmp_path / "a.csv").write_text(OLD.replace(",1\n", ",1500000000\n"))
    (tmp_path / "b.csv").write_text(OLD.replace(",1\n", ",1500000000000\n"))
    with pytest.raises(UserError, match="different units: 1 of the size of s and 1 of the size of"):
        own(project, tmp_path / "a.csv", tmp_path / "b.csv")
    assert_untouched(project)


def test_gzip_damaged_far_behind_its_head(project: Layout, tmp_path: Path) -> None:
    rows = "".join(f"u{n},i{n * 7919 % 1009},{n}\n" for n in range(100_000))
    packed = gzip.compress((OLD + rows).encode())
    (tmp_path / "log.csv.gz").write_bytes(packed[:-1000])
    with pytest.raises(UserError, match="is damaged or incomplete"):
        own(project, tmp_path / "log.csv.gz")
    assert_untouched(project)


def test_a_folder_and_an_archive_of_many_files_are_no_log(project: Layout, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "in" / name).write_text(OLD)
    with pytest.raises(UserError, match="in is a folder; name its files"):
        own(project, tmp_path / "in")
    shutil.make_archive(str(tmp_path / "two"), "zip", tmp_path / "in")
    with pytest.raises(UserError, match="an archive of 2 files; unpack it"):
        own(project, tmp_path / "two.zip", format="csv")
    with pytest.raises(UserError, match="unknown data set or file 'ml1m'; did you mean 'ml-1m'"):
        own(project, Path("ml1m"))


def test_data_that_dvc_does_not_hold_is_not_replaced(project: Layout) -> None:
    (project.data / "new.csv").write_text(OLD)
    with pytest.raises(UserError, match=r"changed since DVC took it.*keep it with 'dvc add data'"):
        known(project, "starter", None)
    (project.data / "new.csv").unlink()
    (project.root / "data.dvc").unlink()
    with pytest.raises(UserError, match="DVC does not hold data/ yet"):
        known(project, "starter", None)
    assert (project.data / "old.csv").read_text() == OLD


def test_data_whose_cache_is_gone_goes_back_there_first(project: Layout) -> None:
    before = (project.root / "data.dvc").read_text()
    shutil.rmtree(project.root / ".dvc" / "cache" / "files")
    versions.require_held(project)
    assert (project.root / "data.dvc").read_text() == before
    shutil.rmtree(project.data)
    dvc(project.root, "checkout", "--quiet", "data.dvc")
    assert (project.data / "old.csv").read_text() == OLD


def test_a_folder_without_dvc(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    with pytest.raises(UserError, match="is not a DVC project; run 'dvc init'"):
        known(Layout(tmp_path), "starter", None)


@pytest.mark.usefixtures("starter_at_hand")
def test_no_data_yet(project: Layout) -> None:
    shutil.rmtree(project.data)
    (project.root / "data.dvc").unlink()
    used = known(project, "starter", None)
    assert used.before is None
    assert (project.root / "data.dvc").is_file()


KILLED = """
import os, signal, sys
from pathlib import Path
from recctl.datasets.install import install
from recctl.layout import Layout

def fill(folder):
    (folder / "half.csv").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

install(Layout(Path(sys.argv[1])), fill, {})
"""


@pytest.mark.usefixtures("starter_at_hand")
def test_killed_in_the_middle_and_run_again(project: Layout) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(project.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (project.data / "old.csv").read_text() == OLD
    assert list(project.root.glob(".data.*"))
    known(project, "starter", None)
    assert not list(project.root.glob(".data.*"))


def test_killed_between_the_two_renames(project: Layout) -> None:
    (project.root / ".data.abc").mkdir()
    project.data.rename(project.root / ".data.abc.old")
    with pytest.raises(UserError, match="no column"):
        own(project, project.params, format="csv")
    assert_untouched(project)


def test_two_at_once(project: Layout) -> None:
    import fcntl

    project.state.mkdir()
    with (project.state / "data.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another 'recctl data use' is running"):
            known(project, "starter", None)


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "file"), [("ml-1m", "ml-1m.txt.gz"), ("ml-100k", "ml-100k")])
def test_the_real_sets(project: Layout, name: str, file: str) -> None:
    folder = os.environ.get("RECCTL_REAL_DATA")
    if not folder or not (Path(folder) / file).exists():
        pytest.skip(f"RECCTL_REAL_DATA does not name a folder that holds {file}")
    known(project, name, Path(folder) / file)
    assert read_params(project.params)["ingest"]["name"] == name


SHOP = (
    "StockCode,Description,Quantity,InvoiceDate,CustomerID\r"
    "85123A,LAMP,6,01/12/2010 08:26,17850\r"
    "85123A,LAMP,-1,13/12/2010 08:26,17850\r"
    "22139,TEA,56,01/12/2010 11:52,\r"
)


def test_what_use_accepts_ingest_reads(project: Layout, tmp_path: Path) -> None:
    from recctl.datasets.preview import as_lines
    from recctl.datasets.use import preview
    from recctl.stages import ingest

    (tmp_path / "shop.csv").write_text(SHOP, newline="")
    columns = {"user_column": "CustomerID", "item_column": "StockCode"}
    rest = {"time_column": "InvoiceDate", "weight_column": "Quantity", "minimum_weight": 1.0}
    log = OwnLog(**columns, **rest, anonymous="drop", title_column="Description")  # type: ignore[arg-type]
    seen = preview(project, [tmp_path / "shop.csv"], log, print)
    assert_untouched(project)
    lines: list[str] = []
    used = use_files(project, [tmp_path / "shop.csv"], log, lines.append)
    assert (used.ingest, lines) == (seen.ingest, as_lines(seen))
    assert IngestParams.load(project.params) == used.ingest
    ingest.run(project)
    report = read_json(project.interactions / "report.json", made_by="ingest")
    assert {cause: n for cause, n in report["quarantine"].items() if n} == seen.quarantine
    assert (report["rows_out"], report["first_time"]) == (1, "2010-12-01T08:26:00+00:00")
    titles = pq.read_table(project.interactions / "items.parquet").to_pydict()
    assert titles == {"item_id": ["22139", "85123A"], "title": ["TEA", "LAMP"]}


def test_amazon_2018s_order(project: Layout, tmp_path: Path) -> None:
    (tmp_path / "All_Beauty.csv").write_text("B000000001,A39HTATAQ9V7YF,5.0,1369699200\n")
    used = own(project, tmp_path / "All_Beauty.csv")
    assert used.ingest.columns == ["item_id", "user_id", "rating", "timestamp"]
