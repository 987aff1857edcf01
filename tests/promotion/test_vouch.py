"""A version is what the decisions say: no file and no tag of it changes unnoticed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_project as tiny

from recctl.errors import UserError
from recctl.files import digest
from recctl.layout import Layout
from recctl.promotion import history, manifest
from recctl.promotion.compare import compare
from recctl.promotion.ledger import log, vouch
from recctl.promotion.ledger.log import Entry, canonical
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.ledger.versions import FILES, Version
from recctl.promotion.trial import contenders, package
from recctl.promotion.trial.scoring import TestSet
from recctl.promotion.verify import verify

pytestmark = pytest.mark.usefixtures("quick_decisions")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Version 2 serves and version 1 served; 3 was judged and rejected; 4 is the workspace's."""
    made = tiny.make(tmp_path_factory.mktemp("vouch") / "project")
    for model in ("item-knn", "markov", 1e9):
        tiny.promote(made, model)
    tiny.train_markov(made, smoothing=1e3)
    return made


@pytest.fixture
def registry(project: Layout) -> Registry:
    return history.open_registry(project)


def stored(version: Version) -> Path:
    return Path(version.source.removeprefix("file://"))


def other_byte(path: Path) -> bytes:
    """Change a file and keep its size; what it was."""
    before = path.read_bytes()
    changed = bytearray(before or b"\0")
    changed[-1] ^= 1
    path.write_bytes(changed)
    return before


def load(registry: Registry, project: Layout, number: int) -> None:
    contenders.registered(registry, project, number, log.in_force(registry.entries()))


COMMANDS: dict[str, Callable[[Layout], Any]] = {
    "promote": lambda project: tiny.promote(project, dry_run=True).record.sentence,
    "compare": lambda project: compare(project, "2", "1", print),
    "rollback": lambda project: tiny.rollback(project, 1),
    "verify": lambda project: [
        one.detail for one in verify(history.open_registry(project), project) if not one.ok
    ],
}


def says(command: str, project: Layout) -> str:
    """What a command says that does not take a version."""
    try:
        return str(COMMANDS[command](project))
    except UserError as error:
        return str(error)


def test_every_file_of_a_version_is_held_against_the_decision(
    project: Layout, registry: Registry
) -> None:
    version = registry.version(2)
    folder = stored(version)
    names = sorted(manifest.names(folder))
    assert {"MLmodel", "serving.py", "requirements.txt", "code/recctl/recommend.py"} < {*names}
    for name in names:
        before = other_byte(folder / name)
        with pytest.raises(contenders.Unsound, match=f"'{name}' is not the file registered"):
            load(registry, project, 2)
        (folder / name).write_bytes(before)
    (folder / "code" / "numpy.py").write_text("1")
    with pytest.raises(contenders.Unsound, match=r"'code/numpy.py' was not registered"):
        load(registry, project, 2)
    (folder / "code" / "numpy.py").unlink()
    load(registry, project, 2)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_notices_another_file_and_another_list(
    project: Layout, registry: Registry, command: str
) -> None:
    """First the file alone; then whoever changed it made the version's own lists fit."""
    number = 1 if command == "rollback" else 2
    version = registry.version(number)
    folder = stored(version)
    before = {name: (folder / name).read_bytes() for name in ("serving.py", str(package.DIGESTS))}
    other_byte(folder / "serving.py")
    try:
        assert "'serving.py' is not the file registered" in says(command, project)
        listed = json.loads(before[str(package.DIGESTS)])
        listed["serving.py"]["sha256"] = digest(folder / "serving.py")
        (folder / package.DIGESTS).write_text(json.dumps(listed))
        listed = canonical(manifest.of(folder))
        registry.client.set_model_version_tag("tiny", str(number), FILES, listed)
        package.check(folder, registry.version(number).files)  # by its own lists it is whole
        reported = says(command, project)
        assert f"the list of version {number}'s files (its tag recctl.files) is not the" in reported
    finally:
        for name, content in before.items():
            (folder / name).write_bytes(content)
        registry.client.set_model_version_tag("tiny", str(number), FILES, version.tags[FILES])
    assert registry.aliases() == {"champion": 2, "previous": 1, "best": 2}
    assert says("verify", project) == "[]"


