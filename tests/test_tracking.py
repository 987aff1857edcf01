"""MLflow tracking against a real sqlite database; only an unreachable server is simulated."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

import databases
import forked
import ports
from lives import SECONDS
from recctl.errors import UserError
from recctl.files import write_json
from recctl.layout import Layout
from recctl.redact import redact
from recctl.tracking import artifacts, batches, lineage, runs, server, training

CURVE = [{"epoch": n, "loss": 1.0 / n, "ndcg": 0.1 * n if n % 2 == 0 else None} for n in (1, 2, 3)]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_BATCHES", 0.0)


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    root = tmp_path / "project"
    root.mkdir()
    databases.mlflow(root)
    return Layout(root)


def train(
    project: Layout, fingerprint: str = "f1", rows: list[dict[str, Any]] = CURVE, **more: Any
) -> str:
    """A training as the stage does it; gives back the run's id."""
    params = {"train": {"max_epochs": 3, "bert4rec": {"layers": 2}}}
    with training.training_run(
        project, name="bert4rec", fingerprint=fingerprint, params=params, **more
    ) as run:
        run.log_curve(rows)
    return run.run_id


def get_run(project: Layout, run_id: str) -> Any:
    return server.connect(project).client.get_run(run_id)


def history(project: Layout, run_id: str, key: str) -> list[tuple[int, float]]:
    found = server.connect(project).client.get_metric_history(run_id, key)
    return sorted((metric.step, metric.value) for metric in found)


def all_runs(project: Layout) -> list[Any]:
    reached = server.connect(project)
    return list(reached.client.search_runs([reached.experiment_id]))


