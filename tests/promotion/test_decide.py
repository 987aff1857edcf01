"""The decision: verdicts, first models, evidence that cannot be judged, and what always holds."""

import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decision_cases import (
    CATALOGUE,
    CHAMPION,
    MISS,
    POOR,
    evidence,
    failing,
    only,
    policy,
    ranks,
    row,
    scored,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl import limits
from recctl.errors import UserError
from recctl.evaluation.slices import Slice
from recctl.promotion.judge.decision import decide
from recctl.promotion.judge.evidence import Conduct, Evidence, Scored, Training
from recctl.promotion.judge.policy import Guardrails, Leak, Primary, PromotionParams, Slices


def test_a_better_challenger_is_promoted():
    found = decide(evidence(), policy())
    assert found.verdict == "promoted"
    assert failing(found.gates) == []
    assert found.sentence.startswith("promoted: NDCG@10 .4600 against .3000 (+.1600 [+.14")
    passed = sum(one.outcome == "pass" for one in found.gates)
    assert found.sentence.endswith(f"; {passed} gates passed.")


def test_a_metric_that_is_only_not_worse_is_called_so():
    better_placed = ranks((200, 1), (300, MISS))  # the same 200 hits as the champion
    found = decide(evidence(better_placed), policy())
    assert found.sentence.startswith("promoted: NDCG@10 .4000 against .3000 (+.1000 [")
    assert "HR@10 not worse (+.0000 [+.0000, +.0000])" in found.sentence


def test_the_same_ranks_are_rejected():
    found = decide(evidence(CHAMPION), policy())
    assert found.verdict == "rejected"
    assert failing(found.gates) == [("primary", "better in one")]
    assert found.sentence.startswith("rejected: not proven better in NDCG@10 or HR@10")


def test_a_worse_challenger_is_rejected_with_two_reasons_and_their_number():
    found = decide(evidence(POOR), policy())
    assert found.verdict == "rejected"
    reasons = len(failing(found.gates))
    assert found.sentence.startswith("rejected: NDCG@10 -.2000 [")
    assert found.sentence.endswith(f"; and {reasons - 2} more.")


def test_refused_comes_before_suspicious_and_that_before_rejected():
    capped = Training(30, 30, True, True)
    assert decide(evidence(training=capped), policy()).verdict == "rejected"
    strict = policy(suspicious_gain=0.1)
    both = decide(evidence(training=capped), strict)
    assert both.verdict == "suspicious"
    assert "too good to be true" in both.sentence
    assert ("convergence", "training") in failing(both.gates)
    all_three = decide(evidence(training=capped, overlap=None), strict)
    assert all_three.verdict == "refused"


@pytest.mark.parametrize(
    "empty",
    [
        {},
        {"floors": {}, "baselines": []},
        {"guardrails": Guardrails()},
        {"first_model": "any"},
    ],
)
def test_an_empty_policy_refuses(empty):
    found = decide(evidence(), only(**empty))
    assert found.verdict == "refused"
    assert "turns every gate off" in found.sentence
    assert decide(evidence(champion=None), only(**empty)).verdict == "refused"


@pytest.mark.parametrize(
    "rules",
    [{"convergence": True}, {"serving": True}, {"leak": Leak()}, {"suspicious_gain": 5.0}],
)
def test_a_policy_that_judges_nothing_of_the_challenger_refuses(rules):
    found = decide(evidence(), only(**rules))
    assert found.verdict == "refused"
    assert "nothing speaks for it" in found.sentence


def test_small_slices_alone_judge_nothing():
    found = decide(evidence(), only(slices=Slices(minimum_users=1000)))
    assert found.verdict == "refused"


def test_each_gate_may_be_on_alone():
    for rules in (
        {"primary": Primary()},
        {"floors": {"hr@10": 0.4}},
        {"baselines": ["popularity"]},
        {"slices": Slices(minimum_users=100)},
        {"guardrails": Guardrails(size_ratio=2.0)},
    ):
        found = decide(evidence(), only(**rules))
        assert found.verdict == "promoted", rules
        assert {one.gate for one in found.gates} == {"evidence", "leak", *rules}


# first models


def test_a_first_model_is_promoted_by_its_baselines():
    found = decide(evidence(champion=None), policy())
    assert found.verdict == "promoted"
    assert row(found.gates, "first_model").outcome == "pass"
    assert found.sentence.startswith("promoted: first model, NDCG@10 .4600, HR@10 .5200; ")
    assert {one.gate for one in found.gates if one.outcome == "pass"} == {
        "evidence",
        "leak",
        "baselines",
        "serving",
        "convergence",
        "first_model",
    }
    assert "+360% against the best baseline" in row(found.gates, "primary", "ndcg@10").reason


def test_a_first_model_that_beats_no_baseline_is_rejected():
    found = decide(evidence(POOR, None), policy())
    assert found.verdict == "rejected"
    assert row(found.gates, "first_model").outcome == "fail"
    assert decide(evidence(POOR, None), policy(first_model="any")).verdict == "promoted"


def test_a_first_model_below_a_floor_is_rejected():
    assert decide(evidence(champion=None), policy(floors={"hr@10": 0.6})).verdict == "rejected"
    assert decide(evidence(champion=None), only(floors={"hr@10": 0.4})).verdict == "promoted"


def test_a_first_model_needs_something_to_prove_it_by():
    found = decide(evidence(champion=None), only(primary=Primary()))
    assert found.verdict == "refused"
    assert "neither floors nor baselines are on" in found.sentence


def test_any_sound_first_model_still_must_be_sound():
    rules = policy(first_model="any", floors={"hr@10": 0.99})
    found = decide(evidence(champion=None), rules)
    assert found.verdict == "promoted"
    assert row(found.gates, "floors").outcome == "shown"
    capped = Training(30, 30, True, True)
    assert decide(evidence(champion=None, training=capped), rules).verdict == "rejected"
    assert decide(evidence(champion=None, leaks={}), rules).verdict == "refused"
    assert decide(evidence(champion=None, baselines={}), rules).verdict == "promoted"


def test_a_first_model_is_not_promoted_unless_forced():
    found = decide(evidence(champion=None), policy(first_model="none"))
    assert found.verdict == "rejected"
    assert "--force --reason" in found.sentence


def test_a_best_version_is_a_judge_even_where_no_champion_serves():
    found = decide(evidence(champion=None, best=scored(ranks((400, 1), (100, MISS)))), policy())
    assert found.verdict == "rejected"
    assert ("ratchet", "ndcg@10") in failing(found.gates)


# evidence that cannot be judged

ROLES = ["challenger", "champion", "best", "popularity"]


def with_model(role: str, one: Scored, made: Evidence | None = None) -> Evidence:
    """Evidence in which this model is another."""
    made = made or evidence(best=scored(CHAMPION))
    if role == "popularity":
        return replace(made, baselines={**made.baselines, role: one})
    return replace(made, **{role: one})


def refused(made: Evidence) -> str:
    found = decide(made, policy())
    assert found.verdict == "refused"
    assert all(one.gate in ("evidence", "leak") for one in found.gates)
    assert "  " not in found.sentence
    return found.sentence


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "bad", [np.nan, np.inf, -np.inf, 0, -1, 1.5, CATALOGUE + 2, 1e300], ids=str
)
def test_a_rank_that_is_none_refuses(role, bad):
    wrong = CHAMPION.astype(float)
    wrong[7] = bad
    assert f"1 ranks that are not whole numbers from 1 to 51, such as {bad}" in refused(
        with_model(role, scored(wrong))
    )


