"""Each gate alone, on tables whose figures can be worked out by hand."""

from dataclasses import replace
from math import log2, sqrt

import numpy as np
import pytest
from decision_cases import (
    BETTER,
    CATALOGUE,
    CHAMPION,
    MISS,
    POOR,
    evidence,
    only,
    policy,
    ranks,
    row,
    scored,
)
from scipy.stats import binom

from recctl.evaluation.slices import Slice
from recctl.promotion.judge.checks import checked
from recctl.promotion.judge.comparison import Counter
from recctl.promotion.judge.decision import decide
from recctl.promotion.judge.evidence import Conduct, Serving, Training
from recctl.promotion.judge.policy import (
    Guardrails,
    Leak,
    Primary,
    PromotionParams,
    Ratchet,
    Slices,
)
from recctl.training.curve import end


def gates(given, rules):
    return decide(given, rules).gates


def test_pairs_count_what_users_have():
    new, old = np.array([1, 1, 2, 30, 51, 1]), np.array([1, 3, 2, 11, 2, 1])
    judged = checked(evidence(new, old, slices=[]), only(primary=Primary()))[1]
    pairs = Counter(judged, ["ndcg@10", "hr@10"]).pairs(judged.ranks["champion"])
    cells = {(a, b): n for a, b, n in zip(pairs.new, pairs.old, pairs.counts, strict=True)}
    assert cells == {(1, 1): 2, (1, 3): 1, (2, 2): 1, (11, 2): 1, (11, 11): 1}
    assert pairs.means("hr@10") == pytest.approx((4 / 6, 5 / 6))
    found = pairs.differences("ndcg@10")
    assert found.values.tolist() == pytest.approx([-1 / log2(3), 0, 1 - 1 / log2(4)])
    assert found.counts.tolist() == [1, 4, 1]


@pytest.mark.parametrize("metric", ["mrr", "ndcg@60", "hr@50"])
def test_metrics_without_a_near_cutoff_are_counted_too(metric, monkeypatch):
    draws = np.random.default_rng(0)
    new, old = draws.integers(1, CATALOGUE + 2, (2, 500))
    judged = checked(evidence(new, old, slices=[]), only(primary=Primary()))[1]
    near = Counter(judged, [metric]).pairs(judged.ranks["champion"])
    monkeypatch.setattr("recctl.promotion.judge.comparison._TABLE", 0)  # the way of huge catalogues
    far = Counter(judged, [metric]).pairs(judged.ranks["champion"])
    expected = {"mrr": lambda r: (1 / r) * (r <= 50), "hr@50": lambda r: 1.0 * (r <= 50)}
    expected["ndcg@60"] = lambda r: (r <= 50) / np.log2(r + 1)
    for pairs in (near, far):
        assert pairs.means(metric) == pytest.approx(
            (expected[metric](new).mean(), expected[metric](old).mean())
        )


def test_primary_shows_figures_interval_and_what_can_be_resolved():
    found = row(gates(evidence(), policy()), "primary", "ndcg@10")
    # 100 users gain 1 - 1/2, 60 gain 1/2, 340 nothing
    spread = sqrt(160 * 0.5**2 / 500 - 0.16**2)
    assert (found.challenger, found.reference) == pytest.approx((0.46, 0.3))
    assert found.difference == pytest.approx(0.16)
    assert found.low == pytest.approx(0.16 - 1.96 * spread / sqrt(500), abs=0.004)
    assert found.high == pytest.approx(0.16 + 1.96 * spread / sqrt(500), abs=0.004)
    assert found.p_value == 1 / 1001
    assert found.details["effect_size"] == pytest.approx(0.16 / spread)
    assert found.details["resolvable"] == pytest.approx(2.8016 * spread / sqrt(500), rel=1e-4)
    assert (found.outcome, found.users, found.threshold) == ("pass", 500, -0.005)
    assert found.reason.startswith("NDCG@10 +.1600 [+.14")


def outcomes(rows, gate):
    return {one.name: one.outcome for one in rows if one.gate == gate}


def test_primary_needs_one_better():
    found = gates(evidence(CHAMPION), only(primary=Primary()))
    assert outcomes(found, "primary") == {
        "ndcg@10": "pass",
        "hr@10": "pass",
        "better in one": "fail",
    }
    assert "not proven better in NDCG@10 or HR@10" in row(found, "primary", "better in one").reason


