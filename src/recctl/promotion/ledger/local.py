"""A registry in a local MLflow database, read without MLflow, whose import takes seconds.

For `recctl status`, which changes nothing. Tables that this does not know raise sqlite3.Error;
the Registry can then be asked instead.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from recctl.errors import Gone
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.versions import HEAD, Version, entry_of, head_of, version_of
from recctl.tracking.artifacts import place_of


@dataclass(frozen=True)
class LocalRegistry:
    """The part of Registry that reads, for an sqlite database."""

    database: Path
    name: str

    def entries(self) -> list[Entry]:
        """The decision log, oldest first, void entries and all."""
        return [entry_of(found) for found in self._versions(f"{self.name}-decisions")]

    def versions(self) -> list[Version]:
        """Every version of the model, oldest first."""
        return [version_of(found) for found in self._versions(self.name)]

    def version(self, number: int) -> Version:
        """One version; Gone when there is none of that number."""
        for version in self.versions():
            if version.number == number:
                return version
        raise Gone(f"'{self.name}' has no version {number}")

    def holds(self, number: int) -> bool:
        """Whether there is a version of that number."""
        return any(version.number == number for version in self.versions())

    def shown(self) -> tuple[dict[str, int], tuple[int, str] | None]:
        """Where every alias points, and the head of the log as last noted."""
        aliases = self._rows("SELECT alias, version FROM registered_model_aliases WHERE name = ?")
        tags = self._rows("SELECT key, value FROM registered_model_tags WHERE name = ?")
        return {str(k): int(v) for k, v in aliases}, head_of(dict(tags).get(HEAD, ""))

    def reach(self, version: Version) -> None:
        """Raise Gone where a file of a version is not there."""
        place = place_of(f"sqlite:///{self.database}", version.source)
        folder = Path(unquote(urlsplit(place).path))
        missing = [name for name in version.files or ["MLmodel"] if not (folder / name).is_file()]
        if missing:
            what = f"the files of version {version.number} of '{self.name}'"
            raise Gone(f"{what} are gone: no file {folder / missing[0]}")

    def _versions(self, name: str) -> Iterator[SimpleNamespace]:
        """The versions of a registered model as MLflow's entities have them, oldest first."""
        tags: dict[int, dict[str, str]] = {}
        query = "SELECT version, key, value FROM model_version_tags WHERE name = ?"
        for version, key, value in self._rows(query, name):
            tags.setdefault(version, {})[key] = value
        columns = ("version", "run_id", "source", "creation_time")
        query = f"SELECT {', '.join(columns)} FROM model_versions WHERE name = ?"
        query += " AND current_stage IS NOT 'Deleted_Internal' ORDER BY version"
        for version, run_id, source, created in self._rows(query, name):
            yield SimpleNamespace(
                version=version,
                run_id=run_id,
                source=source,
                creation_timestamp=created,
                tags=tags.get(version, {}),
            )

    def _rows(self, query: str, name: str | None = None) -> list[Any]:
        address = f"file:{quote(str(self.database))}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            return connection.execute(query, (name or self.name,)).fetchall()
