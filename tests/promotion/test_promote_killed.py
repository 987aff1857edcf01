"""A promotion or a rollback ended at every one of its steps: one of two champions serves, whole.

`deaths.py` does it in real processes and writes down what it finds; here that is judged.
"""

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny_project as tiny

import programs
from programs import Found, Line, Work
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.verify import verify

PROGRAM = str(Path(__file__).with_name("deaths.py"))

KILLED = (("better:killed::6",),)
"""Every sixth moment; `MORE` has all of them."""
MORE = (
    ("better:killed",),
    ("rollback:killed", "worse:killed:save"),
    (
        "first:killed:create_registered_model",
        "better:silent:create_model_version",
        "better:away:create_model_version",
    ),
    (
        "worse:silent:create_model_version",
        "rollback:silent:create_model_version",
        "rollback:away:create_model_version",
    ),
)
"""The jobs of a line are done by one process, the lines at once."""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What was found, by scenario and way, where the process was killed."""
    return programs.found(PROGRAM, tmp_path_factory, KILLED)


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The same for other scenarios, and where the server did not answer."""
    return programs.found(PROGRAM, tmp_path_factory, MORE)


def pairs(work: Work) -> list[Any]:
    named = [tuple(job.split(":")[:2]) for jobs in work for job in jobs]
    return [pytest.param(*pair, id="-".join(pair)) for pair in named]


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "way"), pairs(KILLED))
def test_killed_at_any_step_one_of_two_champions_serves(
    killed: Found, scenario: str, way: str
) -> None:
    one_of_two_champions_serves(killed, scenario, way)


@pytest.mark.faults
@pytest.mark.parametrize(("scenario", "way"), pairs(MORE))
def test_ended_otherwise_at_any_step_one_of_two_champions_serves(
    more: Found, scenario: str, way: str
) -> None:
    one_of_two_champions_serves(more, scenario, way)


def one_of_two_champions_serves(found: Found, scenario: str, way: str) -> None:
    whole, *ends = found[scenario, way]
    old, new = whole["before"]["champion"], whole["after"]["champion"]
    assert len(ends) >= 6
    for end in ends:
        where = f"{scenario}, {way} {end['moment']} step {end['step']} ({end['name']})"
        ended_as_it_should(end, way, where)
        left_sound(end["left"], {old, new}, where)
        finished(end, whole["after"], where)
    served = [end["left"]["champion"] for end in ends]
    if way == "killed":  # the alias moves once, and never back
        assert served == [old] * served.count(old) + [new] * (old != new) * served.count(new)
    names = " ".join(f"{'old' if one == old else 'new'}" for one in served)
    print(f"\n{scenario}, {way}, at each of {len(ends)} moments: {names}")


def ended_as_it_should(end: Line, way: str, where: str) -> None:
    if way == "killed":
        assert end["code"] == -signal.SIGKILL, where
        return
    assert end["code"] == 0, where
    ended, left = end["found"]["ended"], end["left"]
    if not ended.startswith("UserError: "):
        assert not left["waiting"], where  # it did what it said
        return
    assert "Read timed out" in ended, where
    assert "\n" not in ended, where
    if left["waiting"]:
        assert "is recorded, but was not carried out to its end" in ended or "history" in ended, (
            where,
            ended,
        )


def left_sound(left: Line, either: set[int | None], where: str) -> None:
    """Right after: `deaths.picture` has already loaded the champion, every digest of it."""
    assert left["champion"] in either, where
    interrupted = [line for line in left["wrong"] if line.startswith("interrupted changes: ")]
    assert bool(interrupted) == left["waiting"], (where, left["wrong"])
    if not left["waiting"]:
        assert left["wrong"] == [], where


