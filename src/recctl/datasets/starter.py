"""The starter data: a simulated film service, generated day by day.

The random numbers of each day depend on the seed and the day's number, so a longer simulation
begins exactly like a shorter one: the days after the starter log continue it.

Patterns in the log that a sequential recommender should learn:

- Popularity follows Zipf's law, and a new film is watched more than an old one.
- A franchise is watched in order, part 1 before part 2, and a viewer alternates between a few
  franchises. So the last film predicts the next one, and the films before it predict it better.
- A viewer's mood is a genre that lasts for a while and then changes; the tastes from which moods
  are drawn drift over months.
- Films are released over time and are not watched before their release; a viewer waiting for the
  next part returns for it.
"""

import csv
import gzip
import io
import sys
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.datasets import starter_titles as titles
from recctl.files import replacing

DAYS = 731
"""The starter log covers 2023 and 2024."""
FIRST_DAY = int(datetime(2023, 1, 1, tzinfo=UTC).timestamp())
"""Day 0 begins at this time, in unix seconds."""
SECONDS_A_DAY = 86_400

LAUNCH_STORIES = 273
LAUNCH_USERS = 750
STORIES_A_DAY = 0.16
USERS_A_DAY = 1.9
MEAN_STAY = 900.0
"""Days a viewer stays on average; stays are exponential."""
MEAN_SESSIONS_A_DAY = 0.038

ZIPF_EXPONENT = 1.6
FRANCHISE_SHARE = 0.38
"""The share of stories that have more than one part ..."""
PARTS = (2, 7)
"""... and how many: at least the first, less than the second."""
WHOLE_AT_LAUNCH = 0.7
"""The share of the first day's franchises with all parts out; the others grow by sequels."""
SEQUEL_GAP = (40, 120)
"""Days between the parts of a franchise that grows."""
PREMIERE_DAYS = 30
PREMIERE_PULL = 4.0
"""How many times its weight a story has in the days after its premiere."""

MOOD_CHANGES = 0.35
"""The chance that a session begins with a new mood."""
TASTE_DRIFT = 0.25
"""The share of a new taste in the taste when the mood changes."""
CONTINUES = (0.0, 0.1, 0.5, 0.95, 0.97)
"""The chance of watching a next part, by the number of franchises with an unwatched part."""
IN_TURN = 0.75
"""The chance that the franchise to continue is the one not watched for longest."""
DROPS = 0.12
"""The chance that a viewer stops following a franchise after a part."""


class Interaction(NamedTuple):
    """One viewer watched one film; the time is in unix seconds."""

    user_id: int
    item_id: int
    timestamp: int


class Film(NamedTuple):
    """One item of the catalogue; `day` is the day of its release."""

    item_id: int
    title: str
    genres: str
    day: int


@dataclass(frozen=True)
class Log:
    """Interactions in time order, and every film released so far."""

    interactions: list[Interaction]
    films: list[Film]


@dataclass
class _Story:
    """A single film or a franchise: parts that come out one by one."""

    genre: int
    weight: float
    premiere: int
    coming: list[tuple[int, str, str]]  # (day, title, genres) of the parts not out yet
    parts: list[int] = field(default_factory=list)  # item ids of the parts that are out


@dataclass
class _Viewer:
    """A user's state between two films."""

    user_id: int
    sessions_a_day: float
    leaves: float
    taste: NDArray[np.float64]  # (genres,)
    mood: int
    watched: dict[int, int] = field(default_factory=dict)  # story -> parts watched
    following: list[int] = field(
        default_factory=list
    )  # franchises, the one not watched for longest first


