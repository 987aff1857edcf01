"""What a study found: its best settings, its table, its plots; and the best into params.yaml."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from recctl.datasets import yaml_edit
from recctl.files import replacing, replacing_folder, write_json
from recctl.layout import Layout
from recctl.render import drawing
from recctl.render.grid import Grid, left, right
from recctl.render.numbers import figure
from recctl.tuning import studies

SHOWN = 10
"""Trials in the table."""
_TARGET = "validation NDCG@10"
_NAMED = 20
"""The most trials that the plot of curves names."""
_SLICES = 6
"""Settings in the plot of slices, the most important ones."""


@dataclass(frozen=True)
class Report:
    """The result of a study as it is now."""

    study: Study

    @property
    def trials(self) -> list[FrozenTrial]:
        """Those that ended, in their order; a trial that was killed and repeated counts once."""
        return [one for one in studies.begun(self.study) if one.state.is_finished()]

    @property
    def completed(self) -> list[FrozenTrial]:
        """Those that were neither pruned nor failed, the best first."""
        found = [one for one in self.trials if one.state == TrialState.COMPLETE]
        return sorted(found, key=lambda one: -(one.value or 0.0))

    @property
    def settings(self) -> dict[str, Any]:
        """The model and its best settings, by dotted name in `train`; empty: none completed."""
        if not self.completed:
            return {}
        return {"model": studies.params_of(self.study).model} | _settings(self.completed[0])

    def metrics(self) -> dict[str, float]:
        """The figures for MLflow."""
        figures = {"trials": float(len(self.trials)), "minutes": self._minutes}
        best = self.completed[0].value if self.completed else None
        return figures if best is None else {**figures, "validation_ndcg@10": best}

    @property
    def _minutes(self) -> float:
        return float(round(self.study.user_attrs["spent"] / 60, 2))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON; `minutes` of a trial are those of the study's clock at its end."""
        rows = [
            {
                "trial": one.number,
                "state": one.state.name.lower(),
                "validation_ndcg@10": one.value,
                "epochs": one.user_attrs.get("epochs"),
                "minutes": one.user_attrs.get("minutes"),
                "settings": _settings(one),
                "reason": studies.reason(one) if one.state == TrialState.FAIL else None,
            }
            for one in self.trials
        ]
        best = self.completed[0].number if self.completed else None
        about = {"study": self.study.study_name, "run_id": self.study.user_attrs.get("run_id")}
        return {**about, "minutes": self._minutes, "best": best, "trials": rows}

    def table(self) -> Grid:
        """The best trials with their settings."""
        names = list(self.study.user_attrs["space"])
        grid = Grid(
            f"{self.study.study_name}: {len(self.trials)} trials in {self._minutes:.1f} minutes",
            [
                *right("trial", _TARGET.split()[1]),
                *left("state"),
                *right("epochs", "minutes", *(name.rpartition(".")[2] for name in names)),
            ],
            note="validation, full ranking; trial 0 has the settings that params.yaml had",
        )
        others = [one for one in self.trials if one.state != TrialState.COMPLETE]
        for one in [*self.completed, *others][:SHOWN]:
            cells = [str(one.number), figure(one.value), one.state.name.lower()]
            cells += [str(one.user_attrs.get(name, "-")) for name in ("epochs", "minutes")]
            values = [_settings(one).get(name) for name in names]
            cells += [f"{value:.3g}" if type(value) is float else str(value) for value in values]
            grid.add(*cells, mark="strong" if one in self.completed[:1] else "")
        return grid

    def line(self, trial: FrozenTrial) -> str:
        """A trial that ended, in one line."""
        if trial.state == TrialState.FAIL:
            return f"trial {trial.number} failed: {studies.reason(trial)}"
        ended = f"{figure(trial.value)} after {trial.user_attrs.get('epochs', 0)} epochs"
        best = [f"best {figure(one.value)}, trial {one.number}" for one in self.completed[:1]]
        pruned = ["pruned"] if trial.state == TrialState.PRUNED else []
        return f"trial {trial.number}: NDCG@10 {ended} ({'; '.join([*pruned, *best])})"

    def write(self, layout: Layout) -> list[Path]:
        """Write report.json and Optuna's plots to the study's folder; their paths."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        target = layout.tuning / self.study.study_name
        with replacing_folder(target) as folder:
            write_json(folder / "report.json", self.as_dict())
            with matplotlib.rc_context({"savefig.bbox": "tight"}):
                for name, axes in self._plots():
                    drawing.save(axes.figure, folder / f"{name}.png")
                    pyplot.close(axes.figure)
        return sorted(target.iterdir())

    def _plots(self) -> Iterator[tuple[str, Any]]:
        """Optuna's plots by name, as matplotlib's axes."""
        import numpy as np
        from optuna.visualization import matplotlib as plots

        yield "history", plots.plot_optimization_history(self.study, target_name=_TARGET)
        curves = plots.plot_intermediate_values(self.study)
        curves.set(title="Validation curves", xlabel="epoch", ylabel=_TARGET)
        if (legend := curves.get_legend()) and len(self.trials) > _NAMED:
            legend.remove()
        yield "curves", curves
        if len({one.value for one in self.completed}) > 1:
            from optuna.importance import get_param_importances  # it imports scikit-learn

            yield "importances", plots.plot_param_importances(self.study, target_name=_TARGET)
            first = list(get_param_importances(self.study))[:_SLICES]
            slices: Any = plots.plot_slice(self.study, first, target_name=_TARGET)
            yield "slices", np.ravel(slices)[0]


def _settings(trial: FrozenTrial) -> dict[str, Any]:
    """The values that a trial was trained with, by dotted name in `train`."""
    return dict(trial.user_attrs.get("settings", trial.params))


def write_best(layout: Layout, found: Report) -> list[str]:
    """Write the best settings to params.yaml, whose other characters stay; a line per change.

    Raises UserError where a value cannot be changed alone.
    """
    text = layout.params.read_bytes().decode("utf-8")
    new, lines = with_best(text, found.settings)
    if new != text:
        with replacing(layout.params) as temporary:
            temporary.write_bytes(new.encode("utf-8"))
    return lines


def with_best(text: str, settings: dict[str, Any]) -> tuple[str, list[str]]:
    """The text of a params.yaml with settings of `train`, and a line per change."""
    lines = []
    for name, value in settings.items():
        path = ("train", *name.split("."))
        before = yaml_edit.get(text, path) if yaml_edit.has(text, path) else "default"
        if before != value:
            lines.append(f"train.{name}: {before} -> {value}")
            text = yaml_edit.put(text, path, value)
    return text, lines
