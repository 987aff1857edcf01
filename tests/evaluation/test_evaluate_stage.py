"""The evaluate stage in a separate project, end to end, with a popularity model."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_sequences import ITEMS, PARAMS, USERS, write_sequences
from typer.testing import CliRunner

from recctl.cli.app import app
from recctl.errors import UserError
from recctl.evaluation.metrics import means, per_case
from recctl.evaluation.params import EvaluateParams
from recctl.evaluation.ranking import Ranks, rank_cases
from recctl.evaluation.test_set import TestSet
from recctl.files import write_json
from recctl.layout import Layout
from recctl.models.base import save_model
from recctl.models.bert4rec import Bert4Rec, Encoder
from recctl.models.markov import Markov
from recctl.models.popularity import HALF_LIVES_DAYS, Popularity, RecentPopularity
from recctl.render.numbers import figure
from recctl.sequences.store import SequenceData
from recctl.sequences.vocabulary import Vocabulary
from recctl.stages import evaluate

MODELS = ["model", "popularity", "markov", "item-knn"]
OUTPUTS = [
    "hr_at_k.csv",
    "hr_at_k.png",
    "metrics.json",
    "ranks.parquet",
    "report.json",
    "slices.csv",
    "slices.png",
]


@pytest.fixture
def tracked(monkeypatch):
    """What the stage hands to MLflow, kept in a list instead."""
    calls = []

    def keep(layout, *, metrics, files=(), tags=None, **more):
        calls.append({"metrics": metrics, "files": [*files], "tags": dict(tags or {}), **more})
        return "run"

    monkeypatch.setattr(evaluate, "log_evaluation", keep)
    monkeypatch.setattr(evaluate, "connect", lambda layout: None)
    return calls


@pytest.fixture
def project(tmp_path, tracked):
    layout = Layout(tmp_path)
    layout.params.write_text(PARAMS)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    write_sequences(layout.sequences)
    data = SequenceData.load(layout.sequences)
    layout.model.mkdir(parents=True)
    save_model(Popularity.fit(data.train(), data.vocabulary.size), layout.model)
    shutil.copy(layout.sequences / "vocabulary.json", layout.model)
    write_json(layout.training / "run.json", {"run_id": "run"})
    return layout


def read(path):
    return json.loads(path.read_text())


def test_metrics_follow_from_the_ranks_of_every_user(project):
    evaluate.run(project)
    metrics = read(project.evaluation / "metrics.json")
    ranks = pd.read_parquet(project.evaluation / "ranks.parquet")
    protocols = ["full", "sampled-popularity-5", "sampled-uniform-5"]
    assert list(metrics) == ["fingerprint", "users", *protocols]
    assert metrics["users"] == USERS
    for protocol in protocols:
        assert list(metrics[protocol]) == MODELS
        for model in MODELS:
            rows = ranks[(ranks.protocol == protocol) & (ranks.model == model)]
            assert rows.user_id.tolist() == [f"u{i}" for i in range(USERS)]
            for name, value in metrics[protocol][model].items():
                assert value == pytest.approx(per_case(name, rows["rank"].to_numpy(), ITEMS).mean())


def test_a_popularity_model_equals_its_baseline_and_order_beats_both(project):
    evaluate.run(project)
    full = read(project.evaluation / "metrics.json")["full"]
    assert full["model"] == full["popularity"]
    assert full["markov"]["hr@1"] > 0.9  # the users walk in order: only two targets cannot be had
    assert full["markov"]["hr@1"] <= (USERS - 2) / USERS
    assert full["popularity"]["hr@1"] < 0.2


def test_targets_that_cannot_be_recommended_are_kept_counted_and_last(project):
    evaluate.run(project)
    report = read(project.evaluation / "report.json")
    assert report["unreachable_targets"] == {"cold": 1, "seen": 1}
    again = report["repeats"]
    assert (again["targets"], again["repeated_targets"], again["hidden_targets"]) == (USERS, 1, 1)
    assert again["hidden_target_share"] == 1 / USERS
    ranks = pd.read_parquet(project.evaluation / "ranks.parquet")
    cold, seen = ranks[ranks.user_id == "u0"], ranks[ranks.user_id == "u1"]
    assert set(cold["rank"]) == set(seen["rank"]) == {ITEMS + 1}
    assert cold.item_id.isna().all()
    assert set(cold.target_count) == {0}
    assert seen.item_id.notna().all()
    assert (seen.target_count > 0).all()
    groups = {one["group"]: one for one in report["slices"]}
    assert groups["cold"]["users"] == 1
    assert groups["cold"]["few_users"]
    assert groups["cold"]["models"]["markov"]["mrr"]["value"] == 0
    assert groups["warm"]["users"] == USERS - 1


def test_the_report_holds_intervals_round_every_mean(project):
    evaluate.run(project)
    report, metrics = (read(project.evaluation / f"{name}.json") for name in ("report", "metrics"))
    for protocol, models in report["protocols"].items():
        for model, cells in models.items():
            for name, cell in cells.items():
                assert cell["value"] == metrics[protocol][model][name]
                assert cell["low"] <= cell["value"] <= cell["high"]
    assert set(report["beyond_accuracy"]) == set(MODELS)


def test_curve_and_slices_are_tables_that_dvc_can_plot(project):
    evaluate.run(project)
    curve = pd.read_csv(project.evaluation / "hr_at_k.csv")
    assert list(curve) == ["k", *MODELS]
    assert curve.k.tolist() == list(range(1, 51))
    assert (curve[MODELS].diff().dropna() >= 0).all().all()
    metrics = read(project.evaluation / "metrics.json")["full"]
    assert curve.markov[9] == pytest.approx(metrics["markov"]["hr@10"], abs=1e-6)
    slices = pd.read_csv(project.evaluation / "slices.csv")
    assert set(slices.metric) == {"ndcg@10"}
    everyone = slices[slices.group == "all"].iloc[0]
    assert everyone.markov == pytest.approx(metrics["markov"]["ndcg@10"], abs=1e-6)
    assert everyone.markov_low < everyone.markov < everyone.markov_high


def test_the_same_input_gives_the_same_files(project, tmp_path):
    evaluate.run(project)
    assert sorted(path.name for path in project.evaluation.iterdir()) == OUTPUTS
    before = {name: (project.evaluation / name).read_bytes() for name in OUTPUTS}
    evaluate.run(project)
    for name in OUTPUTS:
        assert (project.evaluation / name).read_bytes() == before[name], name


def test_the_run_in_mlflow_gets_metrics_and_plots(project, tracked):
    evaluate.run(project)
    metrics = read(project.evaluation / "metrics.json")
    (call,) = tracked
    assert call["metrics"]["full/model/ndcg@10"] == metrics["full"]["model"]["ndcg@10"]
    assert len(call["metrics"]) == 3 * len(MODELS) * 4
    description = call["tags"].pop("mlflow.note.content")
    assert description.startswith("Full ranking of ")
    assert f"- markov: HR@10 {figure(metrics['full']['markov']['hr@10'])} (" in description
    assert call["tags"] == {"evaluation_fingerprint": metrics["fingerprint"]}
    assert (call["model"], call["test_set"]) == ("popularity", metrics["fingerprint"])
    assert all(file.is_file() for file in call["files"])


def fingerprint(project):
    evaluate.run(project)
    return read(project.evaluation / "metrics.json")["fingerprint"]


@pytest.mark.parametrize("change", ["filter_seen: false", "seed: 1", "negatives: 6"])
def test_the_fingerprint_changes_with_the_protocol(project, change):
    before = fingerprint(project)
    kept = PARAMS.replace("  negatives: 5\n", "") if "negatives" in change else PARAMS
    project.params.write_text(f"{kept}  {change}\n")
    assert fingerprint(project) != before


def test_the_fingerprint_changes_with_the_targets_alone(project):
    before = fingerprint(project)
    path = project.sequences / "items.npy"
    items = np.load(path)
    items[-1] = (items[-1] + 1) % ITEMS
    np.save(path, items)
    assert fingerprint(project) != before


def test_the_fingerprint_does_not_change_with_what_is_shown(project):
    before = fingerprint(project)
    project.params.write_text("train: {}\nevaluate:\n  metrics: [hr@3]\n  negatives: 5\n")
    assert fingerprint(project) == before


def test_a_model_of_another_split_is_refused(project):
    """The same catalogue in the same order, but today's targets were its training items."""
    data = SequenceData.load(project.sequences)
    model = Popularity.fit(data.train(), data.vocabulary.size)
    save_model(model, project.model, {"split_fingerprint": "another"})
    with pytest.raises(UserError, match="trained on another split"):
        evaluate.run(project)


