"""Bad input, at the command line: one line, exit code 2, and nothing lost.

Every case begins with a project whose five stages have run, damages one thing in it and runs one
command. Whatever the damage, the command must end with exit code 2 and one line that starts with
`recctl: ` and says what is wrong, where, and how to fix it. Every file that was there must have
the same bytes afterwards, and no half-written one may lie beside it.
"""

import contextlib
import csv
import errno
import gzip
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from commands import Outcome, Run, runner
from recctl.config import read_params
from recctl.layout import Layout

ROOT = Path(__file__).parents[1]
RECCTL = Path(sys.executable).with_name("recctl")
STAGES = ("ingest", "validate", "sequence-split", "train", "evaluate")

Row = tuple[str, ...]
Damage = Callable[[Path], None]
"""Spoils one thing in the project in this folder."""


# --- a small project ---------------------------------------------------------------------------

USERS, ITEMS, LENGTH = 24, 12, 7

SETTINGS: dict[str, Any] = {
    "ingest.files": ["log.csv"],
    "validate.users": {"minimum": 2},
    "validate.items": {"minimum": 2},
    "validate.interactions": {"minimum": 4},
    "sequence-split.minimum_user_interactions": 3,
    "train.max_epochs": 1,
    "train.device": "cpu",
    "train.bert4rec.max_length": 8,
    "train.bert4rec.hidden_size": 8,
    "train.bert4rec.layers": 1,
    "evaluate.negatives": 3,
    "evaluate.bootstrap_resamples": 100,
}
"""Where the small project differs from the repository's own params.yaml."""


def walks(users: int = USERS, items: int = ITEMS, length: int = LENGTH) -> list[Row]:
    """User u sees the items u, u + 1, ... round the catalogue, one an hour."""
    return [
        (f"u{user}", f"i{(user + step) % items}", str(1_700_000_000 + 3600 * step + user))
        for user in range(users)
        for step in range(length)
    ]


def write_log(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("user_id", "item_id", "timestamp"), *rows])


def write_project(root: Path, rows: list[Row]) -> Path:
    root.mkdir(parents=True)
    shutil.copy(ROOT / "dvc.yaml", root)
    shutil.copy(ROOT / "params.yaml", root)
    for key, value in SETTINGS.items():
        setting(key, value)(root)
    write_log(root / "data" / "log.csv", rows)
    titles = "".join(f"i{item},Title {item}\n" for item in range(ITEMS))
    (root / "data" / "items.csv").write_text("item_id,title\n" + titles)
    return root


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `recctl ...` in a project, in this process, with all that the libraries print."""
    return runner(monkeypatch, capfd)


def run_apart(root: Path, *arguments: str) -> Outcome:
    """Run the installed command in a new process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [RECCTL, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that DVC knows and whose five stages have run; never to be changed."""
    root = write_project(tmp_path_factory.mktemp("finished") / "project", walks())
    for arguments in (["init", "--no-scm", "--quiet"], ["add", "--quiet", "data"]):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True)
    for stage in STAGES:
        importlib.import_module(f"recctl.stages.{stage.replace('-', '_')}").run(Layout(root))
    shutil.rmtree(root / "mlartifacts")
    return root


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project, to be spoilt."""
    return Path(shutil.copytree(finished, tmp_path / "project"))


OWN_BOOKS = ("mlflow.db", "mlartifacts", ".dvc")
"""What keeps a record of every try, failed ones too."""
STATE = ".recctl"
"""Locks, and what is remembered; only the checkpoints in it are somebody's work."""


def contents(root: Path) -> dict[str, bytes]:
    """Every file that a failed command has to leave as it is."""
    found = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
    }
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if not name.startswith(OWN_BOOKS) and (STATE not in name or "checkpoints" in name)
    }


def assert_one_line(outcome: Outcome, *says: str) -> None:
    """Exit code 2 and one line that says what is wrong and how to fix it."""
    assert "Traceback" not in outcome.err + outcome.out, outcome.err
    progress = ("evaluate: ", "recctl: the training continues without MLflow")
    lines = [line for line in outcome.err.splitlines() if not line.startswith(progress)]
    assert outcome.code == 2, outcome
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("recctl: ")
    assert "; " in lines[0], f"it does not say what to do: {lines[0]}"
    for words in says:
        assert words in lines[0], lines[0]


# --- what can be spoilt ------------------------------------------------------------------------

GARBAGE = b"\x00\xff\xfe garbage \x80" * 50


def nothing(root: Path) -> None:
    """The mistake is in the command itself."""


