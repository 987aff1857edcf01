"""The rows of a user taken out of a file: every format, encoding and compression."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recctl.data.params import IngestParams
from recctl.errors import UserError
from recctl.forget import rows
from recctl.forget.rows import Users

TWELVE = Users(frozenset({"12"}))
NAMED = {f"{name}_column": name for name in ("user", "item", "time")}


def params(form: str, **more: Any) -> IngestParams:
    named = NAMED if form != "sequences" else {}
    return IngestParams.model_validate(
        {"name": "x", "files": ["log"], "format": form, **named, **more}
    )


CASES: dict[str, tuple[dict[str, Any], bytes, bytes, int]] = {
    "csv": ({"form": "csv"}, b"user,item,time\n12,1,5\n1,12,12\n12.0,3,5\n112,3,5\n",
            b"user,item,time\n1,12,12\n112,3,5\n", 2),
    "quotes, line ends, another order": (
        {"form": "csv"}, b'item,user,time\r\n"a ""12"", b","12",1\r\n"two\r\nlines",1,2\r\n',
        b'item,user,time\r\n"two\r\nlines",1,2\r\n', 1),
    "bad lines that name the user": (
        {"form": "csv"}, b"user,item,time\n12,1\n1\xff,2\n3,4,5\n",
        b"user,item,time\n1\xff,2\n3,4,5\n", 1),
    "MovieLens": ({"form": "csv", "delimiter": "::", "columns": ["user", "item", "time"]},
                  b"12::1::5\n1::12::12\n", b"1::12::12\n", 1),
    "tsv": ({"form": "tsv"}, b"user\titem\ttime\n12\t1\t5\n1\t12\t12\n",
            b"user\titem\ttime\n1\t12\t12\n", 1),
    "jsonl": ({"form": "jsonl"},
              b'{"user": 12, "item": 1, "time": 1}\n{"user": "1", "item": 12, "time": 1}\n',
              b'{"user": "1", "item": 12, "time": 1}\n', 1),
    "sequences": ({"form": "sequences"}, b"12 1\n1 12\n12 7\n", b"1 12\n", 2),
    "utf-16": ({"form": "csv"}, "user,item,time\n12,é,5\n1,12,12\n".encode("utf-16"),
               "user,item,time\n1,12,12\n".encode("utf-16"), 1),
    "latin-1": ({"form": "csv", "encoding": "latin-1"},
                "user,item,time\n12,é,5\n1,é,12\n".encode("latin-1"),
                "user,item,time\n1,é,12\n".encode("latin-1"), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_text(tmp_path: Path, name: str) -> None:
    settings, before, after, count = CASES[name]
    path = tmp_path / "log"
    path.write_bytes(before)
    own = params(**settings)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert rows.remove(path, own, TWELVE, scratch, dry=True) == count
    assert path.read_bytes() == before
    assert rows.remove(path, own, TWELVE, scratch, dry=False) == count
    assert path.read_bytes() == after
    assert rows.remove(path, own, TWELVE, scratch, dry=False) == 0


PACKED: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "bz2": (bz2.compress, bz2.decompress),
    "xz": (lzma.compress, lzma.decompress),
    "zstd": (lambda text: pa.compress(text, "zstd", asbytes=True), lambda text: _zstd(text)),
}


def _zstd(content: bytes) -> bytes:
    return bytes(pa.input_stream(pa.BufferReader(content), compression="zstd").read())


@pytest.mark.parametrize("kind", PACKED)
def test_a_compressed_text_stays_compressed(tmp_path: Path, kind: str) -> None:
    pack, unpack = PACKED[kind]
    path = tmp_path / "log"
    path.write_bytes(pack(CASES["csv"][1]))
    assert rows.holds(path, TWELVE)
    assert rows.remove(path, params("csv"), TWELVE, tmp_path, dry=False) == 2
    assert unpack(path.read_bytes()) == CASES["csv"][2]


@pytest.mark.parametrize(
    "users", [[12, 1, 112], ["12", "1", "112"], [12.0, 1.0, np.nan], [b"12", b"1", b"112"]],
    ids=["int", "text", "float", "bytes"],
)  # fmt: skip
def test_parquet_of_any_type(tmp_path: Path, users: list[Any]) -> None:
    path = tmp_path / "log"
    frame = pd.DataFrame({"user": users, "item": [1, 12, 12], "time": [12, 12, 12]})
    frame.to_parquet(path, compression="zstd")
    own = params("parquet")
    assert rows.holds(path, Users(TWELVE.ids, "user"))
    assert rows.remove(path, own, TWELVE, tmp_path, dry=False) == 1
    pd.testing.assert_frame_equal(
        pq.read_table(path).to_pandas().reset_index(drop=True), frame[1:].reset_index(drop=True)
    )
    assert not rows.holds(path, Users(TWELVE.ids, "user"))


def test_a_file_that_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a;12;b\n112\nx 12\n12.5\n")
    with pytest.raises(UserError, match="has no column 'user'"):
        rows.remove(path, params("csv"), TWELVE, tmp_path, dry=False)
    assert rows.remove_lines(path, TWELVE, tmp_path, dry=False) == 2
    assert path.read_bytes() == b"112\n12.5\n"
    path.write_bytes(b"\0\0,12,")
    assert rows.remove_lines(path, TWELVE, tmp_path, dry=False) == 1
    assert not path.exists()


@pytest.mark.parametrize("id", ["é", 'say "12"', "a,b", "a b"])
def test_ids_that_are_written_otherwise(tmp_path: Path, id: str) -> None:
    """With quotes in a csv, with escapes in JSON, in another encoding."""
    users = Users(frozenset({id}))
    frame = pd.DataFrame({"user": [id, "1"], "item": [1, 2], "time": [1, 2]})
    frame.to_csv(tmp_path / "csv", index=False)
    frame.to_json(tmp_path / "jsonl", orient="records", lines=True)
    for form in ("csv", "jsonl"):
        path = tmp_path / form
        assert rows.holds(path, users)
        assert rows.remove(path, params(form), users, tmp_path, dry=False) == 1
        assert not rows.holds(path, users)
