"""A project that was moved or copied reads and writes its own registry, and no other's."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_project as tiny

from recctl import doctor
from recctl.errors import Gone, Unknown
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.compare import compare
from recctl.promotion.trial import contenders
from recctl.promotion.verify import verify
from recctl.promotion.view import plots


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    """Version 1 serves; the workspace holds a better model."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plots, "intervals", lambda body, path: path.write_bytes(b"a picture"))
        layout = tiny.make(tmp_path_factory.mktemp("moved") / "a project")
        tiny.promote(layout, "item-knn")
        tiny.train(layout, "markov")
        shutil.rmtree(layout.state)
        yield layout


def _listing(root: Path) -> list[tuple[Path, int]]:
    return [(path, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))]


@pytest.fixture
def project(promoted: Layout, tmp_path: Path) -> Layout:
    """A separate project, with nothing of the one that it was made from left in its place."""
    shutil.copytree(promoted.root, tmp_path / "q")
    return Layout(tmp_path / "q")


def test_a_copy_works(promoted: Layout, project: Layout) -> None:
    before = _listing(promoted.root)
    body = compare(project, "1", "workspace", print)
    assert body.users
    outcome = tiny.promote(project)
    assert outcome.record is not None
    assert outcome.record.verdict == "promoted"
    registry = history.open_registry(project)
    assert all(row.ok for row in verify(registry, project, everything=True))
    assert _listing(promoted.root) == before
    # what is registered now is where MLflow itself finds it
    assert registry.version(2).source.startswith((project.root / "mlartifacts").as_uri())


def test_what_the_copy_lost_is_not_read_from_the_original(project: Layout) -> None:
    registry = history.open_registry(project)
    run = registry.version(1).run_id
    shutil.rmtree(project.root / "mlartifacts" / str(run))
    with pytest.raises(Gone, match="the files of version 1"):
        contenders.registered(registry, project, 1, [])
    assert any(not row.ok for row in verify(registry, project))


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_store_that_is_away_is_not_gone(project: Layout, tmp_path: Path, left: str) -> None:
    """A disk that is not mounted."""
    (project.root / "mlartifacts").rename(tmp_path / "elsewhere")
    if left == "an empty folder":
        (project.root / "mlartifacts").mkdir()
    registry = history.open_registry(project)
    with pytest.raises(Unknown, match="is empty or not there"):
        contenders.registered(registry, project, 1, [])
    with pytest.raises(Unknown, match="could not be checked"):
        verify(registry, project)
    with pytest.raises(Unknown):
        tiny.promote(project)
    assert len(registry.entries()) == 1
    assert doctor.guarded("champion", lambda: doctor._champion(project)).state == "blocked"
    (project.root / "mlartifacts").rmdir() if left == "an empty folder" else None
    (tmp_path / "elsewhere").rename(project.root / "mlartifacts")
    assert all(row.ok for row in verify(registry, project))


def test_doctor_names_what_mlflow_itself_needs(promoted: Layout, project: Layout) -> None:
    assert doctor._champion(project).state == "ok"
    found = doctor._tracking(project)
    assert found.state == "warning"
    assert str(promoted.root) in found.found
    assert "another project is at" in str(found.fix)
    assert doctor._link(Path("/no where/p"), Path("/q")) == "ln -s /q '/no where/p'"


def test_a_link_at_the_old_place_is_all_that_mlflow_needs(
    promoted: Layout, project: Layout, tmp_path: Path
) -> None:
    promoted.root.rename(tmp_path / "away")
    try:
        assert str(doctor._tracking(project).fix).endswith(
            f"ln -s {project.root} '{promoted.root}'"
        )
        promoted.root.symlink_to(project.root)
        assert doctor._tracking(project).state == "ok"
        assert history.open_registry(project).tracking.experiment == "recctl"
        assert doctor._champion(project).state == "ok"
    finally:
        promoted.root.unlink(missing_ok=True)
        (tmp_path / "away").rename(promoted.root)