def test_a_gain_must_exceed_the_least_gain():
    for least, outcome in ((0.10, "pass"), (0.15, "fail")):  # NDCG +.16 +- .02, HR +.12 +- .03
        rules = only(primary=Primary(min_gain=least))
        assert row(gates(evidence(), rules), "primary", "better in one").outcome == outcome


def test_primary_needs_none_worse_even_where_one_is_better():
    # 100 users rise from rank 10 to 1, and 30 are lost: NDCG rises, HR falls by .06
    old = ranks((100, 10), (30, 10), (370, MISS))
    new = ranks((100, 1), (400, MISS))
    found = gates(evidence(new, old), only(primary=Primary(margin=0.03)))
    assert outcomes(found, "primary") == {
        "ndcg@10": "pass",
        "hr@10": "fail",
        "better in one": "pass",
    }
    assert decide(evidence(new, old), only(primary=Primary(margin=0.03))).verdict == "rejected"


def test_a_small_test_set_fails_closed():
    # no difference in the mean, yet of 12 users nothing can be ruled out
    new, old = ranks((3, 1), (3, MISS), (6, MISS)), ranks((3, MISS), (3, 1), (6, MISS))
    found = gates(evidence(new, old), only(primary=Primary()))
    assert row(found, "primary", "ndcg@10").difference == 0
    assert row(found, "primary", "ndcg@10").outcome == "fail"
    assert "cannot be ruled out" in row(found, "primary", "ndcg@10").reason


def test_gains_of_four_users_in_six_are_not_proof():
    # one bootstrap mean in 700 has no gain, but of 16 sign patterns of the four 2 reach their sum
    found = gates(evidence(ranks((4, 1), (2, MISS)), ranks((6, MISS))), only(primary=Primary()))
    ndcg = row(found, "primary", "ndcg@10")
    assert ndcg.low > 0
    assert ndcg.p_value == pytest.approx(2 / 2**4, abs=0.04)
    assert row(found, "primary", "better in one").outcome == "fail"


def large(loser):
    """60,000 users: one metric proven better, the other proven worse by less than .005."""
    ndcg_up = ranks((2000, 10), (150, 10), (57_850, MISS)), ranks((2000, 1), (58_000, MISS))
    return ndcg_up[::-1] if loser == "hr@10" else ndcg_up


def test_two_models_never_replace_each_other_by_turns():
    up, down = large("hr@10"), large("ndcg@10")
    rules = only(primary=Primary(margin=0.05))
    assert decide(evidence(*up), rules).verdict == "promoted"  # NDCG is named first
    found = decide(evidence(*down), rules)
    assert found.verdict == "rejected"
    assert row(found.gates, "primary", "better in one").reason == (
        "HR@10 is better, but NDCG@10, named before it, is proven to fall"
    )
    other = only(primary=Primary(metrics=["hr@10", "ndcg@10"], margin=0.05))
    assert decide(evidence(*down), other).verdict == "promoted"
    assert decide(evidence(*up), other).verdict == "rejected"


def test_floors_hold_for_the_lower_end():
    # HR@10 .52 of 500 users: 1.96 sqrt(.52 x .48 / 500) = .0438 below it is .476
    for floor, outcome in ((0.47, "pass"), (0.485, "fail"), (0.53, "fail")):
        found = row(gates(evidence(), policy(floors={"hr@10": floor})), "floors")
        assert (found.outcome, found.challenger, found.threshold) == (outcome, 0.52, floor)
        assert found.low == pytest.approx(0.476, abs=0.006)


def test_baselines_must_be_beaten_by_the_first_metric():
    near = scored(ranks((100, 1), (100, 1), (60, 2), (240, MISS)))  # same hits, better placed
    given = evidence(baselines={"popularity": scored(POOR), "markov": near})
    found = outcomes(gates(given, policy()), "baselines")
    assert found == {
        "popularity: ndcg@10": "pass",
        "popularity: hr@10": "shown",
        "markov: ndcg@10": "fail",
        "markov: hr@10": "shown",
    }


def test_a_baseline_that_was_not_scored_refuses():
    given = evidence(baselines={"popularity": scored(POOR)})
    found = row(gates(given, policy()), "baselines", "markov")
    assert found.outcome == "refused"
    assert "was not scored" in found.reason


