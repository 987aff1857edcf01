"""A retraining that meets what is away, full, killed or somebody else; `make test-faults`.

`faults.py` makes the faults and writes down what it finds; here that is judged. The last tests run
the commands themselves, on a project with DVC's real stages, and a real Prefect server.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import faults
import psutil
import pytest
import small_project as small
import tiny_project as tiny
from faults import ERRORS, judged, outcomes
from prefect_server import PrefectServer, running

import ports
import programs
from lives import lives, wait_for
from recctl import lock
from recctl.config import read_params
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.verify import verify

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

WORK = (
    ("promoted:child", "promoted:broken", "promoted:race:10", "promoted:full"),
    (
        *("promoted:remote", "promoted:git", "promoted:mlflow", "rejected:mlflow"),
        *("promoted:silent", "promoted:away", "rejected:away", "rejected:full"),
    ),
)
"""Two processes at once do the jobs of a line each."""
HINDERED = [tuple(job.split(":")[:2]) for jobs in WORK for job in jobs if "race" not in job]


@pytest.mark.parametrize(("scenario", "way"), HINDERED)
def test_hindered_at_any_step(
    tmp_path_factory: pytest.TempPathFactory, scenario: str, way: str
) -> None:
    """It ends in a line for people, nothing is lost, and the next run repairs what is left."""
    whole, *ends = outcomes(tmp_path_factory, WORK)[scenario, way]
    judged(whole, ends, {1, 2} if scenario == "promoted" else {1})
    for end in ends:
        where = f"{scenario}, {way} {end['moment']} step {end['step']} ({end['name']})"
        assert end["code"] == 0, where
        ended = end["found"]["ended"]
        assert "\n" not in ended, where
        assert "Traceback" not in " ".join(end["found"]["said"]), where
        if way in ("remote", "git", "mlflow"):
            assert ended.startswith("MayPass"), (where, ended)
        if way in ("child", "broken"):
            assert ended.startswith(ERRORS), (where, ended)
    endings = Counter(end["found"]["ended"].split(":")[0] for end in ends)
    print(f"\n{scenario}, {way}: {len(ends)} of {whole['moments']} moments: {dict(endings)}")


def test_two_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One of them decides, the other one finds nothing to do; never are two inside."""
    rounds = outcomes(tmp_path_factory, WORK)["promoted", "race"]
    assert len(rounds) == 10
    for one in rounds:
        assert [code for code, _ in one["ended"]] == [0, 0], one
        endings = [found["ended"] for _, found in one["ended"]]
        assert endings.count("nothing-new") == 1, endings
        assert not [ending for ending in endings if ending.startswith(ERRORS)], endings
        assert one["then"]["wrong"] == []


# --- DVC's real stages

ROOT = Path(__file__).parents[2]
RECCTL = Path(sys.executable).with_name("recctl")
OFTEN = """
import sys
from recctl.training import checkpoint
checkpoint.EVERY_SECONDS = 0.0
from recctl.cli import main
sys.argv = ["recctl", "stage", "train"]
main()
"""
"""The stage `train`, but with a checkpoint after every step of it."""