@pytest.mark.parametrize("role", ROLES)
def test_users_that_differ_refuse(role):
    users = np.arange(500)
    missing = Scored("today", users[1:], CHAMPION[1:])
    assert "lacks 1 of the 500 test users and has 0 others" in refused(with_model(role, missing))
    extra = Scored("today", np.arange(501), np.append(CHAMPION, 1))
    assert "lacks 0 of the 500 test users and has 1 others" in refused(with_model(role, extra))
    other = Scored("today", np.where(users == 3, 900, users), CHAMPION)
    assert "lacks 1 of the 500 test users and has 1 others" in refused(with_model(role, other))
    twice = Scored("today", np.where(users == 3, 4, users), CHAMPION)
    assert "has 1 users more than once" in refused(with_model(role, twice))
    again = Scored("today", np.append(users, 4), np.append(CHAMPION, 1))
    assert "has 1 users more than once" in refused(with_model(role, again))
    short = Scored("today", users, CHAMPION[:-1])
    assert "has 499 ranks for 500 users" in refused(with_model(role, short))
    empty = Scored("today", users[:0], CHAMPION[:0])
    assert "lacks 500 of the 500 test users" in refused(with_model(role, empty))


@pytest.mark.parametrize("role", ROLES)
def test_another_protocol_refuses(role):
    said = refused(with_model(role, scored(CHAMPION, "yesterday")))
    assert "scored under protocol yesterday and today's is today" in said