def harmed(users, lost):
    """The better challenger, with `lost` of the 200 odd champion's hits turned into misses."""
    new = BETTER.copy()
    new[np.arange(1, 2 * lost, 2)] = MISS
    return evidence(new)


def test_slices_find_a_group_that_pays_for_the_others():
    found = gates(harmed(500, 60), policy())
    assert row(found, "slices", "history length: short").outcome == "pass"
    assert row(found, "slices", "history length: long").outcome == "fail"


def test_slices_with_few_users_or_all_are_shown():
    found = gates(evidence(), policy())
    few = row(found, "slices", "cold targets: cold")
    assert (few.outcome, few.users) == ("shown", 3)
    assert few.reason == "3 users are too few to judge (100 needed)"
    assert row(found, "slices", "cold targets: all").outcome == "shown"
    alone = gates(evidence(), only(slices=Slices(minimum_users=100)))
    assert row(alone, "slices", "cold targets: all").outcome == "pass"


def test_an_empty_slice_is_shown_and_no_slices_refuse():
    nobody = Slice("users", "newest", "none", np.zeros(500, np.bool_))
    found = row(gates(evidence(slices=[nobody]), policy()), "slices")
    assert (found.outcome, found.reason, found.users) == ("shown", "no users", 0)
    assert row(gates(evidence(slices=[]), policy()), "slices").outcome == "refused"


def test_the_p_values_of_slices_are_adjusted_for_their_number():
    found = [
        one
        for one in gates(harmed(500, 30), policy())
        if one.gate == "slices" and "p_holm" in one.details
    ]
    assert len(found) == 2
    low, high = sorted(found, key=lambda one: one.p_value)
    assert low.details["p_holm"] == pytest.approx(2 * low.p_value)
    assert high.details["p_holm"] == pytest.approx(max(high.p_value, 2 * low.p_value))
    assert all(one.details["slices_judged"] == 2 for one in found)


def test_more_slices_ask_for_more_proof():
    members = np.arange(500) < 250
    new, old = ranks((100, 1), (400, MISS)), ranks((100, 1), (400, MISS))
    new[np.arange(0, 12)] = MISS  # 12 of 250 lost: -.048 of a margin of .08
    one = Slice("a", "group", "", members)
    rules = only(slices=Slices(margin=0.08))

    def judge(number):
        named = [Slice("a", f"group {i}", "", members) for i in range(number)]
        rows = gates(evidence(new, old, slices=named), rules)
        return {row.outcome for row in rows if row.gate == "slices"}, rows

    assert judge(1)[0] == {"pass"}
    outcome, rows = judge(12)
    assert outcome == {"fail"}
    assert "when 12 slices are judged at once" in row(rows, "slices", "a: group 0").reason
    assert one.users == 250


LIMITS = Guardrails(
    coverage_loss=0.25,
    popularity_bias_rise=0.1,
    minimum_overlap=0.1,
    latency_ratio=2.0,
    size_ratio=2.0,
)
OLD = Conduct(0.6, 0.5, 30.0, 100_000_000)


@pytest.mark.parametrize(
    ("new", "overlap", "broken"),
    [
        (OLD, 0.5, []),
        (Conduct(0.45, 0.6, 60.0, 200_000_000), 0.1, []),  # every limit exactly
        (Conduct(0.44, 0.5, 30.0, 100_000_000), 0.5, ["catalogue coverage"]),
        (Conduct(0.6, 0.61, 30.0, 100_000_000), 0.5, ["popularity bias"]),
        (OLD, 0.09, ["overlap"]),
        (OLD, 1.5, ["overlap"]),  # not a share
        (Conduct(0.6, 0.5, 61.0, 100_000_000), 0.5, ["p95 latency"]),
        (Conduct(0.6, 0.5, 30.0, 200_000_001), 0.5, ["model size"]),
        (Conduct(0.1, 0.9, 99.0, 900_000_000), 0.0, "all"),
    ],
)
def test_guardrails(new, overlap, broken):
    given = evidence(conduct={"challenger": new, "champion": OLD}, overlap=overlap)
    found = outcomes(gates(given, only(guardrails=LIMITS)), "guardrails")
    assert len(found) == 5
    expected = list(found) if broken == "all" else broken
    assert [name for name, outcome in found.items() if outcome == "fail"] == expected