def test_a_model_of_other_data_is_refused_and_nothing_is_touched(project):
    evaluate.run(project)
    before = (project.evaluation / "metrics.json").read_bytes()
    known = Vocabulary.load(project.model / "vocabulary.json")
    Vocabulary((*known.items[1:], "other"), known.counts).save(project.model / "vocabulary.json")
    with pytest.raises(UserError, match="another vocabulary") as caught:
        evaluate.run(project)
    assert "\n" not in str(caught.value)
    assert (project.evaluation / "metrics.json").read_bytes() == before


def test_a_split_without_test_cases_is_refused(project):
    np.save(project.sequences / "test.npy", np.full(USERS, -1))
    with pytest.raises(UserError, match="no test cases"):
        evaluate.run(project)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("metrics: [hr@10, ndgc@10]", "did you mean 'ndcg@10'"),
        ("metrics: []", "evaluate.metrics"),
        ("metrics: [mrr, mrr]", "named twice"),
        ("negatives: 0", "evaluate.negatives"),
        ("negative: 7", "did you mean 'negatives'"),
    ],
)
def test_params_that_do_not_fit_are_refused_in_one_line(project, section, message):
    project.params.write_text(f"evaluate:\n  {section}\n")
    with pytest.raises(UserError, match=message) as caught:
        EvaluateParams.load(project.params)
    assert "\n" not in str(caught.value)


