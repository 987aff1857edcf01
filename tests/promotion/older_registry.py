"""Makes the archives in `fixtures/`: a registry and a decision log written by one commit of recctl.

    git worktree add /tmp/older COMMIT
    PYTHONPATH=/tmp/older/src:/tmp/older/tests/promotion \\
        python tests/promotion/older_registry.py tests/promotion/fixtures/NAME.tar.xz

The code of COMMIT makes a project of synthetic rows (`tiny_project`) and decides about it through
its command line. The archive keeps what a user's project keeps of that: `params.yaml`, MLflow's
database and files. It holds the database twice: `mlflow.db`, where every decision was carried out,
and `interrupted.db`, where the last promotion was killed before an alias moved. `shipped.yaml` is
the `params.yaml` that COMMIT ships.

The absolute paths inside are those of a folder that is gone. The database has the schema of the
MLflow that is installed here: a newer one migrates it.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import tiny_project as tiny

import recctl

PROJECT = Path("/tmp/recctl-older/project")

POLICY = {
    **tiny.POLICY,
    "floors": {"ndcg@10": 0.01},
    "slices": {"margin": 0.05, "minimum_users": 50},
    "guardrails": {"coverage_loss": 0.9, "popularity_bias_rise": 0.9, "size_ratio": 2.0},
    "suspicious_gain": 5.0,
    "ratchet": {"margin": 0.01},
}
"""Every gate but latency, which depends on the machine."""

RECCTL = "from recctl.cli import main; main()"
KILLED = """
import os
from mlflow import MlflowClient
from recctl.cli import main
MlflowClient.set_registered_model_alias = lambda *_, **__: os._exit(9)
main()
"""
"""recctl, ended when it would move the first alias."""


def run(
    *arguments: str, code: int = 0, program: str = "from recctl.cli import main; main()"
) -> None:
    """A recctl command in the project; it must end with `code`."""
    hidden = {"LOGNAME": "someone", "MLFLOW_TRACKING_URI": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=PROJECT,
        env={**os.environ, **hidden},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)


def main(archive: Path) -> None:
    """Decide seven times, kill an eighth decision, and pack what is left."""
    shutil.rmtree(PROJECT.parent, ignore_errors=True)
    PROJECT.parent.mkdir()
    layout = tiny.make(PROJECT, POLICY)
    tiny.train(layout, "item-knn")
    run("promote", "--yes")  # decision 1: version 1, the first model
    tiny.train(layout, "markov")
    run("promote", "--yes")  # 2: version 2 over it
    tiny.train(layout, "popularity")
    run("promote", "--yes", code=3)  # 3: version 3 is rejected
    run("rollback", "--yes", "--reason", "the lists looked odd")  # 4: version 1 serves again
    tiny.train(layout, "markov")
    run("promote", "--yes", code=2)  # 5: refused, since decision 4 took it out of service
    tiny.set_params(PROJECT, promotion={**POLICY, "suspicious_gain": 0.01})
    tiny.train_markov(layout, smoothing=0.5)
    run("promote", "--yes", code=4)  # 6: version 4 is suspicious
    run("promote", "--yes", "--force", "--reason", "looked at it")  # 7: version 4 all the same
    database = PROJECT / "mlflow.db"
    shutil.copy(database, PROJECT / "done.db")
    tiny.set_params(PROJECT, promotion=POLICY)
    run("rollback", "--yes", "--reason", "it was odd after all")  # 8: version 1
    tiny.train_markov(layout, smoothing=2.0)
    run("promote", "--yes", code=9, program=KILLED)  # 9: version 5, the alias is not moved
    database.rename(PROJECT / "interrupted.db")
    (PROJECT / "done.db").rename(database)
    shipped = Path(recctl.__file__).parents[2] / "params.yaml"
    shutil.copy(shipped, PROJECT / "shipped.yaml")
    kept = ("params.yaml", "shipped.yaml", "mlflow.db", "interrupted.db", "mlartifacts")
    with tarfile.open(archive, "w:xz") as packed:
        for name in kept:
            packed.add(PROJECT / name, name, filter=_small)
    shutil.rmtree(PROJECT.parent)


def _small(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Without owners, and without the decisions' pages, which nothing reads again."""
    if member.name.endswith((".png", ".html")):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main(Path(sys.argv[1]))
