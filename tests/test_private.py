"""What is written is its user's alone, and DVC's site cache is no other user's to write to."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recctl import dvc
from recctl.files import leads_out, replacing, replacing_folder
from recctl.git import git
from recctl.layout import Layout

ROOT = Path(__file__).parents[1]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def _usual_umask() -> object:
    former = os.umask(0o022)
    yield
    os.umask(former)


def test_a_new_file_and_a_new_folder_are_the_users_alone(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("{}")
    with replacing_folder(tmp_path / "folder") as folder:
        (folder / "a").write_text("a")
    assert (mode(tmp_path / "a.json"), mode(tmp_path / "folder")) == (0o600, 0o700)


def test_a_stricter_umask_is_respected(tmp_path: Path) -> None:
    os.umask(0o277)
    with replacing(tmp_path / "a.json"):
        pass
    assert mode(tmp_path / "a.json") == 0o400


@pytest.mark.parametrize("chosen", [0o644, 0o640, 0o664, 0o600])
def test_what_is_replaced_keeps_the_mode_that_somebody_chose(tmp_path: Path, chosen: int) -> None:
    file, folder = tmp_path / "params.yaml", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    file.chmod(chosen)
    folder.chmod(chosen | 0o100)
    with replacing(file) as temporary:
        temporary.write_text("a: 1")
    with replacing_folder(folder):
        pass
    assert (mode(file), mode(folder)) == (chosen, chosen | 0o100)


COMMAND = """
import os, sys
from recctl import cli, files
sys.argv = ["recctl", "--version"]
for _ in range(2):
    try:
        cli.main()
    except SystemExit:
        pass
open("by-a-library", "w").close()
print(oct(os.stat("by-a-library").st_mode & 0o777), oct(files.users_umask()))
"""


@pytest.mark.parametrize(
    ("umask", "found"), [(0o022, "0o600 0o22"), (0o002, "0o600 0o2"), (0o177, "0o600 0o177")]
)
def test_a_command_creates_private_files_and_remembers_the_users_umask(
    tmp_path: Path, umask: int, found: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND], cwd=tmp_path, umask=umask, env=environment(),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == found


def environment() -> dict[str, str]:
    ours = ("RECCTL_", "DVC_SITE")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def dvcs_place(folder: Path, variables: dict[str, str]) -> Path:
    script = "from dvc.repo import Repo; print(Repo().site_cache_dir)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=variables,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return (folder / done.stdout.strip()).parent


def test_in_a_fresh_clone_no_other_user_can_write_to_the_site_cache_of_a_dvc_typed_by_hand(
    tmp_path: Path,
) -> None:
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", tmp_path / ".dvc")
    (tmp_path / ".dvc-site" / "repo").mkdir(parents=True)  # git makes them for the file in it
    assert (ROOT / ".dvc-site" / "repo" / ".gitignore").is_file()
    (tmp_path / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    place = dvcs_place(tmp_path, environment())
    assert place == tmp_path / ".dvc-site" / "repo"
    assert [mode(folder) & 0o022 for folder in (place, place.parent)] == [0, 0]


def test_our_dvc_has_a_private_site_cache_in_any_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    variables = dvc.environment(Layout(tmp_path))
    place = dvcs_place(tmp_path, variables)
    assert place == tmp_path / ".recctl" / "dvc-site" / "repo"
    assert (mode(place), mode(place.parent)) == (0o700, 0o700)


def test_ours_is_the_site_cache_that_the_project_has_or_the_user_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    (tmp_path / ".dvc-site").mkdir()
    place = dvc.environment(Layout(tmp_path))["DVC_SITE_CACHE_DIR"]
    assert place == str(tmp_path / ".dvc-site")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", "/elsewhere")
    assert dvc.environment(Layout(tmp_path))["DVC_SITE_CACHE_DIR"] == "/elsewhere"


def test_git_follows_the_umask_that_the_user_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECCTL_UMASK", "27")
    os.umask(0o077)
    git(tmp_path, "init", "--quiet", "shared")
    assert mode(tmp_path / "shared" / ".git") == 0o750


@pytest.mark.parametrize(
    ("name", "out"),
    [("a/b", False), ("a..b/c", False), ("../a", True), ("a/../b", True), ("/a", True)],
)
def test_a_name_that_leads_out_of_its_folder(name: str, out: bool) -> None:
    assert leads_out(name) == out