def test_a_run_holds_params_curve_lineage_and_environment(project: Layout) -> None:
    (project.root / "data.dvc").write_text("outs:\n- md5: abc123.dir\n  size: 9\n  path: data\n")
    write_json(project.sequences / "report.json", {"fingerprint": "split-1"})
    run = get_run(project, train(project, tags={"recctl.device": "cpu"}))
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "bert4rec"
    assert run.data.params == {"train.max_epochs": "3", "train.bert4rec.layers": "2"}
    assert history(project, run.info.run_id, "loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert history(project, run.info.run_id, "ndcg") == [(2, 0.2)]
    tags = run.data.tags
    assert tags["recctl.data_md5"] == "abc123.dir"
    assert tags["recctl.split_fingerprint"] == "split-1"
    assert tags["recctl.device"] == "cpu"
    assert tags["recctl.python"].startswith("3.")
    assert tags["mlflow.source.git.commit"] == "none"
    artifacts = project.root / "mlartifacts" / run.info.run_id / "artifacts"
    assert "mlflow==" in (artifacts / "environment" / "packages.txt").read_text()


def test_the_curve_can_be_watched_while_the_training_runs(project: Layout) -> None:
    with training.training_run(project, name="m", fingerprint="f", params={}) as run:
        run.log_epoch({"epoch": 1, "loss": 0.5})
        seen = get_run(project, run.run_id)
        assert (seen.info.status, seen.data.metrics) == ("RUNNING", {"loss": 0.5})


def test_rows_between_two_batches_wait_and_are_not_lost(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_BATCHES", 3600.0)
    monkeypatch.setattr(batches, "BATCH_METRICS", 2)
    with training.training_run(project, name="m", fingerprint="f", params={}) as run:
        run.log_curve(CURVE)
        assert history(project, run.run_id, "loss") == [(1, 1.0)]
    assert history(project, run.run_id, "loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]


def test_more_metrics_and_params_than_one_batch_takes(project: Layout) -> None:
    rows = [{"epoch": n, "a": 1.0, "b": 2.0, "c": 3.0} for n in range(400)]
    params = {f"key{n}": n for n in range(150)}
    with training.training_run(project, name="m", fingerprint="f", params=params) as run:
        run._next = time.monotonic() + 3600  # as when epochs take a millisecond
        run.log_curve(rows)
    assert len(history(project, run.run_id, "c")) == 400
    assert len(get_run(project, run.run_id).data.params) == 150


def test_run_json_names_the_run_without_folders_of_this_machine(project: Layout) -> None:
    run_id = train(project)
    assert json.loads((project.training / "run.json").read_text()) == {
        "run_id": run_id,
        "experiment": "recctl",
        "tracking_uri": "sqlite:///mlflow.db",
    }


def test_final_metrics_and_files(project: Layout) -> None:
    plot = project.training / "curve.png"
    plot.parent.mkdir(parents=True)
    plot.write_bytes(b"png")
    with training.training_run(project, name="m", fingerprint="f", params={}) as run:
        run.log_metrics({"validation/ndcg@10": 0.25})
        run.log_files([plot])
    assert get_run(project, run.run_id).data.metrics == {"validation/ndcg_at_10": 0.25}
    kept = project.root / "mlartifacts" / run.run_id / "artifacts" / "training" / "curve.png"
    assert kept.read_bytes() == b"png"


class Raises(dict[str, Any]):
    """A row of the curve at which the training breaks off."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getitem__(self, key: str) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_an_interrupted_run_has_that_status_and_is_continued(
    project: Layout, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)):
        train(project, rows=[*CURVE[:2], Raises(error)])
    (run,) = all_runs(project)
    assert run.info.status == status
    assert not (project.training / "run.json").exists()

    assert train(project) == run.info.run_id
    (again,) = all_runs(project)
    assert again.info.status == "FINISHED"
    assert history(project, run.info.run_id, "loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]


def test_a_killed_training_continues_its_run(project: Layout) -> None:
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from recctl.layout import Layout
        from recctl.tracking import training
        with training.training_run(
            Layout(Path({str(project.root)!r})), name="m", fingerprint="f1", params={{}}
        ) as run:
            run.log_epoch({{"epoch": 1, "loss": 1.0}})
            run.log_epoch({{"epoch": 2, "loss": 0.5}})  # waits for the next batch
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    (killed,) = all_runs(project)
    assert (killed.info.status, killed.data.metrics) == ("RUNNING", {"loss": 1.0})

    assert train(project) == killed.info.run_id
    assert len(all_runs(project)) == 1
    assert history(project, killed.info.run_id, "loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]


def test_another_training_gets_its_own_run_and_the_killed_one_is_closed(project: Layout) -> None:
    first = training.training_run(project, name="m", fingerprint="f1", params={})
    killed = first.__enter__()  # and never left, as after SIGKILL
    other = train(project, fingerprint="f2")
    assert other != killed.run_id
    assert get_run(project, killed.run_id).info.status == "KILLED"
    assert train(project, fingerprint="f1") == killed.run_id  # its checkpoint was kept


def test_a_finished_training_done_again_is_a_new_run(project: Layout) -> None:
    assert train(project) != train(project)


def test_nothing_is_printed(project: Layout, capfd: pytest.CaptureFixture[str]) -> None:
    train(project)
    assert capfd.readouterr() == ("", "")


def test_an_unreachable_server_stops_before_training(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    with ports.refusing() as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s3cret@127.0.0.1:{port}")
        with pytest.raises(UserError) as caught:
            train(project, rows=[Raises(AssertionError("trained"))])
    assert time.monotonic() - began < 60
    message = str(caught.value)
    assert message.startswith(f"MLflow at http://127.0.0.1:{port}: ")
    assert "Connection refused" in message
    assert "MLFLOW_TRACKING_URI" in message
    assert "s3cret" not in message
    assert "\n" not in message
    assert not project.training.exists()


def test_a_server_that_does_not_answer_stops_within_seconds(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SECONDS_TO_ANSWER", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(UserError, match="MLflow at http://127"):
            server.connect(project)
        assert time.monotonic() - began < 60
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("nonsense://x", "unsupported URI"),
        ("postgresql://ann:s3cret@127.0.0.1/x", "psycopg2"),
        ("./mlruns", "maintenance mode"),
    ],
)
def test_an_unusable_address_is_one_line(
    project: Layout, monkeypatch: pytest.MonkeyPatch, uri: str, says: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError) as caught:
        server.connect(project)
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_of_something_else_is_one_line(project: Layout) -> None:
    (project.root / "mlflow.db").write_bytes(b"not a database, and long enough to be read as one")
    with pytest.raises(UserError, match=r"mlflow\.db.*not a database"):
        server.connect(project)
    assert (project.root / "mlflow.db").read_bytes().startswith(b"not a database")


class Flaky:
    """A client whose server is away from time to time."""

    def __init__(self, client: Any) -> None:
        self._client, self.away = client, False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise requests.ConnectionError("no route to https://ann:s3cret@host")
        return getattr(self._client, name)


def test_a_server_lost_in_mid_training_costs_a_warning_not_the_training(
    project: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SECONDS_AFTER_FAILURE", 0.0)
    with training.training_run(project, name="m", fingerprint="f", params={}) as run:
        flaky = Flaky(run.tracking.client)
        run.tracking = dataclasses.replace(run.tracking, client=flaky)  # type: ignore[arg-type]
        run.log_epoch(CURVE[0])
        flaky.away = True
        run.log_epoch(CURVE[1])
        run.log_epoch(CURVE[2])
        flaky.away = False
    said = capsys.readouterr().err
    assert said.count("the training continues without MLflow") == 1
    assert "s3cret" not in said
    assert history(project, run.run_id, "loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert get_run(project, run.run_id).info.status == "FINISHED"


def test_a_server_lost_for_good_leaves_a_finished_training(
    project: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    with training.training_run(project, name="m", fingerprint="f", params={}) as run:
        flaky = Flaky(run.tracking.client)
        flaky.away = True
        run.tracking = dataclasses.replace(run.tracking, client=flaky)  # type: ignore[arg-type]
        run.log_curve(CURVE)
    assert capsys.readouterr().err.count("\n") == 1
    assert json.loads((project.training / "run.json").read_text())["run_id"] == run.run_id


def test_evaluation_joins_the_run_that_trained_the_model(project: Layout) -> None:
    run_id = train(project)
    table = project.evaluation / "slices.csv"
    table.parent.mkdir(parents=True)
    table.write_text("slice\n")
    metrics = {"full/model/ndcg@10": 0.125}
    joined = runs.log_evaluation(
        project, metrics=metrics, files=[table], tags={"recctl.evaluation": "e1"}
    )
    assert joined == run_id
    run = get_run(project, run_id)
    assert run.data.metrics["full/model/ndcg_at_10"] == 0.125
    assert run.data.tags["recctl.evaluation"] == "e1"
    assert run.info.status == "FINISHED"
    kept = project.root / "mlartifacts" / run_id / "artifacts" / "evaluation" / "slices.csv"
    assert kept.exists()


def test_an_evaluated_model_is_a_model_of_mlflows_with_its_data_set(project: Layout) -> None:
    """Once, however often it is evaluated; with the figures of full ranking under short names."""
    run_id = train(project)
    project.params.write_text("ingest: {name: films}\n")
    for value in (0.125, 0.25):
        runs.log_evaluation(
            project,
            metrics={"full/model/ndcg@10": value, "full/markov/ndcg@10": 0.5},
            model="bert4rec",
            test_set="0123456789abcdef",
        )
    client = server.connect(project).client
    run = client.get_run(run_id)
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert (model.name, model.source_run_id, model.status) == ("bert4rec", run_id, "READY")
    figures = {one.key: (one.value, one.dataset_digest) for one in model.metrics}
    assert figures == {"ndcg_at_10": (0.25, "0123456789ab")}
    assert run.data.metrics["ndcg_at_10"] == 0.25
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("films", "0123456789ab")
    assert [one.model_id for one in run.outputs.model_outputs] == [model.model_id]


def test_a_server_without_models_has_the_run_alone(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def absent(*_: object, **__: object) -> None:
        raise MlflowException("API request to endpoint /x failed with error code 404 != 200")

    run_id = train(project)
    project.params.write_text("ingest: {name: films}\n")
    monkeypatch.setattr(MlflowClient, "search_logged_models", absent)
    metrics = {"full/model/ndcg@10": 0.5}
    assert runs.log_evaluation(project, metrics=metrics, model="bert4rec") == run_id
    assert get_run(project, run_id).data.metrics["full/model/ndcg_at_10"] == 0.5


def test_a_restored_model_gets_one_separate_run(project: Layout) -> None:
    write_json(project.training / "run.json", {"run_id": "0" * 32, "experiment": "elsewhere"})
    first = runs.log_evaluation(project, metrics={"hr@10": 0.5})
    second = runs.log_evaluation(project, metrics={"hr@10": 0.5})
    assert first == second
    (run,) = all_runs(project)
    assert run.data.tags["recctl.trained_as"] == "0" * 32
    assert run.info.status == "FINISHED"


def test_evaluation_without_a_training_says_what_to_run(project: Layout) -> None:
    with pytest.raises(UserError, match="dvc repro train"):
        runs.log_evaluation(project, metrics={})


def _connect(root: str) -> None:
    server.connect(Layout(Path(root)))


def test_four_processes_may_touch_a_fresh_database_at_once(tmp_path: Path) -> None:
    context = forked.context()
    processes = [context.Process(target=_connect, args=(str(tmp_path),)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]


@pytest.mark.parametrize("moved", [shutil.move, shutil.copytree])
def test_a_moved_or_copied_project_has_its_runs_and_leaves_the_old_folder_alone(
    project: Layout, tmp_path: Path, moved: Callable[[Path, Path], object]
) -> None:
    before = train(project)
    new = Layout(tmp_path / "moved")
    moved(project.root, new.root)
    old = sorted(project.root.rglob("*"))
    assert server.moved(server.connect(new)) == project.root / "mlartifacts"
    run_id = train(new, fingerprint="f2")
    assert server.connect(new).experiment == "recctl"
    assert {run.info.run_id for run in all_runs(new)} == {before, run_id}
    assert (new.root / "mlartifacts" / run_id / "artifacts" / "environment").is_dir()
    assert sorted(project.root.rglob("*")) == old
    client: Any = server.connect(new).client
    assert client.get_artifacts(before).sizes("environment") == {
        "environment/packages.txt": len(lineage.packages().encode())
    }


def test_runs_of_a_project_moved_before_stay_together(project: Layout, tmp_path: Path) -> None:
    """Earlier versions of recctl made NAME-2 after a move; new runs go there."""
    train(project)
    client = server.connect(project).client
    client.create_experiment("recctl-2", artifact_location=(tmp_path / "b/mlartifacts").as_uri())
    assert server.connect(project).experiment == "recctl"
    (tmp_path / "c").mkdir()
    shutil.copy(project.root / "mlflow.db", tmp_path / "c")
    assert server.connect(Layout(tmp_path / "c")).experiment == "recctl-2"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("file:///old/p/mlartifacts", "{own}"),
        (
            f"file:///old/mlartifacts/{'0' * 32}/artifacts/model",
            f"{{own}}/{'0' * 32}/artifacts/model",
        ),
        (f"/old/mlartifacts/p/mlartifacts/{'0' * 32}/artifacts", f"{{own}}/{'0' * 32}/artifacts"),
        (f"file:///old%20one/mlartifacts/{'0' * 32}/artifacts", f"{{own}}/{'0' * 32}/artifacts"),
        ("file:///old/mlruns/1", "file:///old/mlruns/1"),
        ("file:///etc", "file:///etc"),
        ("s3://bucket/mlartifacts", "s3://bucket/mlartifacts"),
        ("mlflow-artifacts:/1", "mlflow-artifacts:/1"),
    ],
)
def test_where_an_address_of_another_folder_leads(tmp_path: Path, address: str, place: str) -> None:
    root = tmp_path / "a project"
    own = (root / "mlartifacts").as_uri()
    assert artifacts.place_of(f"sqlite:///{root}/mlflow.db", address) == place.format(own=own)
    assert artifacts.place_of("http://127.0.0.1:5000", address) == address
    ours = f"{own}/{'0' * 32}/artifacts"
    assert artifacts.place_of(f"sqlite:///{root}/mlflow.db", ours) == ours


def test_a_database_moved_without_its_files_keeps_them(tmp_path: Path) -> None:
    """They are still its own, unless another database stands beside them."""
    (tmp_path / "old" / "mlartifacts").mkdir(parents=True)
    (tmp_path / "new").mkdir()
    uri, left = f"sqlite:///{tmp_path}/new/mlflow.db", (tmp_path / "old" / "mlartifacts").as_uri()
    assert artifacts.place_of(uri, left) == left
    (tmp_path / "old" / "mlflow.db").touch()
    assert artifacts.place_of(uri, left) == (tmp_path / "new" / "mlartifacts").as_uri()


def test_no_environment_variable_is_logged(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    train(project)
    assert b"do-not-tell" not in (project.root / "mlflow.db").read_bytes()
    for file in (project.root / "mlartifacts").rglob("*"):
        assert not file.is_file() or b"do-not-tell" not in file.read_bytes()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://ann:pw@host/x", "https://host/x"),
        ("https://token@host", "https://host"),
        ("postgresql://a:p@ss@host:1/db", "postgresql://host:1/db"),
        ("mysql://host/db?user=a&password=pw", "mysql://host/db?user=a&password=***"),
        ("no answer (https://a:b@h/1, https://c:d@h/2)", "no answer (https://h/1, https://h/2)"),
        ("git@host:team/repo.git", "git@host:team/repo.git"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_redact(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("sqlite:////home/ann/mlflow.db", "sqlite:///mlflow.db"),
        ("postgresql://ann:s3/cr et@host/db", "postgresql://host/db"),
        ("https://host/x?sig=s3cret", "https://host/x?sig=***"),
    ],
)
def test_the_address_that_is_kept_holds_no_secret(uri: str, kept: str) -> None:
    assert server._portable(uri) == kept


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, "sqlite:////p/mlflow.db"),
        ("", "sqlite:////p/mlflow.db"),
        ("sqlite:///other.db", "sqlite:////p/other.db"),
        ("sqlite:////abs/x.db", "sqlite:////abs/x.db"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_tracking_uri(monkeypatch: pytest.MonkeyPatch, setting: str | None, expected: str) -> None:
    if setting is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", setting)
    assert server.tracking_uri(Layout(Path("/p"))) == expected


def test_an_experiment_in_dvcs_temporary_copy_is_tracked_in_the_project() -> None:
    copy = Layout(Path("/p/.dvc/tmp/exps/standalone/abc"))
    assert server.tracking_uri(copy) == "sqlite:////p/mlflow.db"


def test_git_lineage(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    git("remote", "add", "origin", "https://ann:s3cret@host/x.git")
    (tmp_path / "code.py").write_text("1\n")
    git("add", "code.py")
    git("commit", "-q", "-m", "first")
    for name in ("data.dvc", "dvc.lock", "notes.md", "night.log"):
        (tmp_path / name).write_text("a run, or a person beside it, wrote this\n")
    tags = lineage.lineage(Layout(tmp_path))
    assert tags["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
    assert tags["mlflow.source.git.repoURL"] == "https://host/x.git"
    assert tags["recctl.git_dirty"] == "false"
    (tmp_path / "code.py").write_text("2\n")
    assert lineage.lineage(Layout(tmp_path))["recctl.git_dirty"] == "true"
    git("checkout", "code.py")
    for name in ("src/new/stage.py", "flows/x.yaml", "params.yaml", "constraints.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("untracked\n")
        assert lineage.lineage(Layout(tmp_path))["recctl.git_dirty"] == "true", name
        path.unlink()
    assert lineage.lineage(Layout(tmp_path))["recctl.git_dirty"] == "false"


def test_lineage_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tags = lineage.lineage(Layout(tmp_path))
    assert tags["mlflow.source.git.commit"] == tags["recctl.git_dirty"] == "none"
