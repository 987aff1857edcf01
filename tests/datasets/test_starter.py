"""The starter data: the same for a seed, a world that obeys its own rules, and small in git."""

import csv
import gzip
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

import databases
from recctl.datasets import starter, starter_titles
from recctl.datasets.starter import DAYS, FIRST_DAY, SECONDS_A_DAY, Log, following_days

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def log() -> Log:
    """All of the starter log and what follows it within 30 days."""
    return following_days(first_day=0, days=DAYS + 30)


@pytest.fixture(scope="module")
def first() -> Log:
    """The starter log alone."""
    return following_days(first_day=0, days=DAYS)


@pytest.fixture(scope="module")
def folder() -> Path:
    return databases.starter()


def histories(log: Log) -> dict[int, list[int]]:
    """The films of each viewer, in the log's order."""
    found = defaultdict(list)
    for user, item, _ in log.interactions:
        found[user].append(item)
    return found


def story_and_part(title: str) -> tuple[str, int]:
    """`X` is part 1 of X, `X 3: Y` part 3."""
    name, colon, _ = title.partition(": ")
    if not colon:
        return title, 1
    story, part = name.rsplit(" ", 1)
    return story, int(part)


def rows(path: Path) -> list[list[str]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return list(csv.reader(text.splitlines()))


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        starter.write(tmp_path / name, seed=seed, days=20)
    for file in ("interactions.csv.gz", "items.csv"):
        one = (tmp_path / "one" / file).read_bytes()
        assert one == (tmp_path / "again" / file).read_bytes()
        assert one != (tmp_path / "other" / file).read_bytes()


def test_files_hold_the_log_and_the_films(folder: Path, first: Log) -> None:
    header, *events = rows(folder / "interactions.csv.gz")
    assert header == ["user_id", "item_id", "timestamp"]
    assert [tuple(map(int, event)) for event in events] == first.interactions
    header, *films = rows(folder / "items.csv")
    assert header == ["item_id", "title", "genres"]
    assert films == [[str(film.item_id), film.title, film.genres] for film in first.films]
    assert sorted(path.name for path in folder.iterdir()) == ["interactions.csv.gz", "items.csv"]


def test_the_repository_holds_what_the_generator_writes(folder: Path) -> None:
    """Where this fails after a wanted change: `recctl data use starter`, `dvc push`, commit."""
    stored = [path for path in (ROOT / "starter-remote").rglob("*") if path.is_file()]
    contents = {path.read_bytes() for path in stored}
    assert (folder / "items.csv").read_bytes() in contents
    unzipped = {gzip.decompress(one) for one in contents if one.startswith(b"\x1f\x8b")}
    # compared unzipped: another zlib packs the same rows into other bytes
    assert gzip.decompress((folder / "interactions.csv.gz").read_bytes()) in unzipped
    assert sum(path.stat().st_size for path in stored) <= 2 * 2**20
    for path in stored:
        name = (path.parent.name + path.name).removesuffix(".dir")
        assert hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == name


def test_it_has_the_size_of_a_small_service(folder: Path) -> None:
    events = rows(folder / "interactions.csv.gz")[1:]
    assert 1_900 <= len({event[0] for event in events}) <= 2_100
    assert 760 <= len({event[1] for event in events}) <= 840
    assert 76_000 <= len(events) <= 84_000


def test_times_ascend_over_two_years_and_no_film_is_watched_twice(log: Log) -> None:
    times = [one.timestamp for one in log.interactions]
    assert times == sorted(times)
    assert times[0] < FIRST_DAY + SECONDS_A_DAY
    assert times[-1] >= FIRST_DAY + (DAYS + 29) * SECONDS_A_DAY
    for films in histories(log).values():
        assert len(set(films)) == len(films)


def test_no_film_is_watched_before_its_release_and_films_come_all_the_time(log: Log) -> None:
    released = {film.item_id: FIRST_DAY + film.day * SECONDS_A_DAY for film in log.films}
    assert all(one.timestamp >= released[one.item_id] for one in log.interactions)
    months = Counter(film.day // 30 for film in log.films)
    assert all(months[month] > 0 for month in range(DAYS // 30))


def test_franchises_are_watched_in_order(log: Log) -> None:
    titles = {film.item_id: story_and_part(film.title) for film in log.films}
    parts = Counter(part for _, part in titles.values())
    assert parts[2] > 50
    for films in histories(log).values():
        seen: Counter[str] = Counter()
        for story, part in (titles[film] for film in films):
            assert part == seen[story] + 1
            seen[story] = part


def test_franchises_are_watched_side_by_side(log: Log) -> None:
    """Mostly something else comes between two parts, so the last film alone does not tell."""
    stories = {film.item_id: story_and_part(film.title)[0] for film in log.films}
    direct = between = 0
    for films in histories(log).values():
        last: dict[str, int] = {}
        for at, story in enumerate(stories[film] for film in films):
            if story in last:
                direct += at == last[story] + 1
                between += at > last[story] + 1
            last[story] = at
    assert 0.05 < direct / (direct + between) < 0.15


def test_popularity_follows_zipf(log: Log) -> None:
    counts = np.sort(list(Counter(one.item_id for one in log.interactions).values()))[::-1]
    assert counts[: len(counts) // 10].sum() > 0.35 * counts.sum()
    ranks = np.arange(1, len(counts) + 1)
    slope = np.polyfit(np.log(ranks[4:400]), np.log(counts[4:400]), 1)[0]
    assert -1.2 < slope < -0.5


def test_tastes_drift(log: Log) -> None:
    """A viewer's genres differ more between first and second half than between odd and even."""
    genre = {film.item_id: film.genres.split("|")[0] for film in log.films}
    long = [
        [genre[film] for film in films] for films in histories(log).values() if len(films) >= 60
    ]
    assert len(long) > 200
    halves = [distance(one[: len(one) // 2], one[len(one) // 2 :]) for one in long]
    mixed = [distance(one[::2], one[1::2]) for one in long]
    assert np.mean(halves) > 1.5 * np.mean(mixed)


def distance(one: list[str], other: list[str]) -> float:
    """Total variation between two shares of genres."""
    a, b = Counter(one), Counter(other)
    return sum(abs(a[key] / len(one) - b[key] / len(other)) for key in a | b) / 2


def test_films_are_watched_in_sessions(log: Log) -> None:
    """The gap to a viewer's film before is a film's length, or it begins another day."""
    last: dict[int, int] = {}
    inside = 0
    for user, _, time in log.interactions:
        if user in last:
            same_day = (time - FIRST_DAY) // SECONDS_A_DAY == (
                last[user] - FIRST_DAY
            ) // SECONDS_A_DAY
            assert not same_day or 85 * 60 <= time - last[user] < 150 * 60
            inside += same_day
        last[user] = time
    assert inside > 0.4 * len(log.interactions)


def test_the_following_days_continue_the_log(first: Log, log: Log) -> None:
    after = following_days(first_day=DAYS, days=30)
    assert first.interactions + after.interactions == log.interactions
    assert after.films == log.films
    assert first.films == log.films[: len(first.films)]
    known, later = set(histories(first)), set(histories(after))
    assert later & known, "the same viewers go on"
    assert later - known, "and new ones come"
    assert {one.item_id for one in after.interactions} - {film.item_id for film in first.films}


def test_titles_are_unique_and_genres_known(log: Log) -> None:
    assert len({film.title for film in log.films}) == len(log.films)
    assert {genre for film in log.films for genre in film.genres.split("|")} == set(
        starter_titles.GENRES
    )
    assert [film.item_id for film in log.films] == list(range(1, len(log.films) + 1))


def test_no_story_takes_a_name_that_is_taken() -> None:
    taken: set[str] = set()
    stories = [
        starter_titles.name(np.random.default_rng(3), "Horror", parts, taken) for parts in (1, 4, 1)
    ]
    assert len({story[0] for story in stories}) == len(taken) == 3
    assert [story_and_part(title) for title in stories[1]] == [
        (stories[1][0], part) for part in (1, 2, 3, 4)
    ]
