"""`recctl report --compare`: what a revision's model and evaluation were, by DVC's cache."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recctl import dvc, git, revisions
from recctl.cli.app import app
from recctl.errors import UserError
from recctl.layout import Layout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Two commits: markov, and sasrec of width 8; the workspace has sasrec of width 16."""
    (tmp_path / "params.yaml").write_text("{}\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / ".gitignore").write_text("/artifacts/\n/cache/\n")
    monkeypatch.setattr(dvc, "cache", lambda layout: layout.root / "cache")
    layout = Layout(tmp_path)
    git.git(tmp_path, "init", "--quiet")
    for name in ("first", "second"):
        git.git(tmp_path, "config", "user.name", name)
        git.git(tmp_path, "config", "user.email", "a@b.c")
        if name == "first":
            write(layout, "markov", {"seed": 1}, 0.1)
        else:
            write(layout, "sasrec", {"seed": 1, "sasrec": {"hidden_size": 8}}, 0.2, seconds=65.4)
        keep(layout)
        git.git(tmp_path, "add", "--all")
        git.git(tmp_path, "commit", "--quiet", "--message", name)
        git.git(tmp_path, "tag", name)
    write(layout, "sasrec", {"seed": 2, "sasrec": {"hidden_size": 16}}, 0.3, fingerprint="other")
    return layout


def write(
    layout: Layout, kind: str, params: dict[str, Any], ndcg: float, fingerprint: str = "same",
    **training: float,
) -> None:  # fmt: skip
    """The artifacts of a model, as train and evaluate leave them."""
    figures = {
        "ndcg@10": {"value": ndcg, "low": ndcg - 0.01, "high": ndcg + 0.01},
        "hr@10": {"value": 2 * ndcg, "low": 0.0, "high": 1.0},
    }
    files = {
        "model/model.json": {"model": kind, "settings": {}, "about": {"params": params}},
        "evaluation/report.json": {
            "fingerprint": fingerprint, "protocols": {"full": {"model": figures}},
        },
        "training/metrics.json": training,
    }  # fmt: skip
    for name, content in files.items():
        path = layout.root / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (layout.model / "model.safetensors").write_bytes(bytes(1_500_000))


def keep(layout: Layout) -> None:
    """Add the artifacts to the cache, and dvc.lock, as DVC does."""
    outs = []
    for folder in ("model", "evaluation", "training"):
        listing = []
        for path in sorted((layout.root / "artifacts" / folder).iterdir()):
            listing.append({"md5": stored(layout, path.read_bytes()), "relpath": path.name})
        md5 = stored(layout, json.dumps(listing).encode(), ".dir")
        outs.append({"path": f"artifacts/{folder}", "md5": md5})
    lock = {"schema": "2.0", "stages": {"all": {"cmd": "x", "outs": outs}}}
    (layout.root / "dvc.lock").write_text(json.dumps(lock))


def stored(layout: Layout, content: bytes, suffix: str = "") -> str:
    md5 = hashlib.md5(content).hexdigest() + suffix
    path = dvc.stored(layout.root / "cache", md5)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return md5


def test_a_revision_is_what_was_committed(project: Layout) -> None:
    found = revisions.read(project, "HEAD")
    assert (found.model, found.fingerprint, found.seconds) == ("sasrec", "same", 65.4)
    assert found.settings == {"seed": 1, "sasrec.hidden_size": 8}
    assert found.figures["ndcg@10"]["value"] == 0.2
    assert found.size == 1_500_000
    assert revisions.read(project, "first").seconds is None
    assert revisions.read(project, "workspace").settings["sasrec.hidden_size"] == 16


def test_an_experiment_is_found_by_its_name(project: Layout) -> None:
    git.git(project.root, "update-ref", "refs/exps/ab/cdef/grave-tern", "first")
    assert revisions.read(project, "grave-tern").model == "markov"


def test_settings_that_differ_among_those_that_have_them(project: Layout) -> None:
    first, second, now = (revisions.read(project, name) for name in ("first", "HEAD", "workspace"))
    assert revisions.differing([first, second]) == []
    assert revisions.differing([first, second, now]) == ["seed", "sasrec.hidden_size"]


def test_the_table(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("COLUMNS", "120")
    options = [word for name in ("first", "HEAD", "HEAD") for word in ("--compare", name)]
    same = CliRunner().invoke(app, ["report", *options])
    assert same.exit_code == 0
    assert [line.split()[:2] for line in same.output.splitlines()[2:]] == [
        ["first", "markov"], ["HEAD", "sasrec"],
    ]  # fmt: skip
    assert ".4000    .2000  .1900 to .2100       65  1.5" in same.output
    other = CliRunner().invoke(app, ["report", *options, "--compare", "workspace"])
    assert "seed 2, sasrec.hidden_size 16" in other.output
    assert "must not be compared" in other.output
    as_json = CliRunner().invoke(app, ["report", "--compare", "first", "--json"])
    assert json.loads(as_json.output)[0]["figures"]["ndcg@10"]["value"] == 0.1


@pytest.mark.parametrize("name", ["nope", "--output=x", "", "HEAD~9"])
def test_no_such_revision(project: Layout, name: str) -> None:
    with pytest.raises(UserError, match="is no git revision or DVC experiment"):
        revisions.read(project, name)


def test_what_the_cache_lacks(project: Layout) -> None:
    for path in (project.root / "cache").rglob("*.dir"):
        path.unlink()
    with pytest.raises(UserError, match=r"does not hold artifacts/model/model\.json of 'HEAD'"):
        revisions.read(project, "HEAD")
