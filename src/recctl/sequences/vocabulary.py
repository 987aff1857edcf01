"""The vocabulary: the catalogue of training items, then PAD and MASK."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from recctl import limits
from recctl.errors import UserError
from recctl.files import damaged, read_json, write_json

COLD = -1
"""The item_index of an item that training never saw."""


@dataclass(frozen=True)
class Vocabulary:
    """Item ids in the order of their item_index, 0 being the most popular in training.

    The catalogue is 0 .. size-1; models put PAD at `size` and MASK at `size + 1`, so that a score
    over the catalogue needs no offset and neither can be a candidate.

    >>> vocabulary = Vocabulary(items=("b", "a"), counts=(3, 1))
    >>> vocabulary.index["a"], vocabulary.size
    (1, 2)
    """

    items: tuple[str, ...]
    counts: tuple[int, ...]
    """Training interactions of each item."""
    titles: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.items)

    @cached_property
    def index(self) -> dict[str, int]:
        """item_index by item id."""
        return {item: index for index, item in enumerate(self.items)}

    def save(self, path: Path) -> None:
        """Write as JSON; UserError if it is larger than `load` reads."""
        write_json(
            path,
            {"items": list(self.items), "counts": list(self.counts), "titles": self.titles},
        )
        if (size := path.stat().st_size) > limits.VOCABULARY_BYTES:
            path.unlink()
            raise UserError(
                f"the vocabulary of {self.size:,} items has {size:,} bytes; at most "
                f"{limits.VOCABULARY_BYTES:,} can be read",
                "leave rare items out (sequence-split.minimum_item_interactions), or shorten ids",
            )

    @classmethod
    def load(cls, path: Path, made_by: str = "sequence-split") -> "Vocabulary":
        """Read what `save` wrote; UserError when missing or damaged."""
        content = read_json(path, made_by, ["items", "counts", "titles"], limits.VOCABULARY_BYTES)
        items, counts, titles = content["items"], content["counts"], content["titles"]
        titled = isinstance(titles, dict) and _all_of(str, list(titles.values()))
        if not (titled and _all_of(str, items) and _all_of(int, counts)):
            raise damaged(path, made_by, "not a vocabulary")
        if any(not 0 <= count <= limits.COUNT for count in counts):
            raise damaged(path, made_by, "a count is not a number of interactions")
        if len(items) != len(counts) or len(set(items)) != len(items):
            raise damaged(path, made_by, "its items and counts do not fit together")
        return cls(tuple(items), tuple(counts), titles)


def _all_of(kind: type, values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)
