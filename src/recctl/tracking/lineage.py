"""Where a run comes from: its data, its code, its split, its environment.

Environment variables are never recorded, and addresses only without passwords.
"""

import importlib.metadata
import platform
import re
import subprocess
from pathlib import Path

from recctl import __version__
from recctl.files import read_json
from recctl.layout import Layout
from recctl.redact import redact
from recctl.user_identity import user


def lineage(layout: Layout) -> dict[str, str]:
    """Tags that name the data and the code of a run; 'none' where they are not known."""
    commit = _git(layout.root, "rev-parse", "HEAD")
    changes = _git(layout.root, "status", "--porcelain", "--untracked-files=all", "--", *_CODE)
    remote = _git(layout.root, "config", "--get", "remote.origin.url")
    tags = {
        "recctl.data_md5": data_md5(layout),
        "recctl.split_fingerprint": _split_fingerprint(layout),
        "recctl.git_dirty": "none" if changes is None else str(bool(changes)).lower(),
        "mlflow.source.git.commit": commit or "none",
        "mlflow.source.name": "recctl stage train",
        "mlflow.source.type": "LOCAL",
    }
    return {**tags, "mlflow.source.git.repoURL": redact(remote)} if remote else tags


_CODE = (
    *("src", "flows", "dvc.yaml", "params.yaml", "recctl.lock", "pyproject.toml"),
    *("constraints.txt", "*.py", "*.sh", "*.toml", "*.cfg", "requirements*.txt"),
    ":(exclude)tests",
)
"""The files that make a model; a run itself writes data.dvc and dvc.lock."""


def data_md5(layout: Layout) -> str:
    """DVC's md5 of the raw data, from data.dvc."""
    pointer = layout.root / "data.dvc"
    text = pointer.read_text(encoding="utf-8", errors="replace") if pointer.is_file() else ""
    md5 = re.search(r"^\s*(?:-\s+)?md5:\s*(\S+)", text.partition("outs:")[2], re.MULTILINE)
    return md5.group(1) if md5 else "none"


def _split_fingerprint(layout: Layout) -> str:
    report = layout.sequences / "report.json"
    if not report.exists():
        return "none"
    return str(read_json(report, "sequence-split", ["fingerprint"])["fingerprint"])


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, or None without git or outside a repository.

    Not by `recctl.git`: train and evaluate would depend on it, and run again when it changes.
    """
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def environment() -> dict[str, str]:
    """Tags that describe the machine and the packages of a run."""
    return {
        "recctl.version": __version__,
        "recctl.python": platform.python_version(),
        "recctl.torch": importlib.metadata.version("torch"),
        "recctl.platform": platform.platform(),
        "mlflow.user": user(),
    }


def packages() -> str:
    """Every installed package with its version, one per line, as pip freeze lists them."""
    found = (d.metadata for d in importlib.metadata.distributions())  # parsed at each access
    lines = {f"{one['Name']}=={one['Version']}" for one in found if one["Name"]}
    return "\n".join(sorted(lines, key=str.lower)) + "\n"
