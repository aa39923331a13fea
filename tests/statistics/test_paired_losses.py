"""Losses and their sums, and an interval that misses the mean difference as seldom as it says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headrace.errors import InvalidInput
from headrace.statistics.paired import BETS, capital, greatest_bets, judge_pairs
from headrace.statistics.paired_losses import Floats, add_up, class_losses, losses, mean_bounds
from headrace.statistics.sequential import Verdict

ALPHA = 0.05
P = np.array([0.9, 0.5, 0.0, 1.0])
Y = np.array([1.0, 0.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("loss", "bound", "wanted"),
    [
        ("log_loss", 4.6, [-math.log(0.9), math.log(2), 4.6, 0.0]),
        ("brier", 1.0, [0.01, 0.25, 1.0, 0.0]),
        ("error", 1.0, [0.0, 1.0, 1.0, 0.0]),
        ("absolute_error", 0.6, [0.1, 0.5, 0.6, 0.0]),
        ("squared_error", 0.5, [0.01, 0.25, 0.5, 0.0]),
    ],
)
def test_losses_are_what_their_names_say_and_never_above_the_bound(
    loss: str, bound: float, wanted: list[float]
) -> None:
    assert losses(loss, P, Y, bound=bound) == pytest.approx(wanted)


def test_a_loss_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidInput):
        losses("hinge", P, Y, bound=1.0)
    with pytest.raises(InvalidInput):
        class_losses("squared_error", np.array([[0.5, 0.5]]), np.array([0]), bound=1.0)


@pytest.mark.parametrize(
    ("loss", "bound", "wanted"),
    [
        ("log_loss", 4.6, [-math.log(0.5), 4.6, math.log(3), 0.0]),
        ("brier", 1.0, [(0.25 + 0.09 + 0.04) / 2, 1.0, (4 / 9 + 1 / 9 + 1 / 9) / 2, 0.0]),
        ("error", 1.0, [0.0, 1.0, 1.0, 0.0]),
    ],
)
def test_losses_of_several_classes_are_what_their_names_say_and_never_above_the_bound(
    loss: str, bound: float, wanted: list[float]
) -> None:
    answers = np.array([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0], [1 / 3, 1 / 3, 1 / 3], [0.0, 1.0, 0.0]])
    assert class_losses(loss, answers, np.array([0, 1, 1, 1]), bound=bound) == pytest.approx(wanted)


@given(st.lists(st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4), min_size=1, max_size=20), st.integers(0, 3))
def test_no_probabilities_of_classes_lose_more_than_the_bound_or_less_than_nothing(
    scores: list[list[float]], truth: int
) -> None:
    """Nor where they add up to 1 only nearly, as those that were rounded do."""
    answers = np.array(scores) + 1e-9
    answers = answers / answers.sum(axis=1, keepdims=True)
    labels = np.full(len(answers), truth)
    for loss, bound in (("log_loss", 4.6), ("brier", 1.0), ("error", 1.0)):
        for rounded in (answers, answers.round(3)):
            found = class_losses(loss, rounded, labels, bound=bound)
            assert np.all((found >= 0.0) & (found <= bound))


@pytest.mark.parametrize("loss", ["log_loss", "brier", "error"])
def test_two_classes_lose_what_the_probability_of_the_second_does(loss: str) -> None:
    answers = np.random.default_rng(4).random(50)
    labels = np.random.default_rng(5).integers(0, 2, 50)
    both = class_losses(loss, np.stack([1.0 - answers, answers], axis=1), labels, bound=4.6)
    assert both == pytest.approx(losses(loss, answers, labels.astype(float), bound=4.6))


@pytest.mark.parametrize(("loss", "margin", "bound"), [("log_loss", 0.05, 4.6), ("brier", 0.02, 1.0)])
def test_versions_with_several_classes_are_misjudged_as_seldom_as_it_says(
    loss: str, margin: float, bound: float
) -> None:
    """One that is worse by the margin is not passed, one that is as good is not taken back; but others are."""
    generator, runs, units, looks = np.random.default_rng(6), 100, 1_000, range(50, 1_001, 50)

    def answers(worse: float) -> tuple[Floats, Floats]:
        scores = generator.normal(0.0, 2.0, (runs * units, 4))
        chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        labels = (chances.cumsum(axis=1) > generator.random((len(chances), 1))).argmax(axis=1)
        noisy = np.exp(scores + generator.normal(0.0, 0.3, scores.shape))
        mixed = np.exp(scores + generator.normal(0.0, 0.3, scores.shape))
        mixed = (1.0 - worse) * mixed / mixed.sum(axis=1, keepdims=True) + worse / 4.0
        champion = class_losses(loss, noisy / noisy.sum(axis=1, keepdims=True), labels, bound=bound)
        return class_losses(loss, mixed, labels, bound=bound), champion

    def verdicts(worse: float, above: float) -> list[set[Verdict]]:
        challenger, champion = answers(worse)
        differences = (challenger - champion).reshape(runs, units)
        differences += above - differences.mean()  # so that it is worse by exactly so much
        differences = differences.clip(-bound, bound)
        greatest = greatest_bets(margin, bound)
        parts = np.array(BETS)[:, None]
        found = []
        for each in differences:
            passes = np.log1p(parts * greatest[0] * (margin - each)).cumsum(axis=1)
            fails = np.log1p(parts * greatest[1] * (each - margin)).cumsum(axis=1)
            told = [(passes[:, look - 1].tolist(), fails[:, look - 1].tolist()) for look in looks]
            found.append({judge_pairs(*logs, alpha=ALPHA, tests=1).verdict for logs in told})
        return found

    good, at_margin, bad = verdicts(0.0, 0.0), verdicts(0.2, margin), verdicts(0.5, 4.0 * margin)
    for wrong in (
        sum(Verdict.ROLL_BACK in each for each in good),
        sum(Verdict.ADVANCE in each for each in at_margin),
    ):
        assert stats.binomtest(wrong, runs, ALPHA, alternative="greater").pvalue > 0.001
    assert sum(Verdict.ADVANCE in each for each in good) > runs / 2
    assert sum(Verdict.ROLL_BACK in each for each in bad) > runs / 2


@pytest.mark.parametrize("wrong", [9.0, -0.1, math.nan])
def test_a_loss_that_could_ruin_a_bet_is_refused(wrong: float) -> None:
    with pytest.raises(InvalidInput):
        add_up(np.array([wrong]), np.array([0.0]), margin=0.1, bound=1.0, alpha=ALPHA)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)), max_size=60), st.floats(0.01, 0.9))
def test_sums_add_up_unit_by_unit_and_in_any_order(pairs: list[tuple[float, float]], margin: float) -> None:
    challenger, champion = np.array(pairs).reshape(-1, 2).T
    whole = add_up(challenger, champion, margin=margin, bound=1.0, alpha=ALPHA)
    back = add_up(challenger[::-1], champion[::-1], margin=margin, bound=1.0, alpha=ALPHA)
    assert whole.not_worse == pytest.approx(back.not_worse)
    half = len(pairs) // 2
    parts = [
        add_up(challenger[some], champion[some], margin=margin, bound=1.0, alpha=ALPHA)
        for some in (slice(0, half), slice(half, None))
    ]
    for name in ("not_worse", "worse"):
        added = np.add(getattr(parts[0], name), getattr(parts[1], name))
        assert getattr(whole, name) == pytest.approx(added.tolist(), abs=1e-9)
    for name in ("units", "champion", "challenger", "squares", "fourths"):
        assert getattr(whole, name) == pytest.approx(getattr(parts[0], name) + getattr(parts[1], name))
    assert whole.low <= (np.mean(challenger - champion) if pairs else 0.0) <= whole.high


def test_the_interval_ends_where_the_bets_rule_a_mean_out() -> None:
    differences = np.random.default_rng(2).uniform(-0.4, 0.5, 300)
    low, high = mean_bounds(differences, bound=1.0, alpha=ALPHA)
    for_high, _ = greatest_bets(high, 1.0)
    at_high = capital([np.log1p(part * for_high * (high - differences)).sum() for part in BETS])
    assert 2 / ALPHA <= at_high < 1.02 * 2 / ALPHA
    assert low < differences.mean() < high
    assert mean_bounds(np.empty(0), bound=3.0, alpha=ALPHA) == (-3.0, 3.0)
    assert mean_bounds(np.zeros(3), bound=1.0, alpha=ALPHA)[1] > 0.5
    assert mean_bounds(np.ones(3), bound=1.0, alpha=ALPHA)[1] == 1.0


@given(
    st.lists(st.sampled_from([-1.0, -0.2, 0.0, 0.001, 0.3, 1.0]), min_size=1, max_size=400),
    st.floats(0.001, 0.2),
)
def test_the_ends_are_found_for_all_that_can_be_seen(differences: list[float], alpha: float) -> None:
    seen = np.array(differences)
    low, high = mean_bounds(seen, bound=1.0, alpha=alpha)
    for sign, end in ((1.0, high), (-1.0, -low)):
        mean = sign * seen.mean()
        assert mean <= end <= 1.0

        def ruled_out(at: float, sign: float = sign) -> bool:
            greatest = greatest_bets(at, 1.0)[0]
            return capital([np.log1p(part * greatest * (at - sign * seen)).sum() for part in BETS]) >= 2 / alpha

        if end < 1.0:
            assert ruled_out(end)
        nearer = mean + 0.99 * (end - mean)
        if mean < nearer < 1.0:
            assert not ruled_out(nearer)


@pytest.mark.parametrize("truth", [0.0, 0.05])
def test_the_mean_is_missed_seldom_by_looks_at_any_time(truth: float) -> None:
    generator = np.random.default_rng(4)
    runs, missed = 100, 0
    more = (0.3 + truth) / 2
    for _ in range(runs):
        seen = generator.choice([1.0, -1.0, 0.0], p=[more, 0.3 - more, 0.7], size=1500)
        looks = np.unique(np.geomspace(5, 1500, 15).astype(int))
        bounds = [mean_bounds(seen[:look], bound=1.0, alpha=ALPHA) for look in looks]
        missed += any(not low <= truth <= high for low, high in bounds)
    assert missed / runs <= ALPHA


def test_many_units_are_taken_in_parts() -> None:
    generator = np.random.default_rng(5)
    challenger, champion = generator.random((2, 250_000))
    found = add_up(challenger, champion, margin=0.1, bound=1.0, alpha=ALPHA)
    bet = BETS[3] * greatest_bets(0.1, 1.0)[0]
    assert found.not_worse[3] == pytest.approx(float(np.log1p(bet * (0.1 - challenger + champion)).sum()))
    assert found.low < 0.0 < found.high < 0.01