def finished(end: Line, whole: Line, where: str) -> None:
    """The same command again comes to where it would have come at once, and nothing is twice."""
    left, then = end["left"], end["then"]
    if left["waiting"]:
        assert any("was not carried out to its end: finishing it" in s for s in end["said"]), where
    assert then["wrong"] == [], where
    assert then["aliases"] == whole["aliases"], where
    assert then["moves"] == whole["moves"], where
    assert then["unnamed"] == [], where  # each version names its decision
    assert set(then["states"]) == {"done"}, (where, then["states"])
    assert len(set(then["digests"])) == len(then["digests"]), where
    assert len(set(then["nonces"])) == len(then["nonces"]), where
    again = end["again"]
    if again.startswith("UserError"):  # the rollback was over; there is nothing further back
        assert "served before this one" in again, (where, again)


def test_every_kind_of_step_was_met(killed: Found) -> None:
    """A step that is not wrapped any more, because it has another name, would not be tested."""
    assert met(killed) >= {
        "build",
        "create_model_version",
        "create_run",
        "download",
        "intervals",
        "log_artifacts",
        "log_batch",
        "markdown",
        "pages",
        "save",
        "set_model_version_tag",
        "set_registered_model_alias",
        "set_registered_model_tag",
    }


@pytest.mark.faults
def test_the_steps_of_a_first_model_and_of_a_rollback_were_met(more: Found) -> None:
    assert met(more) >= {"create_registered_model", "delete_registered_model_alias"}


def met(found: Found) -> set[str]:
    """The names of the steps at which a process can be ended."""
    wholes = [lines[0] for lines in found.values()]
    return {name for whole in wholes for name, _ in whole["dry"]["steps"]}


# --- a full disk


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    layout = tiny.make(tmp_path / "project")
    tiny.train(layout, "markov")
    return layout


def assert_served(project: Layout, expected: int | None) -> None:
    registry = history.open_registry(project)
    assert registry.aliases().get("champion") == expected
    assert all(check.ok for check in verify(registry, project, everything=True))


def full(monkeypatch: pytest.MonkeyPatch, below: Path) -> None:
    """Nothing can be kept below a folder; the rest of the disk is not full."""
    sync = os.fsync

    def fsync(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().is_relative_to(below):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to name open files")
def test_a_disk_too_full_for_the_page_does_not_undo_the_decision(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(monkeypatch, project.decisions)
    said: list[str] = []
    assert tiny.promote(project, say=said.append).exit_code == 0
    (line,) = [line for line in said if "pages" in line]
    assert line.startswith("decision 1 is in force, but its pages could not be written: ")
    assert "No space left on device" in line
    assert "recctl explain 1" in line
    monkeypatch.undo()
    assert_served(project, 1)
    assert [path for path in project.decisions.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to name open files")
def test_a_disk_too_full_for_the_package_changes_nothing(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(monkeypatch, project.state)
    with pytest.raises(OSError, match="No space left on device"):
        tiny.promote(project)
    monkeypatch.undo()
    registry = history.open_registry(project)
    assert (registry.versions(), registry.entries()) == ([], [])
    assert list(project.state.glob("package-*")) == []
    assert tiny.promote(project).exit_code == 0


def test_a_file_in_the_place_of_the_pages_is_said(project: Layout) -> None:
    project.decisions.write_text("not a folder")
    said: list[str] = []
    assert tiny.promote(project, say=said.append).exit_code == 0
    assert any(line.startswith("decision 1 is in force, but its pages") for line in said)
    assert_served(project, 1)


def test_evidence_that_cannot_be_stored_leaves_no_decision(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifact store is away, the registry is not."""
    from recctl.promotion.ledger.registry import EVIDENCE, Registry

    store = Registry.log_files

    def away(self: Registry, run_id: str, folder: Path, sub: str) -> None:
        if sub == EVIDENCE:
            raise UserError("MLflow at http://mlflow: no answer", "start the server")
        store(self, run_id, folder, sub)

    monkeypatch.setattr(Registry, "log_files", away)
    with pytest.raises(UserError, match="no answer"):
        tiny.promote(project)
    registry = history.open_registry(project)
    assert (registry.aliases(), registry.entries()) == ({}, [])
    monkeypatch.undo()
    assert tiny.promote(project).exit_code == 0
    assert [version.number for version in registry.versions()] == [1]