@pytest.mark.parametrize(
    "ranks_given",
    [CHAMPION.astype(str), CHAMPION.astype(object), CHAMPION > 2, CHAMPION.reshape(500, 1)],
    ids=["text", "objects", "booleans", "a column"],
)
def test_ranks_that_are_not_numbers_refuse(ranks_given):
    refused(with_model("champion", Scored("today", np.arange(500), ranks_given)))


def test_users_that_are_not_numbers_refuse():
    users = np.arange(500)
    refused(with_model("champion", Scored("today", users.astype(float), CHAMPION)))
    refused(evidence(users=users[::-1]))
    refused(evidence(users=users.astype(str)))
    refused(evidence(users=np.zeros(500, np.int64)))


def test_a_test_set_without_users_or_nearly_refuses():
    for users in (0, 1, 5):
        few = ranks((users, 1))
        assert "prove nothing" in refused(evidence(few, few + 1, baselines={}, slices=[]))
    refused(evidence(catalogue=0))


def test_evidence_without_a_fingerprint_refuses():
    nameless = scored(CHAMPION, "")
    made = replace(evidence(), fingerprint="", challenger=nameless, champion=nameless)
    assert "protocol unknown and today's is unknown" in refused(replace(made, baselines={}))


def test_slices_that_do_not_fit_refuse():
    for members in (np.ones(499, np.bool_), np.ones(500), np.arange(5)):
        refused(evidence(slices=[Slice("users", "newest", "", members)]))


def test_problems_refuse_in_their_own_words():
    said = refused(evidence(problems=["the digest of version 7 does not fit"]))
    assert said == "refused: the digest of version 7 does not fit."


def test_too_few_users_after_a_leak_refuse():
    new, old = ranks((9, 1)), ranks((9, MISS))
    masks = dict.fromkeys(("challenger", "champion"), np.arange(9) < 4)
    given = evidence(new, old, leaks=masks, slices=[], baselines={})
    assert "too few stay" in refused_by(
        given, only(primary=Primary(), leak=Leak(excluded_share=0.9))
    )


def refused_by(made, rules):
    found = decide(made, rules)
    assert found.verdict == "refused"
    return found.sentence


# what always holds


def changed(made: Evidence, change: Callable[[Scored], Scored], **more: Any) -> Evidence:
    """Evidence in which every model is changed."""
    models = {name: change(one) for name, one in made.models.items()}
    baselines = {name: change(one) for name, one in made.baselines.items()}
    return replace(made, **models, baselines=baselines, **more)


DRAWN = st.integers(0, 2**32 - 1)
QUICK = settings(deadline=None, max_examples=40)


def drawn(seed: int, users: int | None = None, shift: float = 0.0) -> Evidence:
    """Random evidence with two models of related ranks, better by about `shift` in log rank."""
    rng = np.random.default_rng(seed)
    users = users or int(rng.integers(6, 400))
    hard = rng.normal(1.5, 1.0, users)

    def model(gain: float) -> np.ndarray:
        logs = hard - gain + rng.normal(0, 0.7, users)
        return np.clip(np.ceil(np.exp(logs)), 1, CATALOGUE + 1)

    made = evidence(model(shift), model(0.0))
    return replace(
        made,
        best=scored(model(0.0)),
        baselines={"popularity": scored(model(-1.0)), "markov": scored(model(-0.8))},
    )


@QUICK
@given(DRAWN, st.floats(-0.5, 1.0))
def test_the_order_of_users_never_matters(seed, shift):
    made = drawn(seed, shift=shift)
    rng = np.random.default_rng(seed)

    def shuffled(one: Scored) -> Scored:
        order = rng.permutation(len(one.users))
        return Scored(one.fingerprint, one.users[order], np.asarray(one.ranks)[order])

    assert decide(changed(made, shuffled), policy()) == decide(made, policy())


@QUICK
@given(DRAWN, st.floats(-0.5, 1.0))
def test_the_numbering_of_users_never_matters(seed, shift):
    """Users in another order throughout, with their slices and leaks."""
    made = drawn(seed, shift=shift)
    order = np.random.default_rng(seed).permutation(len(made.users))

    def moved(one: Scored) -> Scored:
        return Scored(one.fingerprint, one.users, np.asarray(one.ranks)[order])

    slices = [replace(one, members=one.members[order]) for one in made.slices]
    assert decide(changed(made, moved, slices=slices), policy()) == decide(made, policy())