def test_a_version_that_was_rejected_never_served(project: Layout, registry: Registry) -> None:
    before = len(registry.entries())
    with pytest.raises(UserError, match=r"version 3 never served: .*--force"):
        tiny.rollback(project, 3)
    assert len(registry.entries()) == before


def test_whose_model_is_registered_already_by_others_is_registered_again(
    tmp_path: Path, project: Layout, registry: Registry
) -> None:
    """A version with the workspace's model and other code to serve it, which no decision saw."""
    made = tmp_path / "made"
    own = contenders.workspace(TestSet.load(project))
    assert own.record is not None
    package.build(own.folder, made, record=own.record)
    (made / "serving.py").write_text("import os\n")
    (made / package.DIGESTS).unlink()
    tags = {FILES: canonical(manifest.of(made))}
    theirs = registry.register(made, digest=own.digest, tags=tags, run_name="theirs")
    ours = tiny.promote(project).record.challenger
    assert ours.version == theirs.number + 1
    assert ours.manifest == vouch.manifest_of(registry.version(ours.version))
    again = tiny.promote(project).record.challenger  # vouched for by now
    assert again == ours


def test_a_version_decided_upon_before_manifests_were_kept(
    project: Layout, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its decision vouches for the content; its files are held against the tag, as they were."""
    monkeypatch.setattr(vouch, "_said", lambda line, number: iter([old(line, number)]))

    def old(line: list[Entry], number: int) -> vouch.Vouched:
        return vouch.Vouched(2, registry.version(number).digest, None)

    version = registry.version(2)
    listed = {name: one["sha256"] for name, one in version.files.items()}
    registry.client.set_model_version_tag("tiny", "2", FILES, canonical(listed))
    try:
        found = verify(registry, project)
        (said,) = [one.detail for one in found if one.name == "version 2"]
        assert said.endswith("decision 2 vouches for the model's content only")
        assert all(one.ok for one in found), found
        before = other_byte(stored(version) / "serving.py")
        assert "'serving.py' is not the file registered" in says("verify", project)
        (stored(version) / "serving.py").write_bytes(before)
    finally:
        registry.client.set_model_version_tag("tiny", "2", FILES, version.tags[FILES])


# --- by the log alone


def entry(position: int, state: str = "done", altered: bool = False, **content: Any) -> Entry:
    body = canonical({"kind": "promotion", "sets": None, **content})
    return Entry(position, body, log.digest(body + "x" * altered), state)


def about(number: int, content: str, listed: str | None = None) -> dict[str, Any]:
    return {"version": number, "digest": content, "manifest": listed}


def test_the_newest_decision_about_a_version_counts_whatever_its_part_in_it() -> None:
    line = [
        entry(1, challenger={"version": 1, "digest": "a"}),
        entry(2, challenger=about(2, "b", "B"), champion=about(1, "a", "A")),
        entry(3, challenger=about(3, "c", "C"), champion=about(2, "evil", "E"), altered=True),
    ]
    assert vouch.vouched(line[:1], 1) == vouch.Vouched(1, "a", None)
    assert vouch.vouched(line, 1) == vouch.Vouched(2, "a", "A")
    assert vouch.vouched(line, 2) == vouch.Vouched(2, "b", "B")
    assert vouch.vouched(line, 3) is None


def test_what_served_is_what_a_decision_put_there() -> None:
    def sets(number: int) -> dict[str, int | None]:
        return {"champion": number, "previous": None, "best": None}

    line = [
        entry(1, sets=sets(1)),
        entry(2, challenger=about(2, "b")),
        entry(3, sets=sets(3), state="undone"),
        entry(4, sets=sets(4), altered=True),
        entry(5, sets=sets(5), kind="rollback", forced=True),
    ]
    assert vouch.served(line) == {1, 5}
