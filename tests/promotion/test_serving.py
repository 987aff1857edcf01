import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import package_cases
import pandas as pd
import pytest

import ports
from lives import wait_for
from recctl import limits
from recctl.errors import UserError
from recctl.files import write_json
from recctl.models.base import SETTINGS, read_settings
from recctl.promotion import manifest
from recctl.promotion.serving import Recommendations, histories
from recctl.promotion.trial import package
from recctl.recommend import Served

pytestmark = pytest.mark.usefixtures("quick_decisions")

SITE = sysconfig.get_paths()["purelib"]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package_cases.version(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def served(version: Path) -> Served:
    return Served.load(version / package.RECOMMENDER)


@pytest.fixture
def recommendations(version: Path) -> Recommendations:
    return Recommendations.load(version)


def wanted(
    served: Served,
    history: list[str],
    k: int = 10,
    filter_seen: bool = True,
    unknown: list[str] | None = None,
) -> Any:
    """A row of the answer, from what `recctl recommend` would say."""
    best = served.recommend(history, k, filter_seen=filter_seen)
    return {
        "item_ids": [one.item_id for one in best],
        "titles": [package_cases.TITLES.get(one.item_id) for one in best],
        "scores": [one.score for one in best],
        "unknown_ids": unknown or [],
    }


def table(*given: Any) -> pd.DataFrame:
    return pd.DataFrame({"history": list(given)})


# --- the answer, without MLflow ------------------------------------------------------------------


def test_one_row_for_each_history_known_unknown_or_none(
    recommendations: Recommendations, served: Served
) -> None:
    asked = table(["a", "b"], ["a", "never seen"], ["never seen"], [], None, np.array(["a"]))
    rows = recommendations.answer(asked).to_dict("records")
    newcomer = wanted(served, [])
    assert rows == [
        wanted(served, ["a", "b"]), wanted(served, ["a"], unknown=["never seen"]),
        wanted(served, [], unknown=["never seen"]), newcomer, newcomer, wanted(served, ["a"]),
    ]  # fmt: skip
    assert len(newcomer["item_ids"]) == 4
    assert len(rows[0]["item_ids"]) == 2  # the catalogue of four less the two seen
    assert None in newcomer["titles"]
    assert 'Bräu "B"' in newcomer["titles"]


def test_params_say_how_many_and_whether_seen_items_count(
    recommendations: Recommendations, served: Served
) -> None:
    two = recommendations.answer(table(["a"]), {"k": 2}).to_dict("records")
    assert two == [wanted(served, ["a"], k=2)]
    all_of_them = recommendations.answer(table(["a"]), {"filter_seen": False}).to_dict("records")
    assert all_of_them == [wanted(served, ["a"], filter_seen=False)]
    assert "a" in all_of_them[0]["item_ids"]
    assert "a" not in two[0]["item_ids"]


def test_seen_items_are_refused_by_a_model_that_learnt_nothing_of_them(tmp_path: Path) -> None:
    model, record = package_cases.model_folder(tmp_path, "sasrec")
    about = {**read_settings(model)["about"], "params": {"filter_seen": True}}
    write_json(model / SETTINGS, {**read_settings(model), "about": about})
    package.build(model, tmp_path / "version", record=record)
    one = Recommendations.load(tmp_path / "version")
    assert len(one.answer(table(["a"]))) == 1
    with pytest.raises(UserError, match="its scores of seen items mean nothing"):
        one.answer(table(["a"]), {"filter_seen": False})


def test_no_rows_get_no_answer(recommendations: Recommendations) -> None:
    answer = recommendations.answer(table())
    assert list(answer.columns) == ["item_ids", "titles", "scores", "unknown_ids"]
    assert len(answer) == 0


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"k": 0}, "k is 0; give a whole number from 1 to 10,000"),
        ({"k": -1}, "k is -1"),
        ({"k": limits.SERVED_K + 1}, "k is 10001"),
        ({"k": 10**30}, "k is 1000"),
        ({"k": 2.0}, "k is 2.0"),
        ({"k": "3"}, "k is '3'"),
        ({"k": True}, "k is True"),
        ({"k": None}, "k is None"),
        ({"filter_seen": "no"}, "filter_seen is 'no'; give true or false"),
        ({"filter_seen": 1}, "filter_seen is 1"),
        ({"n": 3}, "unknown param 'n'; known: k, filter_seen"),
    ],
)
def test_params_that_are_none_get_a_clear_line(
    recommendations: Recommendations, params: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError) as caught:
        recommendations.answer(table(["a"]), params)
    assert says in str(caught.value)