@QUICK
@given(DRAWN, st.floats(-0.8, 0.8), st.floats(0, 0.3))
def test_two_models_never_both_replace_each_other(seed, shift, margin):
    made = drawn(seed, shift=shift)
    swapped = replace(made, challenger=made.champion, champion=made.challenger)
    rules = only(primary=Primary(margin=margin))
    verdicts = {decide(made, rules).verdict, decide(swapped, rules).verdict}
    assert verdicts != {"promoted"}


def test_two_models_never_both_replace_each_other_whatever_was_traded():
    """All ways in which few or many users gain and lose by either metric."""
    rules = only(primary=Primary(margin=0.3))
    steps = [(MISS, 10), (10, 1), (1, 2), (1, MISS)]  # up a little, up far, down a little, lost
    for sizes in product((0, 40, 400), repeat=4):
        moves = [(users, old, new) for users, (old, new) in zip(sizes, steps, strict=True)]
        old = ranks(*[(n, a) for n, a, _ in moves], (2000, MISS))
        new = ranks(*[(n, b) for n, _, b in moves], (2000, MISS))
        forth = decide(evidence(new, old, slices=[]), rules).verdict
        back = decide(evidence(old, new, slices=[]), rules).verdict
        assert {forth, back} != {"promoted"}, sizes


@QUICK
@given(DRAWN)
def test_identical_ranks_never_promote(seed):
    made = drawn(seed)
    same = replace(made, champion=made.challenger)
    for rules in (policy(), only(primary=Primary(margin=0.9))):
        assert decide(same, rules).verdict == "rejected"


@QUICK
@given(DRAWN, st.sampled_from(["nan", "missing", "twice", "fingerprint"]), st.sampled_from(ROLES))
def test_damage_to_any_model_always_refuses(seed, damage, role):
    made = drawn(seed, shift=1.0)
    one = made.baselines[role] if role == "popularity" else getattr(made, role)
    place = seed % len(one.users)
    users, of = one.users.copy(), np.asarray(one.ranks).copy()
    if damage == "nan":
        of[place] = np.nan
    elif damage == "missing":
        users, of = np.delete(users, place), np.delete(of, place)
    elif damage == "twice":
        users[place] = users[place - 1]
    name = "other" if damage == "fingerprint" else one.fingerprint
    found = decide(with_model(role, Scored(name, users, of), made), policy())
    assert found.verdict == "refused"
    assert not any(one.gate == "primary" for one in found.gates)


@QUICK
@given(DRAWN, st.floats(0.2, 1.2))
def test_a_challenger_better_for_every_user_is_not_rejected_where_the_lesser_was_promoted(
    seed, shift
):
    """The thresholds of the second decision are looser by more than chance in the bootstrap."""
    made = drawn(seed, users=300, shift=shift)
    strict = only(primary=Primary(margin=0.0, min_gain=0.01))
    if decide(made, strict).verdict != "promoted":
        return
    rng = np.random.default_rng(seed)
    of = np.asarray(made.challenger.ranks)
    higher = np.maximum(1, of - rng.integers(0, 4, len(of)))
    better = replace(made, challenger=scored(higher))
    assert decide(better, only(primary=Primary(margin=0.01))).verdict == "promoted"


@QUICK
@given(DRAWN)
def test_the_same_evidence_always_gives_the_same_decision_and_plain_numbers(seed):
    made = drawn(seed, shift=0.5)
    found = decide(made, policy(floors={"hr@10": 0.2}))
    assert decide(made, policy(floors={"hr@10": 0.2})) == found
    text = json.dumps(dataclasses.asdict(found), allow_nan=False)  # what the log will hold
    assert json.loads(text)["verdict"] == found.verdict
    for one in found.gates:
        if one.low is not None and one.difference is not None:
            assert one.low <= one.difference + 1e-12
            assert one.difference - 1e-12 <= one.high
        assert one.reason
        assert "\n" not in one.reason


def test_a_row_depends_on_no_other():
    alone = decide(evidence(), only(primary=Primary(metrics=["hr@10"])))
    among = decide(evidence(), policy(floors={"ndcg@10": 0.1}))
    assert row(alone.gates, "primary", "hr@10") == row(among.gates, "primary", "hr@10")


def test_evidence_is_not_changed():
    made = evidence()
    before = made.challenger.ranks.copy(), made.slices[0].members.copy()
    decide(made, policy())
    assert np.array_equal(made.challenger.ranks, before[0])
    assert np.array_equal(made.slices[0].members, before[1])


