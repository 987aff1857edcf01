"""One palette and style for all plots, and how a figure becomes a file.

Text is never parsed as mathematics: names may hold `$`, `_` and `^`.
"""

import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY, PURPLE = "#0072B2", "#D55E00", "#009E73", "#6E6E6E", "#CC79A7"
"""Of Okabe and Ito's palette: colour-blind readers can distinguish them."""
PALE, GRID = "#9EC5DE", "#E3E3E3"
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "text.parse_math": False,
}


def styled(**more: Any) -> AbstractContextManager[None]:
    """The settings under which a figure is made; `more` by rcParams' names with `_` for `.`."""
    from matplotlib import rc_context

    settings: Any = {name.replace("_", "."): value for name, value in more.items()}
    return rc_context({**_STYLE, **settings})


def save(figure: "Figure", path: Path, dpi: int = 130) -> None:
    """Write the figure as a PNG; a sign that the font lacks becomes a box, without a warning."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")
        # without Software, which would put matplotlib's version into the file
        figure.savefig(temporary, dpi=dpi, metadata={"Software": None})
