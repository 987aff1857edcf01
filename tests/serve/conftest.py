"""A champion without a registry, for tests of what the service keeps."""

from collections.abc import Iterator

import pytest
import tiny_project as tiny

from recctl.layout import Layout
from recctl.recommend import Served, Users
from recctl.serve.champion import Champion, Loaded


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A project with histories and a model."""
    layout = Layout(tmp_path_factory.mktemp("trained"))
    tiny.set_params(layout.root, promotion=tiny.POLICY)
    tiny.take_in(layout, tiny.log())
    tiny.train(layout)
    return layout


@pytest.fixture
def alone(trained: Layout) -> Iterator[Champion]:
    """One of a project without events."""
    champion = Champion(trained, print)
    champion.current = Loaded(3, 5, "2026-11-29", Served.load(trained.model))
    champion.users, champion.problem = Users(trained.sequences), None
    yield champion
    for path in sorted(trained.state.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