# the gate's error rates: the quick version of benchmarks/gate_calibration.py


@pytest.fixture(scope="module")
def calibration():
    folder = str(Path(__file__).resolve().parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import gate_calibration

        yield gate_calibration
    finally:
        sys.path.remove(folder)


def test_the_simulation_is_what_it_says(calibration):
    rng = np.random.default_rng(0)
    hard = rng.standard_normal(200_000)
    for gain in (0.0, 0.05):
        found = calibration.ranks(calibration.typical_for(gain), hard, rng, calibration.SHARED)
        hits = found[found <= 10]
        ndcg = (1 / np.log2(hits + 1)).sum() / len(found)
        assert ndcg == pytest.approx(0.2484 + gain, abs=0.003)  # four standard errors


def test_equal_challengers_are_promoted_at_most_at_the_nominal_level(calibration):
    pairs = 400
    count = calibration.promotions(users=1800, gain=0.0, pairs=pairs)
    # of 5% of 400 = 20, 33 or more come up once in 300 such tests; 10% would give 40
    assert count.one_is_better < 33
    assert count.whole <= count.primary <= count.one_is_better


def test_challengers_worse_by_the_margin_are_not_promoted(calibration):
    count = calibration.promotions(users=6000, gain=-0.005, pairs=200)
    assert count.primary <= 2


def test_better_challengers_are_promoted(calibration):
    count = calibration.promotions(users=1800, gain=0.05, pairs=30)
    assert count.whole >= 27
    count = calibration.promotions(users=6000, gain=0.02, pairs=30)
    assert count.primary >= 26


def test_a_policy_of_params_yaml_is_the_one_that_is_calibrated(calibration):
    root = Path(__file__).resolve().parents[2]
    ours = PromotionParams.load(root / "params.yaml")
    calibrated = calibration.whole_policy(ours.resamples, ours.seed)
    assert calibrated == ours.model_copy(update={"floors": None})


def test_conduct_is_not_asked_for_by_other_gates():
    made = evidence(conduct={"challenger": Conduct(), "champion": Conduct()}, overlap=None)
    assert decide(made, policy(guardrails=None)).verdict == "promoted"


@pytest.mark.parametrize("catalogue", [2**32, 2**40, limits.RANKED, np.int32(100)])
@pytest.mark.parametrize("dtype", [np.uint64, np.int64, np.float64])
@pytest.mark.parametrize("metric", ["mrr", "ndcg@10", "ndcg@5000000000"])
def test_no_number_overflows(catalogue: int, dtype: type, metric: str) -> None:
    """The verdict is the same where ranks and catalogue are at the ends of their types."""
    users = np.arange(400)
    last = int(catalogue) + 1
    better = np.where(users % 4 == 0, 1, last).astype(dtype)
    worse = np.where(users % 4 == 0, 2, last).astype(dtype)
    for new, old, verdict in ((better, worse, "promoted"), (worse, better, "rejected")):
        found = decide(
            evidence(new, old, catalogue=catalogue, slices=[]),
            only(primary=Primary(metrics=[metric])),
        )
        assert found.verdict == verdict


def test_a_catalogue_beyond_every_rank_is_refused() -> None:
    found = decide(evidence(catalogue=limits.RANKED + 1), policy())
    assert found.verdict == "refused"
    assert "more than" in found.sentence


@pytest.mark.parametrize("gate", [{"primary": {}}, {"ratchet": {}}, {"primary": {}, "floors": {}}])
def test_a_policy_that_compares_with_the_champion_judges(tmp_path: Path, gate: dict) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({"promotion": gate}))
    assert PromotionParams.judging(path) == PromotionParams.load(path)


@pytest.mark.parametrize(
    "gates",
    [
        {},
        {"floors": {"ndcg@10": 0.01}},
        {"baselines": ["popularity"], "convergence": True, "leak": {}},
        {"slices": {"margin": 0.03}, "guardrails": {"coverage_loss": 0.5}, "suspicious_gain": 0.5},
    ],
    ids=str,
)
def test_a_policy_that_compares_nothing_is_refused_and_stays_readable(
    tmp_path: Path, gates: dict
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({"promotion": gates}))
    PromotionParams.load(path)  # as history, rollback and old decisions read it
    with pytest.raises(UserError, match="compares no challenger with the champion"):
        PromotionParams.judging(path)