@pytest.fixture
def real(tmp_path: Path) -> Layout:
    """A project with the real dvc.yaml and a small BERT4Rec that any verdict lets serve."""
    layout = small.make(tmp_path / "project")
    pipeline = (ROOT / "dvc.yaml").read_text()
    assert "cmd: recctl stage train\n" in pipeline
    often = pipeline.replace("cmd: recctl stage train\n", "cmd: python often.py\n")
    (layout.root / "dvc.yaml").write_text(often)
    (layout.root / "often.py").write_text(OFTEN)
    shutil.copytree(ROOT / "src", layout.root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    with (layout.root / ".dvc" / "config").open("a") as config:
        config.write(f"    remote = store\n['remote \"store\"']\n    url = {tmp_path / 'remote'}\n")
    network = {"max_length": 20, "hidden_size": 8, "layers": 1, "heads": 1}
    training = {"model": "bert4rec", "device": "cpu", "max_epochs": 12, "validate_every": 1}
    policy = {**tiny.POLICY, "first_model": "any", "baselines": [], "convergence": False}
    ingest = {**read_params(layout.params)["ingest"], "engine": "duckdb"}
    small.settings(
        layout,
        ingest=ingest,
        train={**training, "bert4rec": network},
        promotion=policy,
        validate={},
        evaluate={"filter_seen": True, "negatives": 5},
    )
    small.git(layout.root, "add", ".")
    small.git(layout.root, "commit", "--quiet", "--message", "the pipeline")
    return layout


def start(layout: Layout, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(RECCTL), "retrain", *arguments],
        cwd=layout.root,
        env={**programs.environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_killed_while_training_it_resumes(real: Layout) -> None:
    victim = start(real)
    checkpoints = real.state / "checkpoints"

    def trained() -> bool:
        assert victim.poll() is None, victim.communicate()
        return any(checkpoints.glob("*.pt"))

    wait_for("a checkpoint", trained)
    children = psutil.Process(victim.pid).children(recursive=True)
    assert any("often.py" in " ".join(one.cmdline()) for one in children)
    victim.send_signal(signal.SIGKILL)
    began = time.monotonic()
    held = []
    while any(lives(one.pid) for one in children):
        holder = lock.holder(real)
        if any(lives(one.pid) for one in children):  # they may have ended while we looked
            held.append(holder is not None)
        assert time.monotonic() - began < 10, "what it started outlives it"
        time.sleep(0.05)
    assert all(held), "somebody could have begun while its training ran"
    wait_for("the lock", lambda: lock.holder(real) is None)
    print(f"\nall {len(children)} processes had ended after {time.monotonic() - began:.1f} s")
    victim.communicate()

    again = start(real)
    output = again.communicate(timeout=600)[0]
    assert again.returncode == 0, output
    assert "resumed in epoch" in output
    assert small.commits(real)[0] == "Retraining: version 1 promoted (decision 1)"
    registry = history.open_registry(real)
    assert registry.aliases()["champion"] == 1
    assert all(check.ok for check in verify(registry, real, everything=True))
    idle = start(real)
    assert "nothing new" in idle.communicate(timeout=300)[0]


# --- Prefect


def run_flow(server: PrefectServer, layout: Layout) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, faults.__file__, "flow", str(layout.root)],
        env={**server.environment(), **programs.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def states(server: PrefectServer) -> list[str]:
    found = server.ask("/flow_runs/filter", {"sort": "START_TIME_ASC"})
    assert isinstance(found, list)
    return [one["state"]["name"] for one in found]


def test_prefect_restarted_in_the_middle(tmp_path: Path) -> None:
    """The retraining does not depend on the server that shows it, and the next run is green."""
    server = PrefectServer(f"http://127.0.0.1:{ports.free()}/api", tmp_path / "home")
    layout = small.make(tmp_path / "project")

    def waits() -> bool:
        assert flow.poll() is None, flow.communicate()[0]
        return (tmp_path / "at-train").exists()

    with running(server, tmp_path) as first:
        flow = run_flow(server, layout)
        wait_for("the training", waits)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    (tmp_path / "go").touch()
    with running(server, tmp_path):
        output = flow.communicate(timeout=300)[0]
        print(output)
        assert flow.returncode == 0, output
        assert small.commits(layout)[0] == "Retraining: version 1 promoted (decision 1)"
        registry = history.open_registry(layout)
        assert registry.aliases()["champion"] == 1
        assert lock.holder(layout) is None
        again = run_flow(server, layout)
        output = again.communicate(timeout=300)[0]
        assert again.returncode == 0, output
        assert "NothingNew" in output
        assert states(server) == ["Promoted", "NothingNew"]
