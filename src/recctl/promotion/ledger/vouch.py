"""What the decision log vouches for: a version's content and, by its manifest, every file of it.

Tags and files of a version can be changed in the registry; a decision cannot, or the log's chain
breaks. So what a version is, is what the newest decision about it says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recctl.promotion.ledger.log import Entry, digest, moving
from recctl.promotion.ledger.versions import FILES, Version

_ROLES = ("challenger", "champion", "best")


@dataclass(frozen=True)
class Vouched:
    """What a decision says of a version."""

    position: int
    """The decision's id."""
    digest: str
    """Of the version's content."""
    manifest: str | None
    """sha256 of the tag that lists every file; None from a recctl that did not keep it."""


def manifest_of(version: Version) -> str | None:
    """The sha256 of the tag that lists a version's files; None without that tag."""
    listed = version.tags.get(FILES)
    return None if listed is None else digest(listed)


def vouched(line: Sequence[Entry], number: int) -> Vouched | None:
    """What the newest decision in force about a version says of it, if possible of every file.

    A decision that was altered vouches for nothing.
    """
    said = list(_said(line, number))
    return next((one for one in said if one.manifest is not None), said[0] if said else None)


def _said(line: Sequence[Entry], number: int) -> Iterator[Vouched]:
    for entry in reversed(line):
        for role in _ROLES if not entry.altered else ():
            one = entry.content.get(role)
            if isinstance(one, dict) and one.get("version") == number:
                manifest = one.get("manifest")
                yield Vouched(
                    entry.position,
                    str(one.get("digest")),
                    manifest if isinstance(manifest, str) else None,
                )


def objection(line: Sequence[Entry], version: Version) -> str | None:
    """What a version's tags say otherwise than the decisions; None where they agree."""
    said = vouched(line, version.number)
    if said is None:
        return None
    if said.digest != version.digest:
        return f"version {version.number} is not the model that was decided upon"
    if said.manifest is not None and said.manifest != manifest_of(version):
        return (
            f"the list of version {version.number}'s files (its tag {FILES}) is not the one that "
            f"decision {said.position} vouches for"
        )
    return None


def covers(line: Sequence[Entry], number: int) -> str:
    """How much of a version that is as it was registered a decision vouches for, in words."""
    said = vouched(line, number)
    if said is None:
        return "no decision vouches for it"
    what = "all of them" if said.manifest is not None else "the model's content only"
    return f"decision {said.position} vouches for {what}"


def served(line: Sequence[Entry]) -> set[int]:
    """The versions that a decision of this log once let serve."""
    moves = [one for one in moving(line) if one.state != "undone" and not one.altered]
    champions = [(one.sets or {}).get("champion") for one in moves]
    return {number for number in champions if number is not None}
