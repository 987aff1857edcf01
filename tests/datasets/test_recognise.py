"""Files recognised by their content."""

import gzip
import struct
import zipfile
from pathlib import Path

import pytest

from recctl.datasets import recognise
from recctl.errors import UserError

U_DATA = "1\t10\t5\t881250949\n2\t20\t3\t891717742\n"
RATINGS_DAT = "1::10::5::978300760\n2::20::3::978302109\n"
RATINGS_CSV = "userId,movieId,rating,timestamp\n1,10,4.5,1112486027\n"
U_ITEM = "10|Elle l'a aimé (1995)|01-Jan-1995||http://x|" + "|".join("01" + "0" * 17) + "\n"
LAYOUTS = {
    "u.data": U_DATA,
    "ratings.dat": RATINGS_DAT,
    "ratings.csv": RATINGS_CSV,
    "sequences": "1 1\n1 2\n2 1\n",
    "amazon-ratings": "A39HTATAQ9V7YF,0205616461,5.0,1369699200\n",
    "amazon-reviews": '{"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1}\n',
    "steam-reviews": "{u'username': u'Käthe', u'product_id': u'7', u'date': u'2017-12-17'}\n",
}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("packed", [False, True])
def test_each_layout_is_recognised_under_any_name(
    tmp_path: Path, layout: str, packed: bool
) -> None:
    path = write(tmp_path / "file.bin", LAYOUTS[layout])
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    found = recognise.find(path)
    assert found is not None
    assert found.layout == layout


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "two words\n",
        "user_id,item_id,timestamp\na,b,1\n",
        "userId,movieId,tag,timestamp\n1,2,fun,3\n",
        "1::F::1::10::48067\n",
        "{'no': 'keys'}\n",
        "{__import__('os').system('true'): 1}\n",
        "<html>404</html>\n",
    ],
)
def test_other_text_is_not_taken_for_a_known_log(tmp_path: Path, text: str) -> None:
    assert recognise.find(write(tmp_path / "u.data", text)) is None


def test_u_data_with_and_without_a_header(tmp_path: Path) -> None:
    header = "user-id\titem-id\trating\ttimestamp\n"
    assert recognise.find(write(tmp_path / "a", header + U_DATA)) is not None
    assert recognise.find(write(tmp_path / "b", header)) is None  # no row
    assert recognise.find(write(tmp_path / "c", "a\tb\tc\td\n" + U_DATA)) is None


def test_a_folder_gives_the_log_with_the_usual_name_and_its_items(tmp_path: Path) -> None:
    write(tmp_path / "ml-100k/u1.base", U_DATA * 9)
    log = write(tmp_path / "ml-100k/u.data", U_DATA)
    items = tmp_path / "ml-100k/u.item"
    items.write_bytes(U_ITEM.encode("latin-1"))
    write(tmp_path / "ml-100k/README", "the data\n")
    found = recognise.find(tmp_path)
    assert found is not None
    assert (found.entry.path, found.items and found.items.path) == (log, items)


def test_without_the_usual_name_the_largest_log_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "small.tsv", U_DATA)
    large = write(tmp_path / "large.tsv", U_DATA * 2)
    found = recognise.find(tmp_path)
    assert found is not None
    assert found.entry.path == large


def test_an_archive_is_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "download"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-1m/ratings.dat", RATINGS_DAT)
        archive.writestr("ml-1m/movies.dat", "10::Toy Story (1995)::Animation|Comedy\n")
        archive.writestr("__MACOSX/ml-1m/._ratings.dat", RATINGS_DAT * 9)
    found = recognise.find(path)
    assert found is not None
    assert (found.layout, found.entry.member) == ("ratings.dat", "ml-1m/ratings.dat")
    assert found.items is not None


def test_among_restricts_what_is_looked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "f", U_DATA)
    assert recognise.find(path, ["ratings.dat", "sequences"]) is None


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(name, U_DATA)
    with pytest.raises(UserError, match="with a path outside it"):
        recognise.find(tmp_path / "z.zip")


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("u.data", U_DATA)
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, central + 8, 1)  # the flag "encrypted"
    path.write_bytes(data)
    with pytest.raises(UserError, match="encrypted"):
        recognise.find(path)


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("u.data", U_DATA * 1000)
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"z\.zip is damaged or incomplete"):
        recognise.find(path)
    path.write_bytes(gzip.compress(U_DATA.encode())[:-12])
    with pytest.raises(UserError, match=r"z\.zip is damaged or incomplete"):
        recognise.find(path)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file or folder .*nothing"):
        recognise.find(tmp_path / "nothing")
    with pytest.raises(UserError, match="may not be read"), recognise.reading(tmp_path):
        raise PermissionError


def test_binary_and_parquet_files_are_no_known_log(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\1\2" * 100)
    (tmp_path / "b").write_bytes(b"PAR1" + b"1 1\n")
    assert recognise.find(tmp_path) is None


def test_a_line_cut_by_the_limit_is_not_judged(tmp_path: Path) -> None:
    line = "1\t2\t3\t4\n"
    long = line * 3 + "5" * recognise.HEAD_BYTES
    assert recognise.find(write(tmp_path / "f", long)) is not None
