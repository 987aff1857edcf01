"""Figures that others published for the same data set and protocol, to compare with ours.

They come from other code. A source that trained on more than all but the last two interactions of
each user is left out or says so. Leave-one-out, seen items filtered.
"""

from dataclasses import dataclass

from recctl.evaluation.params import FULL

_KLENITSKIY = "Klenitskiy and Vasilev, RecSys 2023 (github.com/antklen/sasrec-bert4rec-recsys23)"
_SUN = "Sun et al., CIKM 2019, table 2 (their code learns the validation items too)"
_PAPER = "sampled-popularity-100"


@dataclass(frozen=True)
class Published:
    """A published HR@10 and NDCG@10."""

    hr: float
    ndcg: float
    source: str


_KNOWN: dict[tuple[str, str], dict[str, Published]] = {
    ("ml-1m", FULL): {
        "bert4rec": Published(0.2843, 0.1537, _KLENITSKIY),
        "sasrec": Published(0.3152, 0.1821, f"{_KLENITSKIY}, full cross-entropy"),
    },
    ("ml-1m", _PAPER): {
        "popularity": Published(0.1358, 0.0621, _SUN),
        "gru4rec": Published(0.6207, 0.3627, _SUN),
        "caser": Published(0.6692, 0.4268, _SUN),
        "sasrec": Published(0.6629, 0.4368, _SUN),
        "bert4rec": Published(0.6970, 0.4818, _SUN),
    },
}


def published(data_set: str, model: str) -> dict[str, Published]:
    """The published figures of a model on a data set, by protocol."""
    return {
        protocol: figures[model]
        for (name, protocol), figures in _KNOWN.items()
        if name == data_set and model in figures
    }
