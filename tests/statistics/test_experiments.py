"""Rewards, splits and arrivals: expectations by enumeration, errors and power by simulation."""

import ast
import itertools
import math
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headrace.statistics import experiments
from headrace.statistics.experiments import (
    Expected,
    Period,
    Rewards,
    arrival_e_value,
    difference,
    difference_e_value,
    merged,
    probability_better,
    rate_variance,
    rewards_to_detect,
    shortfall_e_value,
    split_e_value,
)

ALPHA = 0.05
shares = st.sampled_from([0.05, 0.25, 0.5, 0.8])
rates = st.floats(0.0, 1.0)


def rewards(values: npt.ArrayLike) -> Rewards:
    found = np.asarray(values, dtype=float)
    binary = bool(np.isin(found, (0.0, 1.0)).all())
    return Rewards(count=len(found), total=found.sum(), squares=(found**2).sum(), binary=binary)


def counted(share: float, *, challenger: tuple[int, int], champion: tuple[int, int]) -> Period:
    """Of each arm how many rewards, and how many of them are 1."""
    arms = [Rewards(count=count, total=ones, squares=ones) for count, ones in (challenger, champion)]
    return Period(share=share, challenger=arms[0], champion=arms[1])


def test_imports_the_standard_library_only() -> None:
    tree = ast.parse(Path(experiments.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    assert {str(name).split(".")[0] for name in names} <= set(sys.stdlib_module_names)


@given(share=shares, other=shares, rate=rates, worse_by=rates, at_most=st.sampled_from([-0.1, 0.0, 0.05]))
def test_the_expectation_is_at_most_one_whatever_the_rates_are(
    share: float, other: float, rate: float, worse_by: float, at_most: float
) -> None:
    """Every way in which two units can go, the second under a share that depends on the first's reward."""
    champion = rate * min(1.0, 1.0 - at_most)
    champion = max(champion, -at_most)
    challenger = max(0.0, (champion + at_most) * (1.0 - worse_by))
    expected = 0.0
    for first, second in itertools.product(itertools.product((True, False), (0, 1)), repeat=2):
        taken = (share, other if first[1] else share)  # a bandit's share follows what it saw
        chance, periods = 1.0, []
        for (mine, reward), part in zip((first, second), taken, strict=True):
            mean = challenger if mine else champion
            chance *= (part if mine else 1.0 - part) * (mean if reward else 1.0 - mean)
            arms = ((1, reward), (0, 0)) if mine else ((0, 0), (1, reward))
            periods.append(counted(part, challenger=arms[0], champion=arms[1]))
        expected += chance * difference_e_value(periods, at_most=at_most)
    assert expected <= 1.0 + 1e-9


@given(st.lists(rates, max_size=30), st.lists(rates, max_size=30), shares, st.floats(-0.2, 0.2))
def test_the_sums_never_claim_more_than_the_product_of_the_bets(
    mine: list[float], theirs: list[float], share: float, at_most: float
) -> None:
    bound = Period(
        share=share,
        challenger=rewards([*mine, 0.5]),  # one that is no end keeps it from being told exactly
        champion=rewards(theirs),
    )
    exact = 0.0
    for base in experiments.BASELINES:
        for part in experiments.FRACTIONS:
            bet = part / (1.0 + max(base / share, (1.0 - base) / (1.0 - share)))
            log = sum(math.log1p(bet * ((value - base) / share - at_most)) for value in [*mine, 0.5])
            log += sum(math.log1p(bet * (-(value - base) / (1.0 - share) - at_most)) for value in theirs)
            exact += math.exp(log) / len(experiments.BASELINES) / len(experiments.FRACTIONS)
    assert difference_e_value([bound], at_most=at_most) <= exact * (1.0 + 1e-9)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), shares)
def test_the_interval_is_what_the_two_tests_do_not_rule_out(a: int, b: int, c: int, d: int, share: float) -> None:
    period = counted(share, challenger=(a + b, a), champion=(c + d, c))
    found = difference([period], alpha=ALPHA)
    assert -1.0 <= found.low <= found.estimate <= found.high <= 1.0
    turned = difference([period.swapped()], alpha=ALPHA)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9)
    needed, fine = 2.0 / ALPHA, 2e-3
    low_out, high_out = (
        difference_e_value([period], at_most=at) >= needed and shortfall_e_value([period], at_least=at) >= needed
        for at in (found.low, found.high)
    )
    above = difference_e_value([period], at_most=1.0) >= needed
    below = shortfall_e_value([period], at_least=-1.0) >= needed
    if above or below or low_out or high_out:
        return  # everything is ruled out: units were not split like this
    if found.low > -1.0:
        assert difference_e_value([period], at_most=found.low) >= needed
        assert difference_e_value([period], at_most=min(1.0, found.low + fine)) < needed
    if found.high < 1.0:
        assert shortfall_e_value([period], at_least=found.high) >= needed
        assert shortfall_e_value([period], at_least=max(-1.0, found.high - fine)) < needed


