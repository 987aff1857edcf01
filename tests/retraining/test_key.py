from pathlib import Path

import pytest

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.retraining import key

DATA = "outs:\n- md5: {}.dir\n  path: data\n"
PARAMS = """
ingest: {name: tiny, files: [log.csv], format: csv}
validate: {}
sequence-split: {}
train: {seed: 1}
evaluate: {}
promotion: {}
intake: {sources: []}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "data.dvc").write_text(DATA.format("a" * 32))
    return tmp_path


def digest(project: Path) -> str:
    return key.of(Layout(project)).digest


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_the_same_project_has_the_same_key(project: Path) -> None:
    assert digest(project) == digest(project)


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("data.dvc", "aaa", "bbb"),
        ("params.yaml", "seed: 1", "seed: 2"),
        ("params.yaml", "promotion: {}", "promotion: {floors: {hr@10: .1}}"),
        ("dvc.yaml", "stages: {}", "stages: {} # other"),
    ],
)
def test_what_models_are_made_and_judged_by_changes_the_key(
    project: Path, file: str, before: str, after: str
) -> None:
    first = digest(project)
    change(project / file, before, after)
    assert digest(project) != first


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("intake: {sources: []}", "intake: {sources: [{kind: folder}]}"),
        ("train: {seed: 1}", "train:\n  seed: 1   # as ever"),
        ("intake", "retrain: {approval: manual}\nintake"),
    ],
)
def test_schedules_and_publishing_are_no_part_of_the_key(
    project: Path, before: str, after: str
) -> None:
    first = digest(project)
    change(project / "params.yaml", before, after)
    assert digest(project) == first


def test_the_code_is_part_of_the_key(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = project / "recctl"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(key.recctl, "__file__", str(package / "__init__.py"))
    first = digest(project)
    (package / "gates.py").write_text("margin = 1\n")
    second = digest(project)
    (package / "gates.py").write_text("margin = 2\n")
    assert len({first, second, digest(project)}) == 3


def test_no_data_is_said(project: Path) -> None:
    (project / "data.dvc").unlink()
    with pytest.raises(UserError, match=r"no .*data\.dvc; take data in"):
        digest(project)