def write(name: str, content: bytes | str) -> Damage:
    """Put other bytes in a file's place."""

    def damage(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return damage


def remove(name: str) -> Damage:
    def damage(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def cut(name: str) -> Damage:
    """Keep the first half of a file."""

    def damage(root: Path) -> None:
        raw = (root / name).read_bytes()
        (root / name).write_bytes(raw[: len(raw) // 2])

    return damage


def flip(name: str) -> Damage:
    """Turn the bits of the byte in the middle of a file."""

    def damage(root: Path) -> None:
        [path] = root.glob(name)
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0xFF
        path.write_bytes(bytes(raw))

    return damage


def folder(name: str) -> Damage:
    """Put a folder in a file's place."""

    def damage(root: Path) -> None:
        [path] = root.glob(name)
        path.unlink()
        path.mkdir()

    return damage


def file(name: str) -> Damage:
    """Put a file in a folder's place."""
    return both(remove(name), write(name, "not a folder"))


def setting(name: str, value: Any) -> Damage:
    """Set a value in params.yaml, by its dotted name."""

    def damage(root: Path) -> None:
        path = root / "params.yaml"
        document = read_params(path)
        *groups, last = name.split(".")
        place: Any = document
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
        path.write_text(json.dumps(document))  # JSON is YAML

    return damage


def log(rows: list[Row], **settings: Any) -> Damage:
    """Another interaction log, and other settings of the ingest section."""
    return both(
        lambda root: write_log(root / "data" / "log.csv", rows),
        *(setting(f"ingest.{key}", value) for key, value in settings.items()),
    )


def raw_log(content: bytes | str, **settings: Any) -> Damage:
    """The log's bytes, and other settings of the ingest section."""
    changes = (setting(f"ingest.{key}", value) for key, value in settings.items())
    return both(write("data/log.csv", content), *changes)


def parquet(**columns: Any) -> bytes:
    """The bytes of a parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def array(name: str, edit: Callable[[Any], Any]) -> Damage:
    """Another array in the place of one that sequence-split wrote."""

    def damage(root: Path) -> None:
        path = root / "artifacts" / "sequences" / name
        np.save(path, edit(np.load(path)))

    return damage


def json_file(name: str, **changes: Any) -> Damage:
    """Other values in a JSON object; None removes a key."""

    def damage(root: Path) -> None:
        content = {**json.loads((root / name).read_text()), **changes}
        kept = {key: value for key, value in content.items() if value is not None}
        (root / name).write_text(json.dumps(kept))

    return damage


def weights(edit: Callable[[Any], Any]) -> Damage:
    """Other tensors in the model's safetensors file."""

    def damage(root: Path) -> None:
        path = root / "artifacts" / "model" / "model.safetensors"
        save_file({name: edit(tensor) for name, tensor in load_file(path).items()}, path)

    return damage


def both(*damages: Damage) -> Damage:
    def damage(root: Path) -> None:
        for one in damages:
            one(root)

    return damage


# --- the cases ---------------------------------------------------------------------------------


Case = tuple[str, Damage, *tuple[str, ...]]
"""What is wrong, the damage, and words of the line it must end in."""

INTERACTIONS = "artifacts/interactions"
SEQUENCES = "artifacts/sequences"
MODEL = "artifacts/model"
CHECKPOINT = ".recctl/checkpoints/*.pt"
GOOD_LOG = "user_id,item_id,timestamp\nu,i,1\nv,j,2\n"
LONG_LOG = b"user_id,item_id,timestamp\n" + b"".join(
    b"u%d,i%d,%d\n" % (n % 100, n % 37, n * n % 99_991) for n in range(50_000)
)


def spoilt(name: str, made_by: str) -> list[Case]:
    """A file of an earlier stage missing, empty, garbage, cut off and a folder."""
    short = name.removeprefix("artifacts/")
    return [
        (f"no {short}", remove(name), f"no {{root}}/{name}", f"'dvc repro {made_by}'"),
        (f"a folder for {short}", folder(name), name, f"'dvc repro {made_by}'"),
        *(
            (f"{short} {what}", damage, f"{{root}}/{name} is damaged", f"repro -f {made_by}'")
            for what, damage in (
                ("empty", write(name, "")),
                ("garbage", write(name, GARBAGE)),
                ("cut off", cut(name)),
            )
        ),
    ]


PARAMS = [
    ("none", remove("params.yaml"), "no file {root}/params.yaml; restore it from git"),
    ("a folder", folder("params.yaml"), "no file {root}/params.yaml; restore it"),
    ("empty", write("params.yaml", ""), "params.yaml holds no sections; expected ingest"),
    ("a list", write("params.yaml", "- ingest\n"), "params.yaml holds no sections"),
    ("garbage", write("params.yaml", GARBAGE), "params.yaml is not valid YAML"),
    ("a tab", write("params.yaml", "ingest:\n\tname: x\n"), "not valid YAML", "line 2"),
    ("a key twice", write("params.yaml", "ingest: {}\ningest: {}\n"), "duplicate key"),
    ("code in it", write("params.yaml", "ingest: !!python/object:os.x {}\n"), "valid YAML"),
    ("no section", write("params.yaml", "train: {}\n"), "has no section 'ingest'; add it"),
    ("a section misspelt", write("params.yaml", "ingets: {}\n"), "did you mean 'ingest'?"),
    ("a section empty", write("params.yaml", "ingest:\n"), "'ingest' must hold settings"),
    ("a section's type", write("params.yaml", "ingest: [1]\n"), "'ingest' must hold settings"),
    ("a key misspelt", setting("ingest.fromat", "csv"), "'ingest.fromat'", "mean 'format'?"),
    ("a key missing", write("params.yaml", "ingest: {}\n"), "'ingest.name' is missing; add it"),
    ("a value's type", setting("ingest.name", 3), "'ingest.name' is 3; it should be"),
    ("an unknown format", setting("ingest.format", "xls"), "'ingest.format'", "'parquet'"),
    ("an unknown engine", setting("ingest.engine", "dask"), "'ingest.engine'", "'spark'"),
]

BAD_TIMES = [(user, item, "NaN") for user, item, _ in walks()]

INGEST = [
    ("no data", remove("data"), "no file {root}/data/", "'dvc pull'"),
    ("no log", remove("data/log.csv"), "no file {root}/data/log.csv", "'dvc pull'"),
    ("a folder", folder("data/log.csv"), "no file {root}/data/log.csv", "change ingest.files"),
    ("an empty file", raw_log(""), "data/log.csv is empty; give a file with interactions"),
    ("a header only", raw_log("user_id,item_id,timestamp\n"), "no rows in log.csv"),
    ("an empty gzip", raw_log(gzip.compress(b"")), "data/log.csv is empty; give"),
    ("gzip cut off", both(raw_log(gzip.compress(LONG_LOG)), cut("data/log.csv")), "damaged"),
    ("gzip garbage", raw_log(b"\x1f\x8b" + GARBAGE), "log.csv is damaged", "; get"),
    ("garbage", raw_log(GARBAGE), "data/log.csv is not UTF-8 text", "--encoding"),
    ("no user column", setting("ingest.user_column", "who"), "no column 'who'", "user_column"),
    ("no item column", setting("ingest.item_column", "it"), "no column 'it'", "item_column"),
    ("no time column", setting("ingest.time_column", "at"), "no column 'at'", "time_column"),
    ("no weight column", setting("ingest.weight_column", "w"), "no column 'w'", "weight_column"),
    ("one column for two", setting("ingest.user_column", "item_id"), "must be three columns"),
    ("too few columns", both(raw_log("u,i,1\n"), setting("ingest.columns", ["a", "b"])), "columns"),
    ("a wrong delimiter", setting("ingest.delimiter", "::"), "no column", "log.csv"),
    ("NaN times", log(BAD_TIMES), "none of the 168 rows", "168 times bad-time", "time_unit"),
    ("a wrong unit", setting("ingest.time_unit", "iso"), "168 times bad-time", "time_unit"),
    ("no users", raw_log("user_id,item_id,timestamp\n,i,1\n"), "1 times no-user", "user_column"),
    ("weights too low", log([("u", "i", "1")], weight_column="timestamp", minimum_weight=2.0),
     "1 times low-weight", "--min-weight (ingest.minimum_weight"),
    ("not parquet", raw_log(GARBAGE, format="parquet"), "log.csv is not a whole parquet", "format"),
    ("parquet cut off", both(raw_log(parquet(user_id=["u"], item_id=["i"], timestamp=[1])),
     setting("ingest.format", "parquet"), cut("data/log.csv")), "not a parquet file", "format"),
    ("parquet without the column", raw_log(parquet(a=[1]), format="parquet"), "'user_id'"),
    ("parquet with NaN times", raw_log(
        parquet(user_id=["u"], item_id=["i"], timestamp=[float("nan")]), format="parquet"),
        "1 times bad-time", "time_unit"),
    ("not JSON lines", setting("ingest.format", "jsonl"), "log.csv", "JSON objects", "format"),
    ("not sequences", setting("ingest.format", "sequences"), "times bad-line", "ingest.format"),
    ("no items file", setting("ingest.items_file", "x"), "no file {root}/data/x", "items_file"),
    ("no title", write("data/items.csv", "item_id\n1\n"), "items.csv has no column 'title'"),
    ("garbage for titles", write("data/items.csv", GARBAGE), "items.csv is not UTF-8 text"),
    ("a file for artifacts", file("artifacts"), "File exists at {root}/artifacts; a file"),
    ("a file for the state", file(".recctl"), "File exists at {root}/.recctl; a file is"),
]  # fmt: skip

VALIDATE = [
    *spoilt(f"{INTERACTIONS}/interactions.parquet", "ingest"),
    ("no quarantine", remove(f"{INTERACTIONS}/quarantine.parquet"), "dvc repro ingest"),
    ("no report", remove(f"{INTERACTIONS}/report.json"), "report.json", "dvc repro ingest"),
    ("quarantine without a cause", write(f"{INTERACTIONS}/quarantine.parquet", parquet(a=[1])),
     "quarantine.parquet is damaged (it has no column cause)", "dvc repro -f ingest"),
    ("garbage before", write("artifacts/validation/profiles/current.parquet", GARBAGE),
     "current.parquet is not a profile of the data", "; remove {root}/artifacts/validation"),
    ("an unknown rule", setting("validate.severity", {"x": "warning"}), "unknown rule 'x'"),
    ("a severity", setting("validate.severity", {"user-count": "bad"}), "is 'bad'; it should be"),
    ("a time", setting("validate.earliest_time", "soon"), "is 'soon': must be an ISO 8601 time"),
    ("a time before all", setting("validate.earliest_time", "0001-01-01T00:00+09:00"), "ISO"),
    ("limits", setting("validate.users", {"minimum": 3, "maximum": 2}), "minimum 3 is above"),
    ("not finite", write("params.yaml", "validate: {popularity_drift: .nan}"), "is nan; it"),
    ("a key misspelt", setting("validate.usres", {}), "'validate.usres'", "mean 'users'?"),
]  # fmt: skip

SPLIT = [
    *spoilt(f"{INTERACTIONS}/interactions.parquet", "ingest"),
    *spoilt(f"{INTERACTIONS}/items.parquet", "ingest"),
    ("a column missing", write(f"{INTERACTIONS}/interactions.parquet", parquet(user_id=["u"])),
     "interactions.parquet is damaged (it has no column item_id", "dvc repro -f ingest"),
    ("bits flipped", flip(f"{INTERACTIONS}/interactions.parquet"), "parquet is damaged"),
    ("an unknown split", setting("sequence-split.protocol", "leave-two-out"),
     "unknown split protocol 'leave-two-out'; did you mean 'leave-one-out'? known: "),
    ("nobody is left", setting("sequence-split.minimum_user_interactions", 99),
     "no user has at least 99 interactions; lower sequence-split.minimum_user_interactions"),
    ("no item is left", setting("sequence-split.minimum_item_interactions", 9999), "; lower "),
    ("beyond all numbers", setting("sequence-split.minimum_item_interactions", 10**30),
     "'sequence-split.minimum_item_interactions'", "less than or equal to"),
    ("a date of another split", setting("sequence-split.test_from", "2024-01-01"),
     "test_from belongs to the protocol global-time"),
    ("no date", both(setting("sequence-split.protocol", "global-time"),
                         setting("sequence-split.test_from", "soon")),
     "'sequence-split.test_from': 'soon' is not an ISO 8601 time; write it like 2024-03-01"),
    ("a day that is none", write("params.yaml", "sequence-split: {test_from: 2024-02-30}\n"),
     "params.yaml is not valid YAML (day is out of range for month); fix"),
    ("a date before all", both(setting("sequence-split.protocol", "global-time"),
                                   setting("sequence-split.test_from", "1990-01-01")),
     "leaves nothing to train on", "; change sequence-split.test_from"),
    ("a date after all", both(setting("sequence-split.protocol", "global-time"),
                                  setting("sequence-split.test_from", "2090-01-01")),
     "leaves nothing to ", "; change sequence-split.test_from"),
    ("a share", setting("sequence-split.test_share", 1.0), "is 1.0; it should be less than 1"),
    ("a key misspelt", setting("sequence-split.protocl", "x"), "did you mean 'protocol'?"),
]  # fmt: skip

ARRAYS = [
    ("items for other users", array("items.npy", lambda a: a[:-9]), "damaged", "fit"),
    ("no integers", array("offsets.npy", lambda a: a + 0.5), "offsets.npy is damaged", "fit"),
    ("one user less", array("test.npy", lambda a: a[1:]), "test.npy is damaged", "fit"),
    ("targets beyond", array("test.npy", lambda a: a + 999), "test.npy is damaged", "fit"),
    ("an item unknown", array("items.npy", lambda a: a + ITEMS), "vocabulary.json is damaged"),
    ("words for numbers", array("items.npy", lambda a: a.astype("U9")), "items.npy is damaged"),
]

TRAIN = [
    *spoilt(f"{SEQUENCES}/items.npy", "sequence-split"),
    *spoilt(f"{SEQUENCES}/vocabulary.json", "sequence-split"),
    *ARRAYS,
    ("no sequences", remove(SEQUENCES), "items.npy", "'dvc repro sequence-split'"),
    ("no fingerprint", json_file(f"{SEQUENCES}/report.json", fingerprint=None),
     "report.json is damaged (it has no 'fingerprint')", "'dvc repro -f sequence-split'"),
    ("a vocabulary without counts", json_file(f"{SEQUENCES}/vocabulary.json", counts=None),
     "vocabulary.json is damaged (it has no 'counts')", "'dvc repro -f sequence-split'"),
    ("a vocabulary of nothing", json_file(f"{SEQUENCES}/vocabulary.json", items=[], counts=[]),
     "vocabulary.json is damaged", "'dvc repro -f sequence-split'"),
    ("nobody to validate with", array("validation.npy", lambda a: a * 0 - 1),
     "no validation target; see "),
    ("an unknown model", setting("train.model", "bert5rec"),
     "unknown model 'bert5rec'; did you mean 'bert4rec'? known: "),
    ("an unknown device", setting("train.device", "tpu"), "'train.device'", "is 'tpu'; it should"),
    ("a key misspelt", setting("train.max_epoch", 3), "'train.max_epoch'", "'max_epochs'?"),
    ("an inner key misspelt", setting("train.bert4rec.head", 2), "did you mean 'heads'?"),
    ("heads", setting("train.bert4rec.heads", 3), "hidden_size (8) must be a multiple of heads"),
    ("a seed too large", setting("train.seed", 10**30), "'train.seed'", "less than"),
    ("a width too large", setting("train.bert4rec.hidden_size", 10**12), "hidden_size'", "less"),
    ("an infinite rate", write("params.yaml", "train: {learning_rate: .inf}"), "is inf; it should"),
    ("checkpoint bits flipped", flip(CHECKPOINT), "checkpoint ", "is damaged", "; delete it"),
    ("a folder for a checkpoint", folder(CHECKPOINT), "Is a directory at ", "; a folder"),
    ("a damaged database", write("mlflow.db", GARBAGE * 99), "mlflow.db", "not a database; "),
    ("a damaged memory", write(".recctl/tracking.json", "[1]"), "tracking.json is damaged; del"),
]  # fmt: skip

EVALUATE = [
    *spoilt(f"{MODEL}/model.json", "train"),
    *spoilt(f"{MODEL}/vocabulary.json", "train"),
    *spoilt(f"{SEQUENCES}/users.parquet", "sequence-split"),
    *spoilt("artifacts/training/run.json", "train"),
    *ARRAYS,
    ("no weights", remove(f"{MODEL}/model.safetensors"), "; train a model first: 'dvc repro"),
    ("weights garbage", write(f"{MODEL}/model.safetensors", GARBAGE), "safetensors is damaged"),
    ("weights cut off", cut(f"{MODEL}/model.safetensors"), "safetensors is damaged", "-f train"),
    ("weights not finite", weights(lambda t: t / 0), "safetensors is damaged", "not finite"),
    ("weights of another shape", weights(lambda t: t[:1].clone()), "does not fit model.json"),
    ("an unknown kind", json_file(f"{MODEL}/model.json", model="x"), "unknown model", "'x'; "),
    ("no settings", json_file(f"{MODEL}/model.json", settings={}), "does not fit", "-f train"),
    ("users of another split", write(f"{SEQUENCES}/users.parquet", parquet(user_id=["u"])),
     "users.parquet is damaged (it names 1 users); run"),
    ("another vocabulary", json_file(f"{MODEL}/vocabulary.json", items=list("abcdefghijkl")),
     "trained on another vocabulary than", "; run 'dvc repro train'"),
    ("nobody to test with", array("test.npy", lambda a: a * 0 - 1), "no test cases", "; check"),
    ("an unknown metric", setting("evaluate.metrics", ["ndgc@10"]),
     "'evaluate.metrics'", "unknown metric 'ndgc@10'; did you mean 'ndcg@10'?"),
    ("a cut-off of 0", setting("evaluate.metrics", ["hr@0"]), "unknown metric 'hr@0'; did you"),
    ("no metric", setting("evaluate.metrics", []), "'evaluate.metrics'", "at least 1 item"),
    ("no negatives", setting("evaluate.negatives", 0), "'evaluate.negatives'", "or equal to 1"),
    ("a key misspelt", setting("evaluate.filter_sen", True), "did you mean 'filter_seen'?"),
    ("a damaged database", write("mlflow.db", GARBAGE * 99), "mlflow.db", "not a database; "),
]  # fmt: skip

RECOMMEND = [
    ("no model", remove(MODEL), "no model folder {root}/artifacts/model; train one"),
    ("a file for the model", file(MODEL), "no model folder {root}/artifacts/model; train one"),
    ("no weights", remove(f"{MODEL}/model.safetensors"), "; train a model first"),
    *spoilt(f"{MODEL}/vocabulary.json", "train"),
    *spoilt(f"{SEQUENCES}/users.parquet", "sequence-split"),
    ("no sequences", remove(SEQUENCES), "items.npy", "'dvc repro sequence-split'"),
    ("weights not finite", weights(lambda t: t * float("nan")), "not finite); run"),
    ("no params.yaml", remove("params.yaml"), "no file {root}/params.yaml; restore it"),
]

REPORT = [
    *spoilt("artifacts/evaluation/report.json", "evaluate"),
    ("a list", write("artifacts/evaluation/report.json", "[]"), "report.json is damaged (it"),
    ("half of it", json_file("artifacts/evaluation/report.json", slices=None), "no 'slices')"),
]

DESCRIBE = [
    ("no log", remove("data/log.csv"), "no file {root}/data/log.csv", "'dvc pull'"),
    ("an empty log", raw_log(""), "data/log.csv is empty; give"),
    ("a damaged data.dvc", write("data.dvc", GARBAGE), "data.dvc is not valid YAML"),
    ("another data.dvc", write("data.dvc", "outs: [3]"), "data.dvc names no version", "git"),
]


def given(content: bytes | str, *more: Damage) -> Damage:
    """A file for `recctl data use new.csv`."""
    return both(write("new.csv", content), *more)


USE = [
    ("no file", nothing, "no file or folder new.csv; give the path"),
    ("a folder", lambda root: (root / "new.csv").mkdir(), "new.csv is a folder; name its files"),
    ("an empty file", given(""), "new.csv is empty", "; give a log"),
    ("a header only", given("user_id,item_id,timestamp\n"), "no rows in new.csv; give"),
    ("garbage", given(GARBAGE), "new.csv holds NUL bytes", "--encoding"),
    ("Latin-1", given("user_id,item_id,timestamp\né,i,1\n".encode("latin-1")), "--encoding"),
    ("no user column", given("a,b,c\n1,2,3\n"), "no column 'user_id'; ", "with --user-column"),
    ("no time column", given("user_id,item_id\nu,i\n"), "no column 'timestamp'; ", "time-column"),
    ("NaN times", given("user_id,item_id,timestamp\nu,i,NaN\n"), "'timestamp'", "--time-format"),
    ("gzip cut off", both(given(gzip.compress(LONG_LOG)), cut("new.csv")), "; get the file"),
    ("gzip with a wrong sum", given(gzip.compress(LONG_LOG)[:-8] + b"-" * 8), "CRC", "; get"),
    ("parquet cut off", both(given(parquet(user_id=["u"])), cut("new.csv")), "parquet", "; get"),
    ("JSON lines cut off", given('{"user_id": "u"}\n{"user'), "no column 'item_id'; its columns"),
    ("params.yaml garbage", given(GOOD_LOG, write("params.yaml", GARBAGE)), "not valid YAML"),
    ("params.yaml a list", given(GOOD_LOG, write("params.yaml", "- a\n")), "'key: value' lines"),
    ("data changed since", given(GOOD_LOG, raw_log("x")), "would lose it; keep it with 'dvc add"),
    ("data unknown to DVC", given(GOOD_LOG, remove("data.dvc")), "; keep it with 'dvc add data'"),
    ("no DVC", given(GOOD_LOG, remove(".dvc")), "{root} is not a DVC project; run 'dvc init'"),
    ("data.dvc garbage", given(GOOD_LOG, write("data.dvc", GARBAGE)), "data.dvc", "; fix that"),
    ("a file for data/", given(GOOD_LOG, file("data")), "at {root}/data; a file is where"),
]

TABLE: dict[str, list[Case]] = {
    "stage ingest": [*((f"params.yaml: {what}", *rest) for what, *rest in PARAMS), *INGEST],
    "stage validate": VALIDATE,
    "stage sequence-split": SPLIT,
    "stage train": TRAIN,
    "stage evaluate": EVALUATE,
    "recommend --user u1": RECOMMEND,
    "report": REPORT,
    "data describe": DESCRIBE,
    "data use new.csv": USE,
}


@pytest.mark.usefixtures("quick_dvc")
@pytest.mark.parametrize(
    ("command", "damage", "says"),
    [
        pytest.param(command, damage, says, id=f"{command}: {what}")
        for command, cases in TABLE.items()
        for what, damage, *says in cases
    ],
)
def test_bad_input_ends_in_one_line(
    project: Path, run: Run, command: str, damage: Damage, says: list[str]
) -> None:
    damage(project)
    before = contents(project)
    outcome = run(project, *command.split())
    assert_one_line(outcome, *(words.format(root=project) for words in says))
    assert contents(project) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["recommend", "--user", "nobody"], ["no user 'nobody'", "--history ITEM"]),
        (["recommend", "--user", "u1", "--history", "i1"], ["both given; give one of them"]),
        (["recommend", "--model", "nowhere"], ["no version 'nowhere' of 'recommender'"]),
        (["recommend", "--model", "data"], ["no data/model.json", "'dvc repro train'"]),
        (["leaderboard", "--set", "max_epochs=2020-13-45"], ["is not a setting; write it like"]),
        (["data", "use", "ml-9m"], ["unknown data set", "'ml-9m'; did you mean 'ml-1m'?"]),
        (["data", "use", "ml-1m", "--from", "data/items.csv"], ["does not hold ml-1m", "; give"]),
        (["data", "use", "data/log.csv", "--format", "xls"], ["unknown format 'xls'; known: csv"]),
        (["data", "use", "data/log.csv", "--time-unit", "h"], ["unknown time unit 'h'; known: s"]),
        (["data", "use", "data/log.csv", "--items", "x"], ["no file or folder x; give"]),
    ],
)
def test_wrong_arguments_end_in_one_line(
    project: Path, run: Run, arguments: list[str], says: list[str]
) -> None:
    before = contents(project)
    assert_one_line(run(project, *arguments), *says)
    assert contents(project) == before


@pytest.mark.parametrize(
    ("command", "damage", "says"),
    [
        ("stage validate", cut(f"{INTERACTIONS}/interactions.parquet"), "is damaged"),
        ("stage train", flip(CHECKPOINT), "checkpoint "),
        ("recommend --user u1", write(f"{MODEL}/vocabulary.json", GARBAGE), "is damaged"),
        ("data use new.csv", given(GARBAGE), "holds NUL bytes"),
    ],
)
def test_nothing_else_is_said_by_the_installed_command(
    project: Path, command: str, damage: Damage, says: str
) -> None:
    """In a separate process, with the libraries' warnings and what they print when it ends."""
    damage(project)
    before = contents(project)
    assert_one_line(run_apart(project, *command.split()), says)
    assert contents(project) == before


# --- what is odd, and no mistake ---------------------------------------------------------------


def test_some_nan_times_are_set_aside_and_counted(project: Path, run: Run) -> None:
    odd = [("u1", "i1", "NaN"), ("u2", "i2", "nan"), ("u3", "i3", "inf")]
    log([*walks(), *odd])(project)
    assert run(project, "stage", "ingest").code == 0
    report = json.loads((project / INTERACTIONS / "report.json").read_text())
    assert report["quarantine"]["bad-time"] == len(odd)
    assert report["rows_out"] == USERS * LENGTH


SMALLEST = {
    "validate.users": {"minimum": 1},
    "validate.items": {"minimum": 1},
    "validate.interactions": {"minimum": 1},
    "sequence-split.minimum_user_interactions": 1,
}
"""Limits that let everything through."""


def pipeline(
    root: Path, run: Run, rows: list[Row], settings: dict[str, Any]
) -> tuple[str, Outcome]:
    """Run the stages up to the first that fails; its name (or the last one's) and outcome."""
    write_project(root, rows)
    for key, value in settings.items():
        setting(key, value)(root)
    for stage in STAGES:
        outcome = run(root, "stage", stage)
        if outcome.code:
            break
    return stage, outcome


ONE_ITEM = [(user, "i0", time) for user, _, time in walks()]
ONE_TIME = [(user, item, "1700000000") for user, item, _ in walks()]
GLOBAL = {"sequence-split.protocol": "global-time"}


@pytest.mark.parametrize(
    ("rows", "settings", "stage", "says"),
    [
        (walks(users=1), {}, "validate", "user-count; fix the data or the thresholds"),
        (
            walks(users=1),
            SMALLEST,
            "sequence-split",
            "only one user to learn from; add",
        ),
        (ONE_ITEM, {}, "validate", "item-count; fix the data or the thresholds"),
        (
            ONE_ITEM,
            SMALLEST,
            "sequence-split",
            "only one item to rank; add more data",
        ),
        (walks(length=1), {}, "sequence-split", "no user has at least 3 interactions; lower"),
        (walks(length=1), SMALLEST, "sequence-split", "no user has three interactions; add"),
        (walks(users=1), SMALLEST | GLOBAL, "sequence-split", "only one user"),
        (walks(length=1), SMALLEST | GLOBAL, "sequence-split", "no user has interactions on both"),
        (ONE_TIME, SMALLEST | GLOBAL, "sequence-split", "leaves nothing to train on"),
    ],
    ids=[
        "one user",
        "one user, no limits",
        "one item",
        "one item, no limits",
        "histories of 1",
        "histories of 1, no limits",
        "one user in time",
        "histories of 1 in time",
        "one time",
    ],
)
def test_too_little_data_ends_in_one_line(
    tmp_path: Path, run: Run, rows: list[Row], settings: dict[str, Any], stage: str, says: str
) -> None:
    failed, outcome = pipeline(tmp_path / "project", run, rows, settings)
    assert failed == stage
    assert_one_line(outcome, says)


def test_two_users_two_items_and_histories_of_one_are_enough(tmp_path: Path, run: Run) -> None:
    """Whoever has one interaction trains along; the two with four have targets."""
    short = [(f"v{user}", f"i{user % 2}", "1600000000") for user in range(3)]
    long = [(f"u{user}", f"i{(user + step) % 2}", f"170000000{step}") for user in (0, 1)
            for step in range(4)]  # fmt: skip
    root = tmp_path / "project"
    stage, outcome = pipeline(root, run, short + long, SMALLEST)
    assert (stage, outcome.code) == ("evaluate", 0), outcome.err
    assert json.loads((root / SEQUENCES / "report.json").read_text())["test"]["users"] == 2
    assert run(root, "recommend", "--user", "v0", "--json").code == 0


# --- what may not be read or written -----------------------------------------------------------

NOBODY = 65534


@pytest.fixture
def open_project(finished: Path) -> Iterator[Path]:
    """A copy of the finished project where a user without any rights can reach it."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(shutil.copytree(finished, Path(place) / "project"))


@contextlib.contextmanager
def without_privileges(root: Path) -> Iterator[None]:
    """Root may read whatever it likes: become nobody, and the owner of the project."""
    if os.geteuid() != 0:
        yield
        return
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("stage ingest", "data/log.csv"),
        ("stage ingest", "data/items.csv"),
        ("stage ingest", "params.yaml"),
        ("stage sequence-split", f"{INTERACTIONS}/interactions.parquet"),
        ("stage sequence-split", f"{INTERACTIONS}/items.parquet"),
        ("recommend --user u1", f"{SEQUENCES}/items.npy"),
        ("recommend --user u1", f"{SEQUENCES}/users.parquet"),
        ("recommend --user u1", f"{MODEL}/model.safetensors"),
        ("recommend --user u1", f"{MODEL}/vocabulary.json"),
        ("data describe", "data/log.csv"),
    ],
)
def test_a_file_that_may_not_be_read(open_project: Path, run: Run, command: str, name: str) -> None:
    assert run(open_project, *command.split()).code == 0  # imports what the user nobody cannot read
    before = contents(open_project)
    (open_project / name).chmod(0)
    with without_privileges(open_project):
        outcome = run(open_project, *command.split())
    assert_one_line(outcome, name, "permissions")
    (open_project / name).chmod(0o644)
    assert contents(open_project) == before


@pytest.mark.parametrize("stage", ["ingest", "sequence-split"])
def test_a_folder_that_may_not_be_written(open_project: Path, run: Run, stage: str) -> None:
    assert run(open_project, "stage", stage).code == 0
    before = contents(open_project)
    (open_project / "artifacts").chmod(0o555)
    with without_privileges(open_project):
        outcome = run(open_project, "stage", stage)
    assert_one_line(outcome, f"Permission denied at {open_project}/artifacts/")
    assert contents(open_project) == before


# --- a full disk -------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system, in memory and of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("no mount on this system")
    options = ["-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    made = subprocess.run([mount, *options], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no file system may be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run([umount, "--lazy", place], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leave so many bytes free; the file that takes the others."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - free))
    return ballast


@pytest.mark.parametrize(
    ("command", "free"),
    [
        ("stage ingest", 0),
        ("stage ingest", 8_192),
        ("stage validate", 0),
        ("stage validate", 65_536),
        ("stage validate", 1_000_000),
        ("stage sequence-split", 0),
        ("stage sequence-split", 16_384),
        ("stage train", 0),
        ("stage train", 65_536),
        ("stage train", 131_072),
        ("stage evaluate", 0),
        ("stage evaluate", 65_536),
        ("stage evaluate", 131_072),
        ("data use new.csv", 0),
        ("data use new.csv", 8_192),
    ],
)
def test_a_full_disk_ends_in_one_line_and_loses_nothing(
    finished: Path, small_disk: Path, run: Run, command: str, free: int
) -> None:
    """Whatever was full, there is no trace of it: with room again the same command succeeds."""
    root = Path(shutil.copytree(finished, small_disk / "project"))
    given(GOOD_LOG, setting("train.seed", 1))(root)  # another training than the finished one
    before = contents(root)
    ballast = fill(small_disk, free)
    outcome = run(root, *command.split())
    assert_one_line(outcome, "free some disk space")
    after = contents(root)
    new = {name for name in after if name not in before and "checkpoints" not in name}
    assert not new
    assert {name: after.get(name) for name in before} == before
    ballast.unlink()
    assert run(root, *command.split()).code == 0


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_found_full_at_the_end(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """The same without a file system to fill: the system refuses to keep what was written."""
    before = contents(project)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert_one_line(run(project, "stage", stage), str(project), "; free some disk space")
    assert contents(project) == before