@pytest.mark.parametrize(
    ("new", "outcome"), [(-0.02, "pass"), (-0.06, "pass"), (0.05, "pass"), (0.06, "fail")]
)
def test_lists_may_be_less_popular_than_tastes(new, outcome):
    """The bias is a difference: below zero for models that look beyond the hits."""
    sides = {"challenger": Conduct(popularity_bias=new), "champion": Conduct(popularity_bias=-0.05)}
    rules = only(guardrails=Guardrails(popularity_bias_rise=0.1))
    assert row(gates(evidence(conduct=sides), rules), "guardrails").outcome == outcome


def test_a_fast_recommendation_is_fast_enough():
    quick, slow = Conduct(latency_p95_ms=2.0), Conduct(latency_p95_ms=19.9)
    given = evidence(conduct={"challenger": slow, "champion": quick})
    rules = only(guardrails=Guardrails(latency_ratio=2.0))
    assert row(gates(given, rules), "guardrails").outcome == "pass"
    slow = Conduct(latency_p95_ms=20.0)
    given = evidence(conduct={"challenger": slow, "champion": quick})
    assert row(gates(given, rules), "guardrails").outcome == "fail"


def test_the_service_must_answer_as_offline_ranking_does():
    assert row(gates(evidence(), policy()), "serving").outcome == "pass"
    assert row(gates(evidence(serving=None), policy()), "serving").outcome == "refused"
    failed = Serving(requests=26, failure="its list for a newcomer is another")
    for champion in (CHAMPION, None):
        only_it = policy(guardrails=Guardrails(latency_ratio=2.0))
        found = decide(evidence(champion=champion, serving=failed, conduct={}), only_it)
        assert (found.verdict, found.sentence) == ("rejected", f"rejected: {failed.failure}.")
    off = decide(evidence(serving=failed), policy(serving=False))
    assert off.verdict == "promoted"
    assert [one for one in off.gates if one.gate == "serving"] == []
    unknown = decide(evidence(serving=failed, conduct={}), policy(serving=False))
    assert unknown.verdict == "refused"


def test_small_weights_are_small_enough():
    """From item-knn's some kilobytes to a first transformer is no rupture."""
    rules = only(guardrails=Guardrails(size_ratio=2.0))
    for size, outcome in ((49_999_999, "pass"), (50_000_000, "fail")):
        sides = {"challenger": Conduct(weights_bytes=size), "champion": Conduct(weights_bytes=100)}
        assert row(gates(evidence(conduct=sides), rules), "guardrails").outcome == outcome


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("whose", ["challenger", "champion"])
def test_a_guardrail_without_its_figure_refuses(value, whose):
    conduct = {"challenger": OLD, "champion": OLD, whose: Conduct(coverage=value)}
    rules = only(guardrails=Guardrails(coverage_loss=0.25))
    found = row(gates(evidence(conduct=conduct), rules), "guardrails")
    assert found.outcome == "refused"
    assert f"the {whose}'s catalogue coverage is not known" in found.reason
    assert row(gates(evidence(conduct={}), rules), "guardrails").outcome == "refused"


def test_a_gain_that_is_too_good_is_suspicious():
    for limit, outcome in ((0.54, "pass"), (0.53, "suspicious")):  # .46 / .3 = 1.5333
        found = row(gates(evidence(), policy(suspicious_gain=limit)), "suspicious_gain", "ndcg@10")
        assert found.outcome == outcome
        assert found.details["relative_gain"] == pytest.approx(0.46 / 0.3 - 1)


def test_any_gain_over_nothing_is_suspicious():
    nothing = ranks((500, MISS))
    found = gates(evidence(champion=nothing), policy())
    assert row(found, "suspicious_gain", "hr@10").outcome == "suspicious"
    found = gates(evidence(nothing, nothing), policy())
    assert row(found, "suspicious_gain", "hr@10").outcome == "pass"


def test_the_ratchet_holds_what_was_reached():
    best = ranks((120, 1), (120, 3), (260, MISS))
    given = evidence(CHAMPION, best=scored(best))
    assert set(outcomes(gates(given, only(ratchet=Ratchet())), "ratchet").values()) == {"fail"}
    given = evidence(BETTER, best=scored(best))
    assert set(outcomes(gates(given, only(ratchet=Ratchet())), "ratchet").values()) == {"pass"}
    assert row(gates(evidence(), policy()), "ratchet").outcome == "shown"


