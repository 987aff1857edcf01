"""The workspace of a backfill: a project in `.recctl/backfill/` that publishes nothing.

It shares DVC's cache with the project, and has a separate registry name, so that the project's
data, models and champion are not touched.
"""

import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from recctl import dvc, scaffold
from recctl.config import changed, read_params
from recctl.data import versions
from recctl.errors import UserError
from recctl.files import replacing
from recctl.layout import Layout
from recctl.promotion.judge.policy import PromotionParams

BASE = "base.parquet"
_COLUMNS = {"user_column": "user_id", "item_column": "item_id", "time_column": "timestamp"}


@dataclass(frozen=True)
class Replay:
    """The days of a backfill and the project whose log has them."""

    project: Layout
    first: date
    last: date

    @property
    def workspace(self) -> Layout:
        """Where the days are replayed."""
        name = f"{self.first:%Y%m%d}-{self.last:%Y%m%d}"
        return Layout(self.project.state / "backfill" / name)

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(n) for n in range((self.last - self.first).days + 1)]

    @property
    def _begun(self) -> bool:
        """Whether the workspace is complete."""
        return (self.workspace.root / "data.dvc").exists()

    @property
    def _log(self) -> Path:
        path = self.project.interactions / "interactions.parquet"
        if not path.is_file():
            raise UserError(f"no {path}", "run 'dvc repro --pull ingest'")
        return path

    def prepare(self, settings: dict[str, Any]) -> None:
        """Create the workspace with the data before the first day, unless it exists.

        Raises UserError for days that the log does not have, and where the workspace exists with
        other settings.
        """
        project, root = self.project, self.workspace.root
        params = self._params(settings)
        if self._begun:
            if read_params(self.workspace.params) != params:
                raise UserError(
                    f"{root} holds a backfill of these days with other settings",
                    "remove that folder to start again",
                )
            return
        self._require_days()
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        shutil.copy(project.root / "dvc.yaml", root)
        if (project.root / scaffold.LOCK).is_file():
            shutil.copy(project.root / scaffold.LOCK, root)
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        if (project.root / "src").is_dir():
            shutil.copytree(project.root / "src", root / "src", ignore=ignored)
        with self.workspace.params.open("w", encoding="utf-8") as file:
            YAML().dump(params, file)
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text(
            "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
            f"[cache]\n    dir = {dvc.cache(project)}\n",
            encoding="utf-8",
        )
        data = self.workspace.data
        data.mkdir()
        if not self._write(data / BASE, None, self.first):
            raise UserError(f"the log has nothing before {self.first}", "give a later first day")
        items = project.data / str(read_params(project.params)["ingest"].get("items_file"))
        if items.is_file():
            shutil.copy(items, data / "items.csv")
        versions.add(self.workspace)

    def _params(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The project's params with other data, another registry name, and nothing published."""
        params = read_params(self.project.params)
        before = params["ingest"]
        params["ingest"] = {
            "name": before["name"],
            "files": [BASE],
            "format": "parquet",
            "engine": before.get("engine", "duckdb"),
            **_COLUMNS,
            **({"weight_column": "weight"} if before.get("weight_column") else {}),
            **({"items_file": "items.csv"} if before.get("items_file") else {}),
        }
        params["promotion"] = {**params["promotion"], "registered_model": self._registered_model()}
        params["intake"] = {"sources": [{"kind": "folder", "path": "incoming"}]}
        params["retrain"] = {"publish": {"commit": False, "push_data": False, "push_git": False}}
        return dict(changed(params, settings))

    def _registered_model(self) -> str:
        """The registry name: that of the workspace, else one that was never used.

        A backfill that was removed leaves versions in the registry that were trained on later days.
        """
        place = self.workspace if self._begun else self.project
        name = PromotionParams.load(place.params).registered_model
        suffix = f"-backfill-{self.workspace.root.name}-{secrets.token_hex(4)}"
        return name if self._begun else name + suffix

    def drop(self, day: date) -> int:
        """Put the day's interactions into the workspace's drop folder; how many there are."""
        import pyarrow.parquet as pq

        target = self.workspace.root / "incoming" / f"{day}.parquet"
        taken = target.parent / "taken" / target.name
        if taken.exists():  # killed after the intake of this day
            return int(pq.read_metadata(taken).num_rows)
        target.parent.mkdir(exist_ok=True)
        return self._write(target, day, day + timedelta(1))

    def _write(self, target: Path, first: date | None, end: date) -> int:
        """Write the project's interactions of some days to a file, if any; their number."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        filters = pc.field("timestamp") < _midnight(end)
        if first is not None:
            filters &= pc.field("timestamp") >= _midnight(first)
        table = pq.read_table(self._log, filters=filters).sort_by([("timestamp", "ascending")])
        if table.num_rows:
            with replacing(target) as temporary:
                pq.write_table(table.drop_columns(["row"]), temporary)
        return int(table.num_rows)

    def _require_days(self) -> None:
        """UserError where the log ends before the last day."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        times = pq.read_table(self._log, columns=["timestamp"])["timestamp"]
        newest = pc.max(times).as_py()
        if newest is None or newest.date() < self.last:
            end = "is empty" if newest is None else f"ends on {newest.date()}"
            raise UserError(f"the log {end}, before {self.last}", "give an earlier last day")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
