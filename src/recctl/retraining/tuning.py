"""A search for settings before a retraining trains, every so many days."""

from functools import partial

from recctl import git
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.models import NEURAL
from recctl.render.numbers import figure
from recctl.render.text import Say
from recctl.retraining.params import RetrainParams
from recctl.training.params import TrainParams
from recctl.tuning import studies
from recctl.tuning.report import Report, with_best, write_best
from recctl.tuning.search import search


def is_due(layout: Layout, params: RetrainParams) -> bool:
    """Whether the model has settings to vary and its last search is too old."""
    if params.tune is None:
        return False
    model = TrainParams.load(layout.params).model
    return model in NEURAL and studies.is_due(layout, model, params.tune.every_days)


def tune(layout: Layout, params: RetrainParams, lock: Lock, say: Say) -> None:
    """Search, write the best settings to params.yaml, and commit that where it is wanted.

    Killed and repeated, the search is continued. Raises what `search` does, and UserError or
    MayPass where git fails.
    """
    assert params.tune is not None
    held = lock.fileno()
    search(
        layout,
        None,
        say,
        minutes=params.tune.budget_minutes,
        trials=None,
        new="changed",
        fds=[] if held is None else [held],
        done=partial(_keep, layout, params.publish.commit, say),
    )


def _keep(layout: Layout, commit: bool, say: Say, found: Report) -> None:
    for line in write_best(layout, found):
        say(f"params.yaml: {line}")
    before = git.at_head(layout.root, layout.params.name) if commit else None
    now = layout.params.read_text(encoding="utf-8")
    if before is None or before == now:
        return
    if with_best(before, found.settings)[0] != now:
        say("params.yaml is not committed: it has other changes too")
        return
    best = found.completed[0]
    message = f"Tuned {found.settings['model']}: validation NDCG@10 {figure(best.value)}"
    about = f"Study {found.study.study_name}, trial {best.number} of {len(found.trials)}"
    made = git.commit_only(layout.root, [layout.params.name], f"{message}\n\n{about}")
    say(f"committed params.yaml as {made}")