@pytest.mark.parametrize("k", [np.int64(2), np.int32(2), 2, limits.SERVED_K])
def test_numbers_may_be_numpys(recommendations: Recommendations, k: Any) -> None:
    answer = recommendations.answer(table(["a"]), {"k": k, "filter_seen": np.True_})
    assert len(answer["item_ids"][0]) == min(k, 3)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (table("a,b"), "history 0 is 'a,b'; give a list of item ids"),
        (table(["a"], 7), "history 1 is 7"),
        (table(["a", 7.5]), "history 0 holds 7.5; item ids are texts"),
        (table([12.0, float("nan")]), "history 0 holds 12.0"),  # whole numbers beside a null
        (table(["a", True]), "history 0 holds True"),
        (table(np.array([True, False])), "history 0 holds "),
        (table(["a", ["b"]]), "history 0 holds ['b']"),
        (table(np.array([["a", "b"], ["c", "d"]])), "history 0 holds array"),
        (table(["a", b"b"]), "history 0 holds b'b'"),
        (table({"a": 1}), "history 0 is {'a': 1}"),
        (pd.DataFrame({"histroy": [["a"]]}), "the request has no column 'history'"),
        (pd.DataFrame(), "the request has no column 'history'"),
        ([["a"]], "the request has no column 'history'"),
        (None, "the request has no column 'history'"),
    ],
)
def test_what_is_no_history_gets_a_clear_line(asked: Any, says: str) -> None:
    with pytest.raises(UserError) as caught:
        histories(asked)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_history_beside_others_is_a_newcomers() -> None:
    assert histories(table(["a"], float("nan"), None, pd.NA)) == [["a"], [], [], []]


@pytest.mark.parametrize("null", [None, float("nan"), np.float32("nan"), pd.NA])
def test_a_null_in_a_history_is_left_out(null: Any) -> None:
    assert histories(table(["i12", null, "i17"], [null], (null, "i12"))) == [
        ["i12", "i17"],
        [],
        ["i12"],
    ]


def test_a_whole_number_is_its_digits() -> None:
    assert histories(table([12, np.int64(7), 10**20])) == [["12", "7", "1" + "0" * 20]]
    assert histories(table(np.array([12, 7]), ["012"])) == [["12", "7"], ["012"]]


def test_a_version_that_is_not_whole_does_not_serve(tmp_path: Path) -> None:
    """Its code, settings and record as well as its weights; and nothing beside them."""
    version = package_cases.version(tmp_path)
    for name in sorted({*manifest.names(version)} - {str(package.DIGESTS)}):
        former = (version / name).read_bytes()
        changed = bytearray(former or b"\0")
        changed[-1] ^= 1
        (version / name).write_bytes(changed)
        with pytest.raises(UserError, match=f"'{name}' is not the file registered"):
            Recommendations.load(version)
        (version / name).unlink()
        with pytest.raises(UserError, match=f"'{name}' is missing"):
            Recommendations.load(version)
        (version / name).write_bytes(former)
    for name in ("code/numpy.py", "artifacts/recommender/more.json", "sitecustomize.py"):
        (version / name).write_text("1")
        with pytest.raises(UserError, match=f"'{name}' was not registered"):
            Recommendations.load(version)
        (version / name).unlink()
    Recommendations.load(version)


# --- through MLflow, in a Python that has no recctl -----------------------------------------------