def test_periods_of_one_share_count_together_and_others_multiply() -> None:
    one = counted(0.5, challenger=(100, 30), champion=(100, 20))
    other = counted(0.5, challenger=(50, 10), champion=(40, 9))
    third = counted(0.8, challenger=(50, 10), champion=(40, 9))
    whole = counted(0.5, challenger=(150, 40), champion=(140, 29))
    assert merged([one, third, other]) == [whole, third]
    assert difference_e_value([one, other], at_most=0.0) == pytest.approx(difference_e_value([whole], at_most=0.0))
    alone = counted(1.0, challenger=(10, 10), champion=(0, 0))
    assert difference_e_value([whole, alone], at_most=0.0) == difference_e_value([whole], at_most=0.0)
    assert 0.0 < difference_e_value([], at_most=0.0) <= 1.0
    nothing = difference([], alpha=ALPHA)
    assert (nothing.estimate, nothing.low, nothing.high) == (0.0, -1.0, 1.0)


def test_turned_rewards_are_one_minus_each() -> None:
    values = [0.0, 0.25, 1.0]
    turned = rewards([1.0 - value for value in values])
    assert rewards(values).turned() == turned
    assert turned.variance == pytest.approx(np.var(values))


def test_a_huge_sample_is_no_overflow() -> None:
    period = counted(0.5, challenger=(10**9, 9 * 10**8), champion=(10**9, 10**8))
    assert difference_e_value([period], at_most=0.0) == math.inf
    assert shortfall_e_value([period], at_least=0.0) == pytest.approx(0.0)
    found = difference([period], alpha=ALPHA)
    assert found.low <= 0.8 <= found.high
    assert found.high - found.low < 0.01


def simulate(
    generator: np.random.Generator,
    champion: float,
    challenger: float,
    *,
    bandit: bool,
    looks: int = 40,
    batch: int = 100,
) -> tuple[str, int]:
    """A test that is looked at all the time; a bandit moves its share by it. What it found, and when."""
    share, periods = 0.5, []
    for look in range(looks):
        drift = 0.05 * math.sin(look / 4)  # rewards rise and fall with the time of day, of both alike
        mine = generator.random(batch) < share
        won = generator.random(batch) < np.where(mine, challenger, champion) + drift
        periods.append(Period(share=share, challenger=rewards(won[mine]), champion=rewards(won[~mine])))
        kept = merged(periods)
        if difference_e_value(kept, at_most=0.0) >= 2.0 / ALPHA:
            return "better", look
        if shortfall_e_value(kept, at_least=0.0) >= 2.0 / ALPHA:
            return "worse", look
        if bandit:
            share = min(0.95, max(0.05, round(probability_better(kept), 2)))
    return "", looks


@pytest.mark.parametrize("bandit", [False, True])
def test_equal_versions_are_told_apart_as_seldom_as_it_says(bandit: bool) -> None:
    generator, runs = np.random.default_rng(11), 60 if bandit else 200
    found = [simulate(generator, 0.2, 0.2, bandit=bandit)[0] for _ in range(runs)]
    wrong = sum(map(bool, found))
    assert stats.binomtest(wrong, runs, ALPHA, alternative="greater").pvalue > 0.001


@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("value", [0.0, 0.05, 0.175, 0.375, 0.5, 0.825, 1.0])
def test_rewards_that_are_all_the_same_tell_nothing_apart(value: float, share: float) -> None:
    """Also where the value is as far from the grid's as it can be, and how many each arm got is all there is."""
    generator, runs, wrong = np.random.default_rng(14), 40, 0
    for _ in range(runs):
        mine = np.cumsum(generator.random(3_000) < share)
        for units in (50, 100, 200, 400, 800, 1_500, 3_000):
            arms = [
                Rewards(count=count, total=value * count, squares=value**2 * count, binary=value in {0.0, 1.0})
                for count in (int(mine[units - 1]), units - int(mine[units - 1]))
            ]
            period = Period(share=share, challenger=arms[0], champion=arms[1])
            found = difference_e_value([period], at_most=0.0), shortfall_e_value([period], at_least=0.0)
            if max(found) >= 2.0 / ALPHA:
                wrong += 1
                break
        shown = difference([period], alpha=ALPHA)
        assert shown.low <= shown.estimate <= shown.high
        assert abs(shown.estimate) < 1e-6 or max(found) >= 2.0 / ALPHA
    assert stats.binomtest(wrong, runs, ALPHA, alternative="greater").pvalue > 0.001


