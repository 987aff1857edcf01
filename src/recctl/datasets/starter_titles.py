"""Titles for the starter data's films, built from word lists; none is a real film's."""

import numpy as np

GENRES = (
    "Adventure",
    "Animation",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Horror",
    "Mystery",
    "Romance",
    "Science Fiction",
    "Western",
)

_THINGS = {
    "Adventure": ("Compass", "Caravan", "Expedition", "Map", "Lighthouse", "Raft", "Summit"),
    "Animation": ("Kite", "Hedgehog", "Puddle", "Snowglobe", "Button", "Acorn", "Tin Robot"),
    "Comedy": ("Wedding Cake", "Plumber", "Landlord", "Casserole", "Understudy", "Goat", "Tuba"),
    "Crime": ("Ledger", "Alibi", "Safe", "Informer", "Getaway", "Forger", "Warehouse"),
    "Documentary": ("Archive", "Harvest", "Glaciers", "Bees", "Choir", "Shipyard", "Bakers"),
    "Drama": ("Orchard", "Letters", "Daughters", "Winter", "Inheritance", "Ferry", "Piano"),
    "Fantasy": ("Dragon", "Crown", "Sorceress", "Oath", "Griffin", "Runes", "Thornwood"),
    "Horror": ("Cellar", "Whisper", "Well", "Scarecrow", "Attic", "Hunger", "Nursery"),
    "Mystery": ("Cipher", "Portrait", "Stranger", "Clock", "Testament", "Key", "Footprint"),
    "Romance": ("Waltz", "Balcony", "Postcard", "Promise", "Garden", "Summer", "Serenade"),
    "Science Fiction": ("Signal", "Orbit", "Colony", "Android", "Airlock", "Eclipse", "Beacon"),
    "Western": ("Saddle", "Outlaw", "Gulch", "Stagecoach", "Marshal", "Prairie", "Spur"),
}
# fmt: off
_TONES = (
    "Amber", "Borrowed", "Crooked", "Distant", "Emerald", "Forgotten", "Gentle", "Hollow",
    "Idle", "Jealous", "Lonely", "Midnight", "Northern", "Ordinary", "Patient", "Quiet",
    "Restless", "Scarlet", "Tender", "Unlikely", "Velvet", "Wandering", "Younger",
)
_FRONTS = (
    "Alder", "Bramble", "Cinder", "Dun", "Elder", "Fen", "Gosling", "Hazel", "Ister", "Jun",
    "Karrow", "Lumen", "Marrow", "Nettle", "Ombre", "Pell", "Quill", "Ravel", "Sorrel",
    "Thistle", "Umber", "Vesper", "Wick", "Yarrow",
)
_BACKS = ("mere", "by", "dane", "fold", "gate", "holm", "ley", "moor", "quay", "stead", "vane")
_CHAPTERS = (
    "The Return", "The Long Night", "The Reckoning", "The Crossing", "The Heir", "The Far Shore",
    "The Silence", "The Bargain", "Against the Wind", "A Debt Repaid", "Nine Doors", "Old Friends",
)
# fmt: on


def name(rng: np.random.Generator, genre: str, parts: int, taken: set[str]) -> list[str]:
    """Titles for the parts of one story that no story in `taken` has; `taken` gains the story's.

    The first part carries the story's name alone; each later one has its number and a subtitle.
    """
    base = _base(rng, genre)
    while base in taken:
        base = _base(rng, genre)
    taken.add(base)
    chapters = rng.permutation(len(_CHAPTERS))
    later = [f"{base} {n}: {_CHAPTERS[chapters[n - 2]]}" for n in range(2, parts + 1)]
    return [base, *later]


def _base(rng: np.random.Generator, genre: str) -> str:
    place = _pick(rng, _FRONTS) + _pick(rng, _BACKS)
    thing, tone = _pick(rng, _THINGS[genre]), _pick(rng, _TONES)
    shapes = (f"The {thing} of {place}", f"{tone} {place}", f"The {tone} {thing} of {place}")
    return shapes[int(rng.integers(len(shapes)))]


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]