def environment(cwd: Path) -> dict[str, str]:
    """Of a process without this project: the installed packages, and none of their .pth files,
    which is how an editable install of recctl is found; Python may write bytecode."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(cwd),
        "PYTHONPATH": SITE,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


WITHOUT_RECCTL = """
import importlib.util, json, sys
assert importlib.util.find_spec("recctl") is None, "recctl can be imported without the version"
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
import recctl
assert recctl.__file__.startswith(sys.argv[1]), recctl.__file__
asked = pandas.DataFrame({"history": [["a", "b"], ["never seen"], [], None]})
answer = model.predict(asked, params={"k": 2}).to_dict("records")
example = model.predict(model.input_example).to_dict("records")
mine = {name for name in sys.modules if name.partition(".")[0] == "recctl"}
print(json.dumps({"answer": answer, "example": example, "modules": sorted(mine)}))
"""


def test_mlflow_loads_it_where_recctl_is_not_installed(
    tmp_path: Path, served: Served, version: Path
) -> None:
    before = manifest.of(version)
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", WITHOUT_RECCTL, str(version)],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    newcomer, unknown = wanted(served, [], k=2), wanted(served, [], k=2, unknown=["never seen"])
    assert said["answer"] == [wanted(served, ["a", "b"], k=2), unknown, newcomer, newcomer]
    first = list(served.vocabulary.items[:3])
    assert said["example"] == [wanted(served, first), wanted(served, [])]
    # What it carries is what it needs, and reading it left nothing behind.
    carried = {
        ".".join(path.relative_to(version / "code").with_suffix("").parts).removesuffix(".__init__")
        for path in (version / "code").rglob("*.py")
    }
    assert set(said["modules"]) == carried
    package.check(version, before)


FROM_A_REGISTRY = """
import mlflow, pandas, sys
from mlflow import MlflowClient
mlflow.set_tracking_uri("sqlite:///registry.db")
client = MlflowClient()
run = client.create_run(client.create_experiment("x", artifact_location=sys.argv[2]))
client.log_artifacts(run.info.run_id, sys.argv[1], "model")
client.create_registered_model("recommender")
source = run.info.artifact_uri + "/model"
client.create_model_version("recommender", source, run.info.run_id)
client.set_registered_model_alias("recommender", "champion", "1")
model = mlflow.pyfunc.load_model("models:/recommender@champion")
print(model.predict(pandas.DataFrame({"history": [[]]}), params={"k": 1})["item_ids"][0][0])
print(source)
"""


@pytest.mark.slow
def test_a_version_of_a_local_store_is_still_what_was_registered_after_mlflow_used_it(
    tmp_path: Path, served: Served, version: Path
) -> None:
    """MLflow reads such a version where it is, notes its name in it, and Python compiles it."""
    before = manifest.of(version)
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", FROM_A_REGISTRY, str(version), str(tmp_path / "store")],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, source = done.stdout.splitlines()[-2:]
    assert first == wanted(served, [], k=1)["item_ids"][0]
    stored = Path(source)
    assert (stored / manifest.MLFLOW_NOTE).is_file()  # it was used in place
    package.check(stored, before)


class Server:
    """`mlflow models serve` on loopback."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, **request: Any) -> tuple[int, Any]:
        """Status and answer of a request."""
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/invocations",
            data=json.dumps(request).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def server(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    cwd = tmp_path_factory.mktemp("server")
    port = ports.free()
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", str(version),
        "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    with (cwd / "log").open("w") as out:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment(cwd), stdout=out, stderr=out, start_new_session=True
        )
    try:
        found = Server(port)
        wait_for("the server", lambda: found.ready() or process.poll() is not None)
        assert process.poll() is None, (cwd / "log").read_text()
        yield found
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
def test_a_served_version_answers_over_http(server: Server, served: Served, version: Path) -> None:
    rows = [
        {"history": ["a", "b"]},
        {"history": ["never seen"]},
        {"history": []},
        {"history": None},
    ]
    newcomer, unknown = wanted(served, [], k=2), wanted(served, [], k=2, unknown=["never seen"])
    assert server(dataframe_records=rows, params={"k": 2}) == (
        200,
        {"predictions": [wanted(served, ["a", "b"], k=2), unknown, newcomer, newcomer]},
    )
    split = {"columns": ["history"], "data": [[["c"]]]}
    assert server(dataframe_split=split) == (200, {"predictions": [wanted(served, ["c"])]})
    example = json.loads((version / "serving_input_example.json").read_text())
    first = list(served.vocabulary.items[:3])
    assert server(**example)[1]["predictions"] == [wanted(served, first), wanted(served, [])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "known", "unknown"),
    [
        (["a", None], ["a"], []),
        ([None], [], []),
        (["a", float("nan")], ["a"], []),
        ([12, "a"], ["a"], ["12"]),
        (["never seen", None, "a", ""], ["a"], ["never seen", ""]),
    ],
)
def test_a_null_and_a_number_in_a_history_in_every_form_of_request(
    server: Server, served: Served, given: list[Any], known: list[str], unknown: list[str]
) -> None:
    right = 200, {"predictions": [wanted(served, known, unknown=unknown)]}
    assert server(dataframe_records=[{"history": given}]) == right
    assert server(dataframe_split={"columns": ["history"], "data": [[given]]}) == right
    assert server(inputs=[{"history": given}]) == right
    assert server(inputs={"history": [given]}) == right
    assert server(inputs=[given]) == right
    assert server(instances=[given]) == right


@pytest.mark.slow
@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"params": {"k": 0}}, "k is 0; give a whole number from 1 to 10,000"),
        ({"params": {"k": "many"}}, "'k'"),
        ({"dataframe_records": [{"histroy": ["a"]}]}, "no column 'history'"),
        ({"dataframe_records": [{}]}, "no column 'history'"),
        ({"params": {"k": 10**9}}, "k is 1000000000; give a whole number from 1 to 10,000"),
        ({"params": {"k": None}}, "k is None"),
        ({"params": {"k": 1.5}}, "for value `1.5`"),
        ({"params": {"filter_seen": "yes"}}, "for value `yes`"),
        ({"params": [1]}, "Parameters must be a dictionary"),
        ({"dataframe_records": [{"history": "a"}]}, "history 0 is 'a'; give a list of item ids"),
        ({"dataframe_records": [{"history": 12}]}, "history 0 is 12"),
        ({"dataframe_records": [{"history": ["a", 1.5]}]}, "history 0 holds 1.5"),
        ({"dataframe_records": [{"history": ["a", True]}]}, "history 0 holds True"),
        ({"dataframe_records": [{"history": ["a", ["b"]]}]}, "history 0 holds ['b']"),
    ],
)
def test_a_bad_request_gets_400_and_a_reason(
    server: Server, request_: dict[str, Any], says: str
) -> None:
    status, answer = server(**{"dataframe_records": [{"history": ["a"]}], **request_})
    assert status == 400
    assert says in answer["message"]
    assert "Traceback" not in json.dumps(answer)