def test_the_ratchet_holds_a_champion_that_is_the_best_where_the_primary_gate_does_not():
    worse = ranks((100, 1), (400, MISS))
    wide = Primary(margin=0.9)
    for rules in ({}, {"primary": wide}):
        found = gates(evidence(worse), only(ratchet=Ratchet(), **rules))
        assert set(outcomes(found, "ratchet").values()) == {"fail"}


def test_a_best_version_that_leaks_is_no_obstacle_without_a_ratchet():
    everyone, nobody = np.ones(500, bool), np.zeros(500, bool)
    leaks = {"challenger": nobody, "champion": nobody, "best": everyone}
    given = replace(evidence(BETTER, best=scored(BETTER)), leaks=leaks)
    with_ratchet = gates(given, only(leak=Leak(), ratchet=Ratchet()))
    assert row(with_ratchet, "leak", "best").outcome == "refused"
    without = gates(given, only(leak=Leak(), primary=Primary()))
    assert set(outcomes(without, "leak").values()) == {"pass"}


@pytest.mark.parametrize(
    ("training", "outcome"),
    [
        (Training(30, 20, False, True), "pass"),
        (Training(30, 30, True, True), "fail"),
        (Training(30, 20, False, False), "fail"),
        (Training(0, 0, False, True), "pass"),
        (None, "refused"),
    ],
)
def test_convergence(training, outcome):
    found = row(gates(evidence(training=training), policy()), "convergence")
    assert found.outcome == outcome


RISING = [(epoch, 0.002 * epoch) for epoch in range(1, 101)]
FLAT = [(epoch, min(0.002 * epoch, 0.1)) for epoch in range(1, 101)]


@pytest.mark.parametrize(
    ("curve", "best", "outcome"),
    [
        (RISING, 100, "fail"),
        ([*RISING[:98], (99, 0.19), (100, 0.192)], 98, "fail"),  # not the last epoch, but rising
        (FLAT, 50, "pass"),
        ([*FLAT[:97], (98, 0.1004), *FLAT[98:]], 98, "pass"),  # the best of a flat end, by chance
        ([*FLAT[:99], (100, 0.1004)], 100, "pass"),
        (RISING[:60], 60, "pass"),  # ended before the limit
        (RISING[99:], 100, "fail"),  # one validation shows nothing
        ([(epoch, 0.0) for epoch in range(1, 101)], 1, "pass"),
    ],
)
def test_convergence_is_judged_by_the_curve_and_not_by_the_limit(curve, best, outcome):
    training = Training(curve[-1][0], best, best == 100, True, max_epochs=100, end=end(curve))
    found = row(gates(evidence(training=training), policy()), "convergence")
    assert found.outcome == outcome, found.reason


def leaking(**users):
    """Which users leak, by model: the first so many."""
    return {
        name: np.arange(500) < users.get(name, 0) for name in ("challenger", "champion", "best")
    }


@pytest.mark.parametrize("whose", ["challenger", "champion", "best"])
def test_a_leak_above_the_share_refuses_with_what_to_do(whose):
    given = evidence(best=scored(CHAMPION), leaks=leaking(**{whose: 6}))
    found = decide(given, policy(leak=Leak(excluded_share=0.01)))
    assert found.verdict == "refused"
    said = row(found.gates, "leak", whose)
    assert said.outcome == "refused"
    assert "6 of 500 test users (1.2%, allowed 1.0%)" in said.reason
    assert "promotion.leak.excluded_share" in said.reason
    assert not outcomes(found.gates, "primary")


def test_users_of_a_small_leak_are_left_out_for_everyone():
    given = evidence(leaks=leaking(challenger=2, champion=5))
    found = gates(given, policy(leak=Leak(excluded_share=0.01)))
    left = row(found, "leak", "users left out")
    assert (left.outcome, left.users) == ("pass", 5)  # the union of both
    assert "5 of 500" in left.reason
    assert row(found, "primary", "hr@10").users == 495
    # the first five users have rank 1 in both: (260 - 5) / 495 and (200 - 5) / 495
    assert row(found, "primary", "hr@10").challenger == pytest.approx(255 / 495)
    assert row(found, "primary", "hr@10").reference == pytest.approx(195 / 495)
    assert row(found, "slices", "history length: short").users == 247
    assert row(found, "baselines", "markov: hr@10").reference == pytest.approx(45 / 495)


