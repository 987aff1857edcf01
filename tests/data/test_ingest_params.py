from pathlib import Path

import pytest

from recctl.data.params import IngestParams
from recctl.errors import UserError


@pytest.mark.parametrize("setting", ["files: [../secret.csv]", "files: [/etc/passwd]",
                                     "files: [log.csv]\n  items_file: a/../../b.csv"])  # fmt: skip
def test_files_outside_data_are_refused(tmp_path: Path, setting: str) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(f"ingest:\n  name: own\n  format: csv\n  {setting}\n")
    with pytest.raises(UserError, match="is outside data/; name files in it"):
        IngestParams.load(params)


def test_folders_below_data_are_fine(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("ingest: {name: own, format: csv, files: [2026/log..csv]}\n")
    assert IngestParams.load(params).files == ["2026/log..csv"]