def test_the_report_can_be_printed_again(project, monkeypatch):
    evaluate.run(project)
    monkeypatch.chdir(project.root)
    runner = CliRunner()
    shown = runner.invoke(app, ["report"])
    assert shown.exit_code == 0
    for words in (
        "full ranking",
        "popularity (model)",
        "comparison with the paper only",
        "1 cold, 1 in",
    ):
        assert words in shown.output
    as_json = runner.invoke(app, ["report", "--json"])
    assert json.loads(as_json.output) == read(project.evaluation / "report.json")


def test_one_item_and_one_user_are_enough(project):
    """A catalogue of one item that everyone has seen: nothing works, nothing breaks."""
    folder = project.sequences
    for name, value in {
        "items": np.zeros(3, np.int32),
        "times": np.arange(3),
        "offsets": np.array([0, 3]),
        "train_end": np.array([1]),
        "validation": np.array([1]),
        "test": np.array([2]),
    }.items():
        np.save(folder / f"{name}.npy", value)
    pq.write_table(pa.table({"user_id": ["u"]}), folder / "users.parquet")
    Vocabulary(("i",), (1,)).save(folder / "vocabulary.json")
    shutil.copy(folder / "vocabulary.json", project.model)
    save_model(Popularity.fit(SequenceData.load(folder).train(), 1), project.model)
    evaluate.run(project)
    full = read(project.evaluation / "metrics.json")["full"]
    assert {value for model in full.values() for value in model.values()} == {0.0}


