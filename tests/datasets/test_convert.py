"""Items of every form to items.csv, records to csv."""

import gzip
from pathlib import Path

import pytest

from recctl.datasets import convert
from recctl.datasets.recognise import entries
from recctl.errors import UserError

FLAGS = "|".join("0110000000000000000")  # Action and Adventure
U_ITEM = f"7|L'Été (1996)|01-Jan-1995||http://x|{FLAGS}\n"
HEADED = f"movie id | movie title {'| a' * 22}\n"


@pytest.mark.parametrize(
    ("data", "row"),
    [
        (U_ITEM.encode("latin-1"), "7,L'Été (1996),Action|Adventure"),
        ((HEADED + U_ITEM).encode(), "7,L'Été (1996),Action|Adventure"),
        ("7::Été, l' (1996)::Drama|War\n".encode("latin-1"), '7,"Été, l\' (1996)",Drama|War'),
        ('movieId,title,genres\n7,"Été, l\'",Drama\n'.encode(), '7,"Été, l\'",Drama'),
        (b"movieId,title,genres\n7,Nix,(no genres listed)\n", "7,Nix,"),
        (b"title,item_id,price\nNix,7,3\n", "7,Nix,"),
    ],
)
def test_items(tmp_path: Path, data: bytes, row: str) -> None:
    (tmp_path / "source").write_bytes(data)
    convert.write_items(entries(tmp_path / "source")[0], tmp_path / "items.csv")
    text = (tmp_path / "items.csv").read_text(encoding="utf-8")
    assert text == f"item_id,title,genres\n{row}\n"


def test_a_file_that_names_no_items_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="give a csv with the columns item_id and title"):
        convert.write_items(entries(tmp_path / "source")[0], tmp_path / "items.csv")


STEAM = """\
{u'username': u'K\\xe4the, "K"', u'hours': 0.1, u'product_id': u'725280', u'date': u'2017-12-17'}
{'product_id': '10', 'text': 'no name', 'date': '2016-01-01'}
"""
AMAZON = '{"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1252800000}\n'


@pytest.mark.parametrize(
    ("layout", "text", "expected"),
    [
        (
            "steam-reviews",
            STEAM,
            "user_id,item_id,timestamp\n"
            '"Käthe, ""K""",725280,2017-12-17\n'
            ",10,2016-01-01\n",  # ingest reports it as having no user
        ),
        ("amazon-reviews", AMAZON, "user_id,item_id,rating,timestamp\nA1,B1,5.0,1252800000\n"),
    ],
)
def test_records(tmp_path: Path, layout: str, text: str, expected: str) -> None:
    (tmp_path / "source.gz").write_bytes(gzip.compress(text.encode()))
    source = entries(tmp_path / "source.gz")[0]
    count = convert.write_records(source, layout, tmp_path / "a.csv.gz", print)
    assert count == len(text.splitlines())
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).decode() == expected
    convert.write_records(source, layout, tmp_path / "b.csv.gz", print)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


@pytest.mark.parametrize("line", ["{'a': open('x')}", "nonsense", "[1]", "{'a': " + "(" * 300])
def test_a_line_that_is_no_literal_stops_with_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "source").write_text(STEAM + line + "\n")
    source = entries(tmp_path / "source")[0]
    with pytest.raises(UserError, match="line 3 is not a record"):
        convert.write_records(source, "steam-reviews", tmp_path / "a.csv.gz", print)
