"""The interval plot: which rows it draws, what markers and lines say, in colour and without."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decision_bodies import (
    ALL,
    COMPARISON,
    FIRST,
    PROMOTED,
    REFUSED,
    REJECTED,
    body,
    primary,
    record,
)
from matplotlib.figure import Figure
from matplotlib.image import imread

from recctl.promotion.view import plots


@pytest.mark.parametrize("name", ALL)
def test_every_kind_of_decision_makes_a_picture(name: str, tmp_path: Path) -> None:
    plots.intervals(record(ALL[name]), tmp_path / "plot.png")
    data = (tmp_path / "plot.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width == 8 * 120
    assert height > 100
    assert b"Matplotlib" not in data  # the same decision gives the same file by any version


def test_the_same_decision_gives_the_same_picture(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        plots.intervals(record(PROMOTED), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_only_rows_with_a_difference_are_drawn() -> None:
    """The floor has an interval of the figure itself, which no zero line is for."""
    floor = PROMOTED["gates"][2] | {"low": 0.2, "high": 0.3, "difference": None}
    drawn = plots.drawable(record(PROMOTED | {"gates": [PROMOTED["gates"][0], floor]}))
    assert [gate.name for gate in drawn] == ["ndcg@10"]
    assert plots.drawable(record(REFUSED)) == []


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    found: list[Figure] = []
    monkeypatch.setattr(plots.drawing, "save", lambda figure, path, dpi: found.append(figure))
    return found


def _titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def _labels(figure: Figure, panel: int) -> list[str]:
    return [tick.get_text() for tick in figure.axes[panel].get_yticklabels()]


def test_panels_and_their_rows(figures: list[Figure]) -> None:
    plots.intervals(record(PROMOTED), Path("unused"))
    (figure,) = figures
    assert _titles(figure) == [
        "against item-knn, version 3",
        "against the best version ever",
        "against the baselines",
    ]
    assert _labels(figure, 0) == [
        "NDCG@10",
        "HR@10",
        "history length: short  (402 users)",
        "history length: long  (391 users)",
        "target popularity: head  (611 users)",
        "target popularity: tail  (122 users)",
        "arrival: newest  (250 users)",
    ]
    assert _labels(figure, 2) == ["popularity", "markov"]


def test_first_model_is_drawn_against_the_baselines_alone(figures: list[Figure]) -> None:
    plots.intervals(record(FIRST), Path("unused"))
    assert _titles(figures[0]) == ["against the baselines"]


def test_zero_line_and_every_end_lie_within_the_axes(figures: list[Figure]) -> None:
    plots.intervals(record(REJECTED), Path("unused"))
    low, high = figures[0].axes[0].get_xlim()
    assert low < min(gate["low"] for gate in REJECTED["gates"][:2])
    assert low < -0.03  # the slices' threshold
    assert high > 0.04  # the widest slice's end, beyond zero


def _legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_legend_names_what_is_drawn_and_nothing_else(figures: list[Figure]) -> None:
    plots.intervals(record(REJECTED), Path("unused"))
    line = "the interval must be right of this"
    assert _legend(figures[0]) == ["passes", "fails", "decides nothing", line]
    plots.intervals(record(COMPARISON), Path("unused"))
    assert _legend(figures[1]) == ["decides nothing"]


def test_minimum_gain_has_its_own_line(figures: list[Figure]) -> None:
    policy = PROMOTED["policy"] | {"primary": {"metrics": ["ndcg@10"], "min_gain": 0.002}}
    plots.intervals(
        record(
            body("promoted", "", gates=[primary("ndcg@10", "pass", 0.02, 0.009)], policy=policy)
        ),
        Path("unused"),
    )
    assert "one metric's right of this: better" in _legend(figures[0])
    places = [
        path.vertices[0][0]  # type: ignore[index]
        for lines in figures[0].axes[0].collections
        for path in lines.get_paths()
    ]
    assert places == pytest.approx([0.011, -0.005, 0.002])


def test_outcomes_differ_without_colour() -> None:
    """Marker, or fill where markers are the same."""
    shapes = {
        outcome: (marker, fill == "white") for outcome, (marker, _, fill) in plots._MARKS.items()
    }
    assert len(set(shapes.values())) == len(shapes)


def test_a_name_with_dollars_is_no_mathematics(figures: list[Figure], tmp_path: Path) -> None:
    one: dict[str, Any] = PROMOTED["gates"][5] | {"name": r"slice: $\frac{1$ [bold]"}
    plots.intervals(record(PROMOTED | {"gates": [one]}), tmp_path / "plot.png")
    figures[0].canvas.draw()  # would raise on mathematics that cannot be read
    assert r"slice: $\frac{1$ [bold]" in _labels(figures[0], 0)[0]


def test_nothing_to_draw_says_so(tmp_path: Path) -> None:
    plots.intervals(record(REFUSED), tmp_path / "plot.png")
    assert np.asarray(imread(tmp_path / "plot.png"))[..., :3].min() < 0.5  # some ink