class FilmService:
    """The film service on one day; `next_day` advances it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.day = -1
        self.films: list[Film] = []
        self._stories: list[_Story] = []
        self._viewers: list[_Viewer] = []
        self._taken: set[str] = set()
        self._shelves: list[tuple[list[int], list[float]]] = []

    def next_day(self) -> list[Interaction]:
        """Simulate one more day; returns its interactions in time order."""
        self.day += 1
        rng = np.random.default_rng([self.seed, self.day])
        self._announce(rng)
        self._release()
        self._welcome(rng)
        self._fill_shelves()
        visits = rng.random(len(self._viewers))
        interactions = [
            interaction
            for viewer, visit in zip(self._viewers, visits.tolist(), strict=True)
            if visit < viewer.sessions_a_day and self.day < viewer.leaves
            for interaction in self._session(viewer, rng)
        ]
        return sorted(interactions, key=lambda watched: (watched.timestamp, watched.user_id))

    def _announce(self, rng: np.random.Generator) -> None:
        count = LAUNCH_STORIES if self.day == 0 else int(rng.poisson(STORIES_A_DAY))
        self._stories += [self._story(rng) for _ in range(count)]

    def _story(self, rng: np.random.Generator) -> _Story:
        genre, other = rng.integers(len(titles.GENRES), size=2).tolist()
        genres = "|".join(titles.GENRES[each] for each in dict.fromkeys((genre, other)))
        parts = int(rng.integers(*PARTS)) if rng.random() < FRANCHISE_SHARE else 1
        names = titles.name(rng, titles.GENRES[genre], parts, self._taken)
        days = self._release_days(parts, rng)
        return _Story(
            genre=genre,
            weight=float(rng.integers(1, 200)) ** -ZIPF_EXPONENT,
            premiere=self.day if self.day > 0 else -PREMIERE_DAYS,
            coming=[(day, name, genres) for day, name in zip(days, names, strict=True)],
        )

    def _release_days(self, parts: int, rng: np.random.Generator) -> list[int]:
        """Release days of the parts: at the launch some or all on the first day, others later."""
        out = 1
        if self.day == 0:
            out = parts if rng.random() < WHOLE_AT_LAUNCH else int(rng.integers(1, parts + 1))
        gaps = rng.integers(*SEQUEL_GAP, size=parts)
        gaps[:out] = 0
        days: list[int] = (self.day + np.cumsum(gaps)).tolist()
        return days

    def _release(self) -> None:
        for story in self._stories:
            while story.coming and story.coming[0][0] <= self.day:
                _, title, genres = story.coming.pop(0)
                self.films.append(Film(len(self.films) + 1, title, genres, self.day))
                story.parts.append(len(self.films))

    def _welcome(self, rng: np.random.Generator) -> None:
        count = LAUNCH_USERS if self.day == 0 else int(rng.poisson(USERS_A_DAY))
        for _ in range(count):
            taste = _taste(rng)
            viewer = _Viewer(
                user_id=len(self._viewers) + 1,
                sessions_a_day=min(MEAN_SESSIONS_A_DAY * float(rng.lognormal(-0.2, 0.65)), 0.5),
                leaves=self.day + float(rng.exponential(MEAN_STAY)),
                taste=taste,
                mood=_mood(taste, rng),
            )
            self._viewers.append(viewer)

    def _fill_shelves(self) -> None:
        """The stories of each genre with their cumulative weights of today."""
        shelves: list[tuple[list[int], list[float]]] = [([], []) for _ in titles.GENRES]
        for index, story in enumerate(self._stories):
            stories, upto = shelves[story.genre]
            fresh = self.day - story.premiere < PREMIERE_DAYS
            weight = story.weight * (PREMIERE_PULL if fresh else 1.0)
            stories.append(index)
            upto.append(weight + (upto[-1] if upto else 0.0))
        self._shelves = shelves

    def _session(self, viewer: _Viewer, rng: np.random.Generator) -> Iterator[Interaction]:
        if rng.random() < MOOD_CHANGES:
            viewer.taste = (1 - TASTE_DRIFT) * viewer.taste + TASTE_DRIFT * _taste(rng)
            viewer.mood = _mood(viewer.taste, rng)
        count = min(1 + int(rng.geometric(0.55)), 5)
        lengths = rng.integers(85 * 60, 150 * 60, size=count)
        midnight = FIRST_DAY + self.day * SECONDS_A_DAY
        time = midnight + int(rng.integers(8 * 3600, SECONDS_A_DAY - int(lengths.sum())))
        for length in lengths.tolist():
            item = self._watch(viewer, rng)
            if item is None:
                return
            yield Interaction(viewer.user_id, item, time)
            time += length

    def _watch(self, viewer: _Viewer, rng: np.random.Generator) -> int | None:
        """The next film of this viewer; None when nothing of the mood is left to see."""
        waiting = [
            story
            for story in viewer.following
            if viewer.watched[story] < len(self._stories[story].parts)
        ]
        if rng.random() < CONTINUES[min(len(waiting), len(CONTINUES) - 1)]:
            in_turn = rng.random() < IN_TURN
            chosen = waiting[0 if in_turn else int(rng.integers(len(waiting)))]
        else:
            fresh = self._find(viewer, rng)
            if fresh is None:
                return None
            chosen = fresh
        return self._see(viewer, chosen, rng)

    def _find(self, viewer: _Viewer, rng: np.random.Generator) -> int | None:
        stories, upto = self._shelves[viewer.mood]
        for _ in range(30):
            story = stories[bisect_right(upto, rng.random() * upto[-1], hi=len(upto) - 1)]
            if story not in viewer.watched:
                return story
        return None

    def _see(self, viewer: _Viewer, chosen: int, rng: np.random.Generator) -> int:
        story = self._stories[chosen]
        part = viewer.watched.get(chosen, 0)
        viewer.watched[chosen] = part + 1
        if chosen in viewer.following:
            viewer.following.remove(chosen)
        more = part + 1 < len(story.parts) + len(story.coming)
        if more and rng.random() >= DROPS:
            viewer.following.append(chosen)
        return story.parts[part]


def _taste(rng: np.random.Generator) -> NDArray[np.float64]:
    # The first genres are the most popular.
    return rng.dirichlet(1.5 / np.arange(2, len(titles.GENRES) + 2))


def _mood(taste: NDArray[np.float64], rng: np.random.Generator) -> int:
    return min(int(np.searchsorted(np.cumsum(taste), rng.random())), len(taste) - 1)


def following_days(seed: int = 7, first_day: int = DAYS, days: int = 1) -> Log:
    """The interactions of `days` days from `first_day` on, in the simulation of this seed.

    The same viewers continue, new ones join, new films are released. The films are all those
    released by the last of these days.
    """
    service = FilmService(seed)
    log = [service.next_day() for _ in range(first_day + days)]
    return Log([watched for day in log[first_day:] for watched in day], service.films)


def write(folder: Path, seed: int = 7, days: int = DAYS) -> None:
    """Write `interactions.csv.gz` and `items.csv`: the first `days` days of the service.

    Columns: user_id, item_id, timestamp (unix seconds); and item_id, title, genres (with `|`
    between them). The same seed and days give the same bytes.
    """
    log = following_days(seed, first_day=0, days=days)
    with replacing(folder / "interactions.csv.gz") as temporary:
        rows = _csv(["user_id", "item_id", "timestamp"], log.interactions)
        temporary.write_bytes(gzip.compress(rows, compresslevel=9, mtime=0))
    with replacing(folder / "items.csv") as temporary:
        films = [film[:3] for film in log.films]
        temporary.write_bytes(_csv(["item_id", "title", "genres"], films))


def _csv(header: list[str], rows: list[Interaction] | list[tuple[int, str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def main(arguments: list[str]) -> None:
    """Print the interactions of a day after the starter log, the first one by default, as csv."""
    number = int(arguments[0]) if arguments else 1
    log = following_days(first_day=DAYS + number - 1)
    sys.stdout.buffer.write(_csv(["user_id", "item_id", "timestamp"], log.interactions))


if __name__ == "__main__":
    main(sys.argv[1:])