@pytest.mark.parametrize("value", [0.0, 0.05, 0.175, 0.375, 0.5, 0.825, 1.0])
@pytest.mark.parametrize(("share", "really"), [(0.5, 0.47), (0.5, 0.52), (0.1, 0.11), (0.8, 0.77)])
def test_a_wrong_split_of_rewards_that_are_all_the_same_is_suspicious_before_it_is_a_difference(
    value: float, share: float, really: float
) -> None:
    for units in range(500, 100_000, 500):
        counts = round(really * units), units - round(really * units)
        if split_e_value([(share, *counts)]) >= 20.0:
            return
        arms = [
            Rewards(count=count, total=value * count, squares=value**2 * count, binary=value in {0.0, 1.0})
            for count in counts
        ]
        period = Period(share=share, challenger=arms[0], champion=arms[1])
        assert difference_e_value([period], at_most=0.0) < 2.0 / ALPHA
        assert shortfall_e_value([period], at_least=0.0) < 2.0 / ALPHA
    raise AssertionError("the split was never suspicious")


def test_a_difference_between_rewards_that_are_mostly_the_same_is_found_as_foretold() -> None:
    """Nineteen of twenty bring a third, whoever answers; the rest is all or nothing."""
    generator, runs, found = np.random.default_rng(15), 200, list[bool]()
    arms = []
    for ones in (0.01, 0.03):
        parts = {0.0: 0.05 - ones, 1 / 3: 0.95, 1.0: ones}
        mean = sum(value * part for value, part in parts.items())
        arms.append(between(mean, sum(value**2 * part for value, part in parts.items()) - mean**2))
    foretold = math.ceil(rewards_to_detect(*arms, share=0.5, alpha=ALPHA))
    for _ in range(runs):
        mine, chance = generator.random(foretold) < 0.5, generator.random(foretold)
        lucky = chance < np.where(mine, 0.03, 0.01)
        values = np.where(lucky, 1.0, np.where(chance < 0.05, 0.0, 1 / 3))
        period = Period(share=0.5, challenger=rewards(values[mine]), champion=rewards(values[~mine]))
        found.append(difference_e_value([period], at_most=0.0) >= 2.0 / ALPHA)
    assert stats.binomtest(sum(found), runs, 0.9, alternative="less").pvalue > 0.001


@pytest.mark.parametrize("bandit", [False, True])
def test_a_difference_is_found_in_its_direction(bandit: bool) -> None:
    generator = np.random.default_rng(12)
    found = [simulate(generator, 0.2, 0.35, bandit=bandit)[0] for _ in range(20)]
    assert found.count("better") >= 18
    assert "worse" not in found
    assert simulate(generator, 0.35, 0.15, bandit=bandit)[0] == "worse"


def rate(mean: float) -> Expected:
    return Expected(mean=mean, variance=mean * (1.0 - mean))