def test_a_network_that_learnt_nothing_of_seen_items_is_not_ranked_by_them(project):
    data = SequenceData.load(project.sequences)
    model = Popularity.fit(data.train(), data.vocabulary.size)
    network = Bert4Rec(Encoder(data.vocabulary.size, 5, 8, 1, 2, 0.0, 0.0))
    about = {"split_fingerprint": data.fingerprint, "params": {"filter_seen": True}}
    project.params.write_text(PARAMS + "  filter_seen: false\n")
    save_model(network, project.model, about)
    with pytest.raises(UserError, match="its scores of seen items mean nothing"):
        evaluate.run(project)
    save_model(model, project.model, about)  # counts do not depend on what is filtered
    evaluate.run(project)


def test_a_model_that_is_not_proven_better_than_a_baseline_is_named(project, capsys):
    test = TestSet.load(project)
    users = len(test.cases)

    def ranks(model, popularity, markov):
        named = {"model": model, "popularity": popularity, "markov": markov}
        return {name: Ranks(np.array(one)) for name, one in named.items()}

    first, third, last = [1] * users, [3] * users, [test.n_items] * users
    mixed = [1, *last[1:]]
    evaluate._warn_unproven("sasrec", ranks(third, last, first), test)
    assert capsys.readouterr().err == (
        "evaluate: warning: sasrec is not proven better than markov "
        "(NDCG@10 -.5000 [-.5000, -.5000]): use markov\n"  # 1 / log2(4) - 1 / log2(2)
    )
    evaluate._warn_unproven("sasrec", ranks(mixed, last, last), test)
    assert "sasrec is not proven better than" in capsys.readouterr().err
    evaluate._warn_unproven("sasrec", ranks(first, third, last), test)
    evaluate._warn_unproven("markov", ranks(first, third, first), test)
    assert capsys.readouterr().err == ""


def test_order_is_worth_nothing_to_popularity_and_much_to_a_markov_chain(project, capsys):
    data = SequenceData.load(project.sequences)
    save_model(Markov.fit(data.train(), data.vocabulary.size), project.model)
    evaluate.run(project)
    found = read(project.evaluation / "report.json")
    shuffled = found["shuffled"]
    assert shuffled["before"] == found["protocols"]["full"]["model"]["ndcg@10"]["value"]
    assert 0 < shuffled["low"] <= shuffled["value"] <= shuffled["high"]
    assert "with the items of each history shuffled it changes by -" in capsys.readouterr().out
    save_model(Popularity.fit(data.train(), data.vocabulary.size), project.model)
    evaluate.run(project)
    assert read(project.evaluation / "report.json")["shuffled"]["value"] == 0


def test_ties_in_time_are_counted_where_times_are_real(project, capsys):
    evaluate.run(project)
    assert read(project.evaluation / "report.json")["ties"] is None
    data = SequenceData.load(project.sequences)
    times = 10**15 + np.arange(len(data.items)) * 10**9
    ends = data.offsets[1:]
    times[ends[2] - 2] = times[ends[2] - 1]  # user 2's last two; the users' own times are apart
    np.save(project.sequences / "times.npy", times)
    evaluate.run(project)
    assert read(project.evaluation / "report.json")["ties"] == {
        "targets": USERS,
        "tied_targets": 1,
        "tied_target_share": 1 / USERS,
    }
    assert "Ties in time: 1.7% of the targets" in capsys.readouterr().out


def test_leave_one_out_is_named_as_leaky(project, capsys):
    evaluate.run(project)
    assert "Leave-one-out:" not in capsys.readouterr().out
    write_json(
        project.sequences / "report.json", {"fingerprint": "split-0", "protocol": "leave-one-out"}
    )
    evaluate.run(project)
    assert "training has interactions of other users that are later" in capsys.readouterr().out


