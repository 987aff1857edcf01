"""Queries and addresses: sqlite, a real PostgreSQL, a real HTTP server; secrets stay hidden."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import intake_cases as cases
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from intake_cases import quiet, set_params, take, text

import databases
from recctl.data import batches
from recctl.datasets import download
from recctl.errors import MayPass, UserError
from recctl.intake import sql
from recctl.intake.intake import Intake, take_in
from recctl.layout import Layout
from web import send, send_file, serving

QUERY = "select u as user_id, i as item_id, t as timestamp, id from events where id > :watermark"


def query(url: str, **more: Any) -> dict[str, Any]:
    return {**cases.SHOP, "url": url, "query": QUERY, **more}


class Shop:
    """A sqlite database with a table of events."""

    def __init__(self, path: Path, times: str = "int") -> None:
        self.file = sqlite3.connect(path)
        self.file.execute(f"create table events (id integer primary key, u, i, t {times})")

    def add(self, *rows: tuple[Any, ...]) -> None:
        marks = ",".join("?" * len(rows[0]))
        names = "id, u, i, t" if len(rows[0]) == 4 else "u, i, t"
        self.file.executemany(f"insert into events ({names}) values ({marks})", rows)
        self.file.commit()


def shop(project: Layout, times: str = "int", **more: Any) -> Shop:
    set_params(project.root, [query("sqlite:///shop.db", **more)])
    return Shop(project.root / "shop.db", times)


def test_a_query_continues_at_its_watermark(project: Layout) -> None:
    table = shop(project)
    table.add((7, "i7", 100), (8.0, "i8", 101))
    assert take(project).new == 2
    assert cases.stored(project) == [("7", "i7", 100_000_000), ("8", "i8", 101_000_000)]
    [batch] = batches.held(project.data)
    assert batch.watermark == {"type": "int", "value": 2}
    table.add((9, "i9", 102))
    [batch] = take(project).batches
    assert (batch.rows, batch.new, batch.watermark) == (1, 1, {"type": "int", "value": 3})
    last = take(project)
    assert (last.new, last.changed, [one.rows for one in last.known]) == (0, False, [0])


def test_rows_that_appear_late_are_found_within_the_overlap(project: Layout) -> None:
    table = shop(project, overlap=5)
    table.add((10, "a", "a", 1), (20, "b", "b", 2))
    take(project)
    table.add((14, "too", "late", 3), (17, "c", "c", 4), (21, "d", "d", 5))
    [batch] = take(project).batches
    assert (batch.rows, batch.new, batch.duplicates) == (3, 2, 1)
    assert batch.watermark == {"type": "int", "value": 21}


def test_what_the_base_files_hold_is_not_taken_from_a_query(project: Layout) -> None:
    table = shop(project)
    table.add(*cases.BASE, ("u1", "i9", 10))
    [batch] = take(project).batches
    assert (batch.rows, batch.new, batch.duplicates) == (4, 1, 3)
    assert cases.stored(project) == [("u1", "i9", 10_000_000)]


def test_rows_with_the_watermark_of_one_before_are_taken_where_the_query_asks_for_them(
    project: Layout,
) -> None:
    table = shop(project, query=QUERY.replace("id > ", "t >= "), watermark="timestamp")
    table.add(("a", "a", 10), ("b", "b", 11))
    assert take(project).new == 2
    table.add(("c", "c", 11))
    [batch] = take(project).batches
    assert (batch.rows, batch.new, batch.duplicates) == (2, 1, 1)


def test_two_sources_of_one_kind_need_two_names(project: Layout) -> None:
    url = {"kind": "url", "name": "shop", "address": "https://x.example/a.csv"}
    set_params(project.root, [query("sqlite:///shop.db"), url, query("sqlite:///other.db")])
    with pytest.raises(UserError, match="two sources of the kind sql are named 'shop'") as caught:
        take(project)
    assert "\n" not in str(caught.value)
    shop(project).add(("a", "a", 1))
    set_params(project.root, [query("sqlite:///shop.db"), query("sqlite:///shop.db", name="two")])
    assert take(project).new == 1


def test_the_watermark_goes_back_with_the_data(project: Layout) -> None:
    table = shop(project)
    table.add(("a", "a", 1))
    take(project)
    table.add(("b", "b", 2))
    [second] = take(project).batches
    (project.data / "intake" / second.file).unlink()
    assert [(one.new, one.rows) for one in take(project).batches] == [(1, 1)]


def test_bad_rows_alone_are_not_taken_and_the_watermark_stays(project: Layout) -> None:
    table = shop(project)
    table.add(("a", "a", "soon"))
    taken = take(project)
    assert [name for name, _ in taken.refused] == ["shop"]
    assert not taken.changed
    table.add(("a", "a", 5))
    [batch] = take(project).batches
    assert (batch.new, batch.bad) == (1, {"bad-time": 1})


def test_times_as_text_of_sqlite_and_an_initial_watermark(project: Layout) -> None:
    set_params(
        project.root,
        [
            query(
                "sqlite:///shop.db",
                query="select u as user_id, i as item_id, t as timestamp from events "
                "where t >= :watermark",
                watermark="timestamp",
                initial="2020-01-01 00:00:00",
                overlap=60.0,
            )
        ],
        time_unit="iso",
    )
    table = Shop(project.root / "shop.db", "text")
    table.add(("a", "a", "2019-12-31 23:59:59"), ("b", "b", "2020-01-02 00:00:00"))
    [first] = take(project).batches
    assert (first.new, first.watermark) == (1, {"type": "text", "value": "2020-01-02 00:00:00"})
    table.add(("c", "c", "2020-01-01 23:59:30"), ("d", "d", "2020-01-01 23:00:00"))
    assert take(project).new == 1


def test_a_first_chunk_without_any_time_does_not_decide(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "CHUNK", 2)
    table = shop(project)
    table.add(*[(f"u{n}", "i", None if n < 5 else n) for n in range(9)])
    [batch] = take(project).batches
    assert (batch.new, batch.bad) == (4, {"no-time": 5})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": "select 1 as one from missing where :watermark = 1"}, "no such table: missing"),
        ({"query": QUERY.replace("t as timestamp, ", "")}, "has no column 'timestamp'"),
        ({"watermark": "serial"}, "has no column 'serial'"),
        ({"query": "select * from events"}, "does not use :watermark"),
        ({"query": QUERY + " and i = :item"}, "has :item besides :watermark"),
        ({"url": "sqlite:///other.db"}, "no database"),
        ({"url": "what is this"}, "is not a url"),
        ({"url": "env:RECCTL_TEST_SHOP"}, "environment variable RECCTL_TEST_SHOP, which is not"),
        ({"url": "postgresql://ann:s3cretword@db/x"}, "contains a password or a token"),
        ({"url": "postgresql://ann:s3cret/wo'rd@db/x"}, "contains a password or a token"),
        ({"url": "nosuch://db/x"}, "needs a driver that is not installed"),
        ({"watermark": "user_id", "overlap": 1.0}, None),
    ],
)
def test_mistakes_of_a_query_end_in_one_line(
    project: Layout, change: dict[str, Any], message: str | None
) -> None:
    shop(project).add(("ann", "a", 1))
    set_params(project.root, [query("sqlite:///shop.db") | change])
    if message is None:  # a name is no time: refused when the overlap is first subtracted
        take(project)
        message = "is text and no time"
    with pytest.raises(UserError, match=message) as caught:
        take(project)
    assert not isinstance(caught.value, MayPass)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_locked_database_may_pass(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    table = shop(project)
    table.add(("a", "a", 1))
    table.file.execute("begin exclusive")
    set_params(project.root, [query("sqlite:///shop.db?timeout=0.1")])
    with pytest.raises(MayPass, match="locked"):
        take(project)


def test_what_fails_does_not_keep_the_rest_from_being_taken(project: Layout) -> None:
    good = query("sqlite:///shop.db")
    set_params(project.root, [{**good, "name": "bad", "url": "sqlite:///no.db"}, good])
    Shop(project.root / "shop.db").add(("a", "a", 1))
    with pytest.raises(UserError, match=r"no\.db"):
        take(project)
    assert cases.stored(project) == [("a", "a", 1_000_000)]


@given(
    st.integers() | st.floats(allow_nan=False) | st.decimals(allow_nan=False) | st.text()
    | st.datetimes() | st.datetimes(timezones=st.just(UTC)) | st.dates()
)  # fmt: skip
@example(datetime(1890, 1, 2, tzinfo=timezone(timedelta(minutes=53, seconds=28))))
def test_a_watermark_is_kept_as_it_is(mark: Any) -> None:
    kept = sql.decode(sql.encode(mark))
    assert (kept, type(kept)) == (mark, type(mark))


@pytest.mark.parametrize(
    ("mark", "overlap", "before"),
    [
        (10, 0.0, 10),
        (10, 2.5, 7),
        (2**62 + 3, 1.0, 2**62 + 2),
        (10.0, 2.5, 7.5),
        (Decimal("10.5"), 0.5, Decimal("10.0")),
        (datetime(2020, 1, 1, tzinfo=UTC), 1.0, datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (date(2020, 1, 3), 86_401.0, date(2020, 1, 1)),
        ("2020-01-01T00:00:00Z", 1.0, "2019-12-31T23:59:59Z"),
        ("2020-01-01 00:00:00.500", 1.0, "2019-12-31 23:59:59.500"),
        ("2020-01-01T00:00:00.000001+02:00", 1.0, "2019-12-31T23:59:59.000001+02:00"),
        ("2020-01-01", 1.0, "2019-12-31"),
    ],
)
def test_an_overlap_goes_back_in_the_form_of_the_watermark(
    mark: Any, overlap: float, before: Any
) -> None:
    assert sql.back(mark, overlap) == before


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with databases.postgresql(tmp_path_factory.mktemp("postgresql")) as address:
        yield address


def test_postgresql_with_real_types_and_a_time_as_watermark(
    project: Layout, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy import text as statement

    engine = create_engine(postgresql)
    with engine.begin() as db:
        db.execute(
            statement(
                "create table events (u bigint, i uuid, t timestamptz, w numeric, "
                "arrived timestamp); insert into events values "
                "(1, '00000000-0000-0000-0000-000000000001', '2020-01-01 01:00+01', 4.5, "
                "'2020-01-05'), (2, null, '2020-01-02', 1, '2020-01-06')"
            )
        )
    monkeypatch.setenv("SHOP_URL", postgresql)
    source = query(
        "env:SHOP_URL",
        query="select u as user_id, i::text as item_id, t as timestamp, w, arrived from events "
        "where arrived >= :watermark order by arrived",
        watermark="arrived",
        initial="2020-01-01",
        overlap=3600.0,
    )
    (project.data / "log.csv").write_text("user_id,item_id,timestamp,w\nu1,i1,1,1\n")
    set_params(project.root, [source], weight_column="w")
    [batch] = take(project).batches
    assert (batch.new, batch.bad) == (1, {"no-item": 1})
    assert batch.watermark == {"type": "time", "value": "2020-01-06T00:00:00"}
    assert cases.stored(project) == [
        ("1", "00000000-0000-0000-0000-000000000001", 1_577_836_800_000_000)
    ]
    with engine.begin() as db:
        db.execute(
            statement(
                "insert into events values (3, gen_random_uuid(), now(), 2, '2020-01-05 23:30')"
            )
        )
    assert take(project).new == 1
    assert take(project).new == 0
    set_params(
        project.root, [{**source, "query": source["query"] + ", nothing"}], weight_column="w"
    )
    with pytest.raises(UserError, match='column "nothing" does not exist') as caught:
        take(project)
    assert not isinstance(caught.value, MayPass)
    engine.dispose()


def test_an_unreachable_postgresql_may_pass_and_its_password_is_not_shown(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", "postgresql://ann:s3cretword@127.0.0.1:1/shop")
    set_params(project.root, [query("env:SHOP_URL")])
    said: list[str] = []
    with pytest.raises(MayPass, match="does not answer") as caught:
        take_in(project, said.append)
    assert "s3cretword" not in " ".join([str(caught.value), *said])


@dataclass
class Server:
    """Files over HTTP, or an error."""

    address: str = ""
    status: int = 200


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server = Server()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if server.status == 200:
            send_file(handler, tmp_path / "served")
        else:
            send(handler, server.status)

    with serving(answer) as server.address:
        yield server


def fetch(project: Layout, address: str) -> Intake:
    set_params(project.root, [{"kind": "url", "name": "web", "address": address}])
    return take_in(project, quiet)


def test_of_an_address_what_is_new_is_taken(
    project: Layout, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "served" / "log.csv"
    file.write_text(text([("a", "a", 1)]))
    assert fetch(project, f"{server.address}/log.csv").new == 1
    same = fetch(project, f"{server.address}/log.csv")
    assert (same.new, same.changed, same.known[0].rows) == (0, False, 0)
    file.write_text(text([("a", "a", 1), ("b", "b", 2)]))
    [batch] = fetch(project, f"{server.address}/log.csv").batches
    assert (batch.new, batch.duplicates, batch.source) == (1, 1, "url:web")
    assert cases.names(project.state / "intake" / "url-web") == []


def test_a_failing_server_may_pass_and_a_missing_file_does_not(
    project: Layout, server: Server
) -> None:
    with pytest.raises(UserError, match="HTTP 404") as missing:
        fetch(project, f"{server.address}/no.csv")
    assert not isinstance(missing.value, MayPass)
    server.status = 503
    with pytest.raises(MayPass, match="could not be fetched"):
        fetch(project, f"{server.address}/no.csv")
    with pytest.raises(MayPass, match="no connection"):
        fetch(project, "http://127.0.0.1:1/no.csv")


def test_a_token_in_an_address_is_refused_and_one_from_the_environment_never_shown(
    project: Layout, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in (
        "https://x.example/a.csv?token=s3cret",
        "https://ann:s3cret@x.example/a.csv",
        "https://s3cret@x.example/a.csv",
        "https://ann:s3/cret@x.example/a.csv",
        "https://ann:3/s3cret@x.example/a.csv",
    ):
        with pytest.raises(UserError, match="contains a password or a token") as caught:
            fetch(project, address)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(UserError, match="has a query string, which may hold a signature") as caught:
        fetch(project, "https://x.example/a.csv?s3cret")
    assert "s3cret" not in str(caught.value)
    host = server.address.removeprefix("http://")
    for path in ("no.csv?token=s3cret", "no.csv?sig=s3cret", "s3cret/no.csv"):
        monkeypatch.setenv("WEB", f"http://s3cret@{host}/{path}")
        with pytest.raises(UserError, match="source 'web': env:WEB answers HTTP 404") as caught:
            fetch(project, "env:WEB")
        assert "s3cret" not in str(caught.value)


def test_an_address_is_written_nowhere_during_a_download(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    content = b"user_id,item_id\n"
    with serving(lambda handler: send(handler, 200, content, length=99)) as address:
        monkeypatch.setenv("WEB", address.replace("://", "://s3cret@") + "/s3cret/log.csv")
        set_params(project.root, [{"kind": "url", "name": "web", "address": "env:WEB"}])
        with pytest.raises(MayPass, match=r"env:WEB could not be fetched .*; 16 bytes are kept"):
            take_in(project, said.append)
    kept = [path for path in project.state.rglob("*.json") if path.is_file()]
    assert [path.name for path in kept] == ["log.csv.part.json"]
    assert "s3cret" not in kept[0].read_text()
    assert any("trying again" in line for line in said)
    assert "s3cret" not in "".join(said)


@pytest.mark.parametrize(
    "address", ["ftp://x/a.csv", "incoming/a.csv", "http://[", "http://", "http://x:y/a.csv"]
)
def test_an_invalid_address_is_refused(project: Layout, address: str) -> None:
    with pytest.raises(UserError, match="is not an http address"):
        fetch(project, address)