def between(mean: float, variance: float) -> Expected:
    return Expected(mean=mean, variance=variance, binary=False)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("champion", "challenger", "share", "at_most"),
    [
        (0.2, 0.3, 0.5, 0.0),
        (0.2, 0.3, 0.2, 0.0),
        (0.35, 0.45, 0.5, 0.0),
        (0.3, 0.3, 0.5, -0.1),
        (0.9, 0.7, 0.5, -0.3),
    ],
)
def test_a_difference_is_found_as_soon_as_is_foretold(
    binary: bool, champion: float, challenger: float, share: float, at_most: float
) -> None:
    """Also where the mean lies between two of the grid's, of a share that is small, and of a test with a margin."""
    generator, runs = np.random.default_rng(13), 400
    variances = [mean * (1.0 - mean) / (1.0 if binary else 3.0) for mean in (champion, challenger)]
    arms = [
        Expected(mean=mean, variance=variance, binary=binary)
        for mean, variance in zip((champion, challenger), variances, strict=True)
    ]
    foretold = math.ceil(rewards_to_detect(*arms, share=share, alpha=ALPHA, at_most=at_most))
    within = soon = 0
    for _ in range(runs):
        mine = generator.random(foretold) < share
        means = np.where(mine, challenger, champion)
        values = generator.random(foretold) < means if binary else generator.beta(2 * means, 2 * (1 - means))
        for units in (foretold // 4, foretold):
            part = Period(
                share=share,
                challenger=rewards(values[:units][mine[:units]]),
                champion=rewards(values[:units][~mine[:units]]),
            )
            if difference_e_value([part], at_most=at_most) >= 2.0 / ALPHA:
                soon += units < foretold
                within += 1
                break
    assert stats.binomtest(within, runs, 0.9, alternative="less").pvalue > 0.001
    assert soon < runs / 5  # and not in a fourth of it, or the figure would say nothing


def test_what_is_foretold_grows_as_it_should() -> None:
    def needed(sought: float, variance: float = 0.2, share: float = 0.5) -> float:
        arms = between(0.5, variance), between(0.5 + sought, variance)
        return rewards_to_detect(*arms, share=share, alpha=ALPHA)

    assert needed(0.01) == pytest.approx(4 * needed(0.02), rel=0.05)
    assert needed(0.05, share=0.1) > needed(0.05)
    assert needed(0.05, variance=0.1) < needed(0.05)
    assert needed(0.05, variance=0.0) > 100  # even what never varies takes a few bets
    assert needed(0.0) == math.inf
    assert rate_variance(0.3, binary=True, variance=0.1) == pytest.approx(0.21)
    assert rate_variance(0.3, binary=False, variance=0.1) == 0.1
    longer = rewards_to_detect(rate(0.05), rate(0.06), share=0.5, alpha=ALPHA, found_in=0.99)
    assert rewards_to_detect(rate(0.05), rate(0.06), share=0.5, alpha=ALPHA) < longer
    assert rewards_to_detect(rate(0.06), rate(0.05), share=0.5, alpha=ALPHA) == math.inf
    margin = rewards_to_detect(rate(0.06), rate(0.06), share=0.5, alpha=ALPHA, at_most=-0.01)
    assert margin == pytest.approx(rewards_to_detect(rate(0.055), rate(0.065), share=0.5, alpha=ALPHA), rel=0.1)
    # half of what the smallest bet is made for is never found, which is told
    assert rewards_to_detect(rate(0.5), rate(0.5001), share=0.5, alpha=ALPHA) == math.inf


@pytest.mark.parametrize(
    ("mine", "theirs"), [((10, 3), (12, 3)), ((1000, 60), (1000, 50)), ((0, 0), (5, 5)), ((20_000, 900), (500, 30))]
)
def test_the_probability_of_being_better_is_that_of_two_beta_posteriors(
    mine: tuple[int, int], theirs: tuple[int, int]
) -> None:
    found = probability_better([counted(0.5, challenger=mine, champion=theirs)])
    if not mine[0]:
        assert found == 0.5
        return
    draws = [
        stats.beta(1 + ones, 1 + count - ones).rvs(400_000, random_state=place)
        for place, (count, ones) in enumerate((mine, theirs))
    ]
    assert found == pytest.approx(float((draws[0] > draws[1]).mean()), abs=0.004)


def test_more_units_at_a_better_time_make_nobody_look_better() -> None:
    """Both are as good; most of the challenger's units came when everything sold well."""
    night = counted(0.2, challenger=(200, 10), champion=(800, 40))
    day = counted(0.8, challenger=(800, 400), champion=(200, 100))
    assert probability_better([night, day]) == pytest.approx(0.5, abs=1e-6)
    assert difference([night, day], alpha=ALPHA).estimate == pytest.approx(0.0)


def test_a_wrong_split_is_found_and_a_right_one_is_not() -> None:
    assert split_e_value([(0.5, 5_000, 5_000)]) < 1
    assert split_e_value([]) == pytest.approx(1.0)
    assert split_e_value([(0.5, 7_900, 7_100)]) > 1000
    assert split_e_value([(0.5, 7_100, 7_900)]) > 1000
    assert split_e_value([(0.05, 0, 200)]) > 1000
    both = [(0.5, 2_700, 2_300), (0.8, 8_200, 1_800)]
    assert split_e_value(both) > max(split_e_value(both[:1]), split_e_value(both[1:]))
    generator = np.random.default_rng(5)
    alarms = 0
    for _ in range(200):
        mine = np.cumsum(generator.random(2_000) < 0.3)
        looks = [(int(mine[at]), at + 1) for at in range(9, 2000, 10)]
        alarms += any(split_e_value([(0.3, count, of - count)]) >= 1000 for count, of in looks)
    assert alarms == 0  # one in a thousand at most, of 200


def test_rewards_that_do_not_come_as_often_are_found() -> None:
    assert arrival_e_value([(0.5, 1000, 700, 1000, 700)]) < 1
    assert arrival_e_value([(0.5, 1000, 600, 1000, 700)]) > 100
    assert arrival_e_value([(0.5, 1000, 700, 1000, 600)]) > 100