def test_repeat_and_explore_are_slices_where_seen_items_are_not_filtered(project):
    def groups():
        evaluate.run(project)
        report = read(project.evaluation / "report.json")
        return {one["group"]: one for one in report["slices"]}

    assert "repeat" not in groups()
    project.params.write_text(PARAMS + "  filter_seen: false\n")
    found = groups()
    assert (found["repeat"]["users"], found["explore"]["users"]) == (1, USERS - 1)


def test_figures_beyond_accuracy_are_in_the_report(project):
    evaluate.run(project)
    report = read(project.evaluation / "report.json")
    assert report["beyond_accuracy"]["popularity"]["serendipity"] == 0
    assert report["beyond_accuracy"]["markov"]["serendipity"] > 0.5
    for figures in report["beyond_accuracy"].values():
        assert 0 <= figures["gini"] <= 1
        assert 0 <= figures["diversity"] <= 1
    assert set(report["unbiased"]["models"]) == set(MODELS)
    assert 0 < report["unbiased"]["models"]["markov"]["ndcg@10"] < 1


def test_users_with_several_targets_count_once(project, capsys):
    """The last three interactions of every user are targets; means and resamples are of users."""
    folder = project.sequences
    ends = SequenceData.load(folder).offsets[1:].copy()
    ends[1:] -= np.arange(1, USERS) % 3  # users have three, two or one
    np.save(folder / "test.npy", np.minimum(ends - 1, SequenceData.load(folder).offsets[1:] - 1))
    write_json(folder / "report.json", {"fingerprint": "several", "targets": "successive"})
    evaluate.run(project)
    report, metrics = (read(project.evaluation / f"{name}.json") for name in ("report", "metrics"))
    ranks = pd.read_parquet(project.evaluation / "ranks.parquet")
    kept = ranks[(ranks.protocol == "full") & (ranks.model == "markov")]
    assert (report["users"], metrics["users"], report["targets"]) == (USERS, USERS, len(kept))
    assert len(kept) == sum(1 + user % 3 for user in range(USERS))
    assert f"{USERS} test users, {len(kept)} targets, {ITEMS} items" in capsys.readouterr().out
    gains = pd.Series(per_case("mrr", kept["rank"].to_numpy(), ITEMS), kept.user_id.to_numpy())
    means = gains.groupby(level=0).mean()
    assert len(means) == USERS
    assert metrics["full"]["markov"]["mrr"] == pytest.approx(means.mean())
    everyone = next(one for one in report["slices"] if one["group"] == "all")
    assert everyone["users"] == USERS
    found = report["protocols"]["full"]["markov"]["mrr"]
    error = means.std(ddof=0) / USERS**0.5  # of a mean over users
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_recent_popularity_is_a_baseline_where_times_are_real(project):
    evaluate.run(project)
    assert "recent-popularity" not in read(project.evaluation / "metrics.json")["full"]
    data = SequenceData.load(project.sequences)
    np.save(project.sequences / "times.npy", 10**15 + np.arange(len(data.items)) * 10**10)
    evaluate.run(project)
    report = read(project.evaluation / "report.json")
    assert set(report["protocols"]["full"]) == {*MODELS, "recent-popularity"}
    test = TestSet.load(project)
    figures = {
        days: means(["ndcg@10"], rank_cases(model, test.data.cases("validation")).full, ITEMS)
        for days in HALF_LIVES_DAYS
        for model in [RecentPopularity.fit(test.data.train(), ITEMS, days)]
    }
    best = max(figures.values(), key=lambda one: one["ndcg@10"])
    assert figures[report["half_life_days"]] == best


def test_without_validation_targets_the_half_life_is_the_usual_one(project):
    np.save(project.sequences / "validation.npy", np.full(USERS, -1))
    test = TestSet.load(project)
    assert test.baseline("recent-popularity").half_life_days is None  # no real times
    np.save(project.sequences / "times.npy", 10**15 + np.arange(len(test.data.items)))
    assert TestSet.load(project).baseline("recent-popularity").half_life_days == 90