def test_leaks_of_several_models_count_together():
    masks = {"challenger": np.arange(500) < 4, "champion": np.arange(500) >= 496}
    found = decide(evidence(leaks=masks), policy(leak=Leak(excluded_share=0.01)))
    assert row(found.gates, "leak", "champion").outcome == "pass"
    assert row(found.gates, "leak", "users left out").outcome == "refused"
    assert found.verdict == "refused"


@pytest.mark.parametrize(
    "mask", [None, np.zeros(499, np.bool_), np.zeros(500), np.zeros((500, 1), np.bool_)]
)
def test_a_model_whose_training_is_not_known_is_refused(mask):
    masks = {**leaking(), "champion": mask}
    found = decide(evidence(leaks=masks), policy())
    assert found.verdict == "refused"
    assert "could not be checked" in row(found.gates, "leak", "champion").reason


def test_leak_off_is_said():
    found = decide(evidence(leaks={}), policy(leak=None))
    assert found.verdict == "promoted"
    assert row(found.gates, "leak").outcome == "shown"
    assert "was not checked" in row(found.gates, "leak").reason


def test_the_policy_names_its_metrics():
    rules = PromotionParams(resamples=1000, primary=Primary(metrics=["mrr", "hr@3"]))
    found = outcomes(gates(evidence(), rules), "primary")
    assert list(found) == ["mrr", "hr@3", "better in one"]


def test_a_gain_or_loss_of_exactly_the_threshold_is_not_enough():
    first, third = ranks((500, 1)), ranks((500, 3))  # every user's NDCG differs by 1/2
    rules = only(primary=Primary(metrics=["ndcg@10"], min_gain=0.5, margin=0.5))
    gain = gates(evidence(first, third), rules)
    assert (row(gain, "primary", "ndcg@10").low, row(gain, "primary", "ndcg@10").high) == (0.5, 0.5)
    assert row(gain, "primary", "better in one").outcome == "fail"
    loss = gates(evidence(third, first), rules)
    assert row(loss, "primary", "ndcg@10").outcome == "fail"


def test_one_slice_is_judged_at_two_and_a_half_percent():
    # 12 of 250 hits lost: -.048; of 250 draws at 12/250, 19 losses (.076) or more come up in 3.5%
    assert binom.sf(18, 250, 12 / 250) == pytest.approx(0.035, abs=0.003)
    new = ranks((12, MISS), (238, 1), (250, 1))
    group = Slice("a", "group", "", np.arange(500) < 250)
    for margin, outcome in ((0.0745, "fail"), (0.0865, "pass")):
        rules = PromotionParams(resamples=10_000, slices=Slices(margin=margin))
        found = row(gates(evidence(new, ranks((500, 1)), slices=[group]), rules), "slices")
        assert found.outcome == outcome
        losses = int(margin * 250)
        assert found.p_value == pytest.approx(binom.sf(losses, 250, 12 / 250), abs=0.008)


def test_a_slice_of_just_enough_users_is_judged():
    for least, outcome in ((250, "pass"), (251, "shown")):
        found = gates(evidence(), policy(slices=Slices(minimum_users=least)))
        assert row(found, "slices", "history length: short").outcome == outcome


def test_a_loss_that_is_proven_is_called_one():
    found = gates(evidence(challenger=CHAMPION, champion=BETTER), only(primary=Primary()))
    assert row(found, "primary", "ndcg@10").reason.endswith("is worse by more than .0050")
    equal = gates(evidence(challenger=CHAMPION, champion=CHAMPION), only(primary=Primary()))
    assert row(equal, "primary", "ndcg@10").outcome == "pass"


@pytest.mark.parametrize(
    ("gained", "lost", "outcome"), [(60, 60, "shown"), (60, 70, "shown"), (30, 90, "fail")]
)
def test_a_slice_that_cannot_tell_says_so_unless_a_loss_is_proven(gained, lost, outcome):
    """250 users, of whom so many go from a miss to the top and back: they resolve about .12."""
    champion = np.full(500, MISS)
    champion[0 : 2 * lost : 2] = 1
    challenger = np.full(500, MISS)
    challenger[2 * lost : 2 * (lost + gained) : 2] = 1
    rules = only(slices=Slices(margin=0.03, minimum_users=100))
    found = row(gates(evidence(challenger, champion), rules), "slices", "history length: short")
    assert found.outcome == outcome
    assert found.details["resolvable"] > 0.1
    if outcome == "shown":
        assert "250 users are too few to decide: they resolve .1" in found.reason
