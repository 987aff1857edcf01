"""Projects for the tests of intake."""

from pathlib import Path

import intake_cases as cases
import pytest

from recctl.layout import Layout


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose data/ DVC holds; copy it."""
    return cases.template(tmp_path_factory.mktemp("template") / "project")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A project without DVC, which other tests cover."""
    cases.without_dvc(monkeypatch)
    return cases.plain(tmp_path / "project")
