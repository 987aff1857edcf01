"""The vocabulary: the catalogue of training items, then PAD and MASK."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from recctl.errors import UserError
from recctl.files import read_json, write_json

COLD = -1
"""The item_index of an item that training never saw."""


@dataclass(frozen=True)
class Vocabulary:
    """Item ids in the order of their item_index, 0 being the most popular in training.

    The catalogue is 0 .. size-1; PAD is `size` and MASK `size + 1`, so that a score over the
    catalogue needs no offset and neither can ever be a candidate.

    >>> vocabulary = Vocabulary(items=("b", "a"), counts=(3, 1))
    >>> vocabulary.index["a"], vocabulary.pad, vocabulary.mask
    (1, 2, 3)
    """

    items: tuple[str, ...]
    counts: tuple[int, ...]
    """Training interactions of each item."""
    titles: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.items)

    @property
    def pad(self) -> int:
        return self.size

    @property
    def mask(self) -> int:
        return self.size + 1

    @cached_property
    def index(self) -> dict[str, int]:
        """item_index by item id."""
        return {item: index for index, item in enumerate(self.items)}

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(
            path,
            {"items": list(self.items), "counts": list(self.counts), "titles": self.titles},
        )

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read what `save` wrote; UserError when missing or damaged."""
        content = read_json(path, "sequence-split")
        try:
            return cls(tuple(content["items"]), tuple(content["counts"]), content["titles"])
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path} is not a vocabulary ({error!r})", "run 'dvc repro sequence-split' again"
            ) from None
