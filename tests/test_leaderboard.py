"""Models side by side, in a project whose sequences are tiny."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_project as tiny
from ruamel.yaml import YAML
from typer.testing import CliRunner

from recctl import leaderboard as module
from recctl.cli.app import app
from recctl.errors import UserError
from recctl.evaluation import metrics
from recctl.evaluation.ranking import rank_cases
from recctl.evaluation.statistics import Interval
from recctl.layout import Layout
from recctl.leaderboard import Board, Pair, Unproven, leaderboard
from recctl.models import BASELINES
from recctl.sequences.store import SequenceData
from recctl.training.params import TrainParams

SMALL = {"max_length": 12, "hidden_size": 8}
PARAMS = TrainParams(device="cpu", max_epochs=2, batch_size=64, sasrec=SMALL, caser=SMALL)
SEEDS = [1, 2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return tiny.make(tmp_path_factory.mktemp("leaderboard") / "project")


@pytest.fixture(scope="module")
def board(project: Layout) -> Board:
    return leaderboard(project, ["popularity", "sasrec", "markov"], SEEDS, PARAMS, print)


def test_the_figures_are_those_of_the_models_alone(project: Layout, board: Board) -> None:
    data = SequenceData.load(project.sequences)
    cases, n_items = data.cases("test"), data.vocabulary.size
    for row in board.rows:
        if row.model not in BASELINES:
            continue
        model = BASELINES[row.model].fit(data.train(), n_items)
        ranks = rank_cases(model, cases).full
        wanted = metrics.means(["hr@10", "ndcg@10"], ranks, n_items)
        found = {name: one.value for name, one in row.figures["full"].items()}
        assert found == pytest.approx(wanted)
        assert row.spread is None  # nothing in it is drawn: one is enough
        assert [one.seed for one in row.trainings] == SEEDS[:1]


def test_the_best_comes_first_and_pairs_are_differences(board: Board) -> None:
    values = {row.model: row.figures["full"]["ndcg@10"].value for row in board.rows}
    assert list(values.values()) == sorted(values.values(), reverse=True)
    assert len(board.pairs) == 3
    for pair in board.pairs:
        wanted = values[pair.model] - values[pair.other]
        assert pair.difference.value == pytest.approx(wanted)
        assert pair.difference.value >= 0
        assert 0 < pair.p <= 1
    clear = next(one for one in board.pairs if {one.model, one.other} == {"markov", "popularity"})
    assert clear.model == "markov"
    assert clear.p <= 0.05
    assert clear.difference.low > 0


def test_seeds_are_averaged_user_by_user(project: Layout, board: Board) -> None:
    row = next(row for row in board.rows if row.model == "sasrec")
    each = [
        leaderboard(project, ["sasrec"], [seed], PARAMS, print).rows[0].figures["full"]["ndcg@10"]
        for seed in SEEDS
    ]
    values = [one.value for one in each]
    assert row.figures["full"]["ndcg@10"].value == pytest.approx(np.mean(values))
    assert row.spread == pytest.approx(np.std(values, ddof=1))
    assert values[0] != values[1]


def test_what_was_done_is_not_done_again(
    project: Layout, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object, **more: object) -> None:
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr(module, "fit_project", never)
        again = leaderboard(project, ["markov", "popularity", "sasrec"], SEEDS, PARAMS, print)
        assert again.rows == board.rows
        other = PARAMS.model_copy(update={"learning_rate": 0.5})
        with pytest.raises(AssertionError, match="trained again"):
            leaderboard(project, ["sasrec"], SEEDS, other, print)


@pytest.mark.parametrize(
    ("models", "seeds", "message"),
    [
        (["markof"], [1], "unknown model 'markof'; did you mean 'markov'"),
        (["markov", "markov"], [1], "named twice"),
        (["markov"], [1, 1], "named twice"),
    ],
)
def test_names_are_checked_first(
    project: Layout, models: list[str], seeds: list[int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        leaderboard(project, models, seeds, PARAMS, print)


@pytest.mark.parametrize("damage", ["full.npy", "sampled-uniform-*.npy", "training.json"])
def test_a_damaged_result_is_named(
    project: Layout, board: Board, tmp_path: Path, damage: str
) -> None:
    shutil.copytree(project.root, tmp_path / "project")
    copy = Layout(tmp_path / "project")
    [folder] = (copy.root / "artifacts" / "leaderboard").glob("markov-*")
    [file] = folder.glob(damage)
    file.write_bytes(b"")
    with pytest.raises(UserError, match=r"markov-.* is damaged; remove it"):
        leaderboard(copy, ["markov"], SEEDS[:1], PARAMS, print)


def test_the_pipelines_checkpoints_are_left_alone(project: Layout) -> None:
    """An interrupted `dvc repro` continues from its own checkpoint afterwards."""
    folder = project.state / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    left = folder / f"{'a' * 16}.pt"
    left.write_bytes(b"of an interrupted dvc repro")
    leaderboard(project, ["sasrec"], [5, 6, 7, 8], PARAMS, print)
    assert left.is_file()
    assert list((folder / "leaderboard").glob("*.pt")) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "model.x=5"],
        ["--set", "max_epochs=[1"],
        ["--set", "max_epochs"],
        ["--set", "model=sasrec"],
        ["--set", "bert4rec=5"],
        ["--set", "epochs=5"],
        ["--seeds=-1"],
        ["--seeds", ","],
        ["--seeds", "1,x"],
        ["--seeds", "9" * 30],
        ["markof"],
    ],
    ids=" ".join,
)
def test_bad_input_is_an_error_before_anything_is_trained(
    project: Layout, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.delenv("RECCTL_LOCK", raising=False)
    done = CliRunner().invoke(app, ["leaderboard", *arguments])
    assert isinstance(done.exception, UserError)
    assert "\n" not in str(done.exception)


def test_the_command_prints_both_tables(
    project: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(project.root, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("RECCTL_LOCK", raising=False)
    chosen = ["markov", "caser", "--seeds", "3,4"]
    small = [f"--set=caser={json.dumps(SMALL)}", "--set", "train.max_epochs=1"]
    done = CliRunner().invoke(app, ["leaderboard", *chosen, *small])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if line and line[0] in ("markov", "caser")] == [
        "markov", "caser",  # the models, best first
        "caser", "markov",  # the pair: a column and a line
    ]  # fmt: skip
    assert "user by user" in done.stdout
    assert "leaderboard: caser, seed 4" in done.stderr
    printed = CliRunner().invoke(app, ["leaderboard", *chosen, *small, "--json"])
    assert json.loads(printed.stdout)["rows"][0]["model"] == "markov"
    assert not Path("artifacts/training").exists()


def test_published_figures_stand_beside_ours(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    text = project.params.read_text()
    report = project.sequences / "report.json"
    report.write_text(json.dumps({**json.loads(report.read_text()), "protocol": "leave-one-out"}))
    said = []
    try:
        for name, filtered in (("ml-1m", True), ("tiny", True), ("ml-1m", False)):
            params = YAML(typ="safe").load(text)
            params["ingest"]["name"] = name
            params["evaluate"] = {"negatives": 100, "filter_seen": filtered}
            YAML().dump(params, project.params)
            ran = CliRunner().invoke(app, ["leaderboard", "popularity", "markov"])
            assert ran.exit_code == 0, ran.output
            said.append(ran.stdout)
    finally:
        project.params.write_text(text)
    known, *unknown = said
    assert ".1358 / .0621" in known
    assert "popularity (sampled-popularity-100): Sun et al., CIKM 2019, table 2" in known
    assert not any("published" in one for one in unknown)


def test_a_blend_shares_its_networks_training(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    found = leaderboard(project, ["sasrec", "blend"], [11, 12], PARAMS, said.append)
    assert [line for line in said if "seed" in line] == [
        "blend, seed 11", "sasrec, seed 11", "blend, seed 12", "sasrec, seed 12",
    ]  # fmt: skip
    rows = {row.model: row for row in found.rows}
    for blend, network in zip(rows["blend"].trainings, rows["sasrec"].trainings, strict=True):
        assert (blend.seed, blend.epochs, blend.seconds) == (
            network.seed, network.epochs, network.seconds,  # trained once: the same seconds
        )  # fmt: skip
        assert blend.validation > network.validation
    assert found.rows[0].model == "blend"
    assert not list((project.state / "checkpoints" / "leaderboard").glob("*.pt"))


def _pair(model: str, other: str, low: float) -> Pair:
    return Pair(model, other, Interval(low + 0.02, low, low + 0.04), 0.5)


def test_what_is_not_proven_better_than_a_simple_model_is_named_with_what_to_use() -> None:
    """From the best: sasrec, markov, caser, popularity; only sasrec may be beaten by chance."""
    pairs = [
        _pair("sasrec", "markov", -0.01),
        _pair("sasrec", "caser", 0.01),
        _pair("sasrec", "popularity", 0.02),
        _pair("markov", "caser", 0.01),
        _pair("markov", "popularity", 0.02),
        _pair("caser", "popularity", 0.01),
    ]
    names = ["sasrec", "markov", "caser", "popularity"]
    assert module.unproven(names, pairs) == [
        Unproven("sasrec", "markov", Interval(0.01, -0.01, 0.03), instead="markov"),
        Unproven("caser", "markov", Interval(-0.03, -0.05, -0.01), instead="markov"),
    ]
    clear = [_pair("sasrec", "markov", 0.001), *pairs[1:]]
    assert module.unproven(names, clear) == [
        Unproven("caser", "markov", Interval(-0.03, -0.05, -0.01), instead="sasrec")
    ]
    assert module.unproven(["sasrec", "caser"], pairs) == []
    assert module.unproven(["markov", "popularity"], pairs) == []


def test_the_command_warns_of_models_that_are_not_proven_better(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.delenv("RECCTL_LOCK", raising=False)
    small = [f"--set=caser={json.dumps(SMALL)}", f"--set=sasrec={json.dumps(SMALL)}"]
    settings = [*small, "--set", "max_epochs=1", "--set", "learning_rate=1e-9"]

    def warnings(*models: str) -> list[str]:
        done = CliRunner().invoke(app, ["leaderboard", *models, *settings])
        assert done.exit_code == 0, done.output
        return [line for line in done.stdout.splitlines() if line.startswith("warning")]

    [line] = warnings("caser", "markov", "popularity")
    number = r"[+-]\.\d{4}"
    assert re.fullmatch(
        rf"warning: caser is not proven better than markov \(NDCG@10 {number} "
        rf"\[{number}, {number}\]\): use markov",
        line,
    )
    assert warnings("blend", "popularity") == []
