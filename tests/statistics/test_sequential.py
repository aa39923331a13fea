"""The sequential tests keep their error rate under continuous peeking and find what they promise to find."""

import ast
import itertools
import math
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from headrace.statistics import sequential
from headrace.statistics.sequential import (
    Exposure,
    Verdict,
    calm_e_value,
    clean_requests_needed,
    detectable_rate,
    excess_e_value,
    judge,
    power_statement,
    ratio_e_value,
    requests_to_detect,
    within_e_value,
)


def exposure(share: float, challenger: tuple[int, int], champion: tuple[int, int] = (0, 0)) -> Exposure:
    return Exposure(
        share=share,
        challenger_requests=challenger[0],
        challenger_faults=challenger[1],
        champion_requests=champion[0],
        champion_faults=champion[1],
    )


def test_imports_the_standard_library_only() -> None:
    tree = ast.parse(Path(sequential.__file__).read_text())
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("tolerance", [0.0, 0.25])
def test_ratio_expectation_is_one_at_the_null_and_less_below_it(share: float, tolerance: float) -> None:
    def expectation(ratio: float, faults: int) -> float:
        on_challenger = share * ratio / (share * ratio + 1 - share)
        return sum(
            math.comb(faults, k)
            * on_challenger**k
            * (1 - on_challenger) ** (faults - k)
            * ratio_e_value([exposure(share, (0, k), (0, faults - k))], ratio_tolerance=tolerance)
            for k in range(faults + 1)
        )

    assert expectation(1 + tolerance, 6) == pytest.approx(1.0)
    assert expectation((1 + tolerance) / 2, 6) < 0.9


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_calm_expectation_is_one_at_the_null_and_less_above_it(share: float) -> None:
    def expectation(ratio: float, faults: int) -> float:
        on_challenger = share * ratio / (share * ratio + 1 - share)
        return sum(
            math.comb(faults, k)
            * on_challenger**k
            * (1 - on_challenger) ** (faults - k)
            * calm_e_value(exposure(share, (0, k), (0, faults - k)), ratio_tolerance=1.0)
            for k in range(faults + 1)
        )

    assert expectation(2.0, 8) == pytest.approx(1.0)
    assert expectation(4.0, 8) < 0.95
    assert expectation(1.0, 8) > 1.05


def test_within_and_excess_expectations_are_one_at_the_tolerance() -> None:
    tolerance, requests = 0.1, 12

    def within(n: int, k: int) -> float:
        return within_e_value(n, k, tolerance=tolerance, alpha=0.05)

    def excess(n: int, k: int) -> float:
        return excess_e_value(n, k, tolerance=tolerance)

    for e_value in (within, excess):
        total = sum(
            math.comb(requests, k) * tolerance**k * (1 - tolerance) ** (requests - k) * e_value(requests, k)
            for k in range(requests + 1)
        )
        assert total == pytest.approx(1.0)


def test_periods_multiply_for_each_alternative() -> None:
    first, second = exposure(0.05, (0, 2), (0, 1)), exposure(0.5, (0, 3), (0, 2))
    expected = 0.0
    for multiple in sequential.RATIO_GRID:
        factor = 1.0
        for period in (first, second):
            q = period.share * multiple / (period.share * multiple + 1 - period.share)
            factor *= (q / period.share) ** period.challenger_faults
            factor *= ((1 - q) / (1 - period.share)) ** period.champion_faults
        expected += factor / len(sequential.RATIO_GRID)
    assert ratio_e_value([first, second]) == pytest.approx(expected)
    assert ratio_e_value([second, first]) == pytest.approx(expected)


def test_a_period_with_all_traffic_on_one_side_says_nothing_about_the_ratio() -> None:
    assert ratio_e_value([exposure(1.0, (100, 50)), exposure(0.0, (0, 0), (10, 10))]) == 1.0


def test_overflow_is_infinity() -> None:
    assert ratio_e_value([exposure(0.05, (10_000, 10_000))]) == math.inf


@pytest.mark.parametrize(("tolerance", "alpha", "needed"), [(0.01, 0.05, 299), (0.05, 0.05, 59), (0.01, 0.01, 459)])
def test_clean_requests(tolerance: float, alpha: float, needed: int) -> None:
    assert clean_requests_needed(tolerance=tolerance, alpha=alpha) == needed
    assert within_e_value(needed, 0, tolerance=tolerance, alpha=alpha) * alpha >= 1 - 1e-9
    assert within_e_value(needed - 1, 0, tolerance=tolerance, alpha=alpha) * alpha < 1


def test_one_fault_delays_the_evidence_and_does_not_rule_it_out() -> None:
    assert within_e_value(299, 1, tolerance=0.01, alpha=0.05) < 20
    assert within_e_value(1500, 1, tolerance=0.01, alpha=0.05) > 20


def test_ratio_false_alarms_under_peeking_with_changing_weights_and_traffic() -> None:
    generator = np.random.default_rng(20260801)
    alpha, alarms, rollouts = 0.05, 0, 1500
    for _ in range(rollouts):
        counts: list[Exposure] = []
        alarmed = False
        for share in (0.05, 0.25, 0.5):
            on_challenger = (generator.random(40) < share).cumsum()
            counts.append(exposure(share, (0, 0)))
            for seen, k in enumerate(on_challenger, start=1):
                counts[-1] = exposure(share, (0, int(k)), (0, seen - int(k)))
                alarmed = alarmed or ratio_e_value(counts) >= 1 / alpha
        alarms += alarmed
    assert alarms / rollouts <= alpha
    assert alarms > 0


def test_within_is_claimed_falsely_at_most_alpha_of_the_time() -> None:
    generator = np.random.default_rng(7)
    alpha, tolerance, requests, claims, runs = 0.05, 0.01, 2000, 0, 1500
    for _ in range(runs):
        times = np.flatnonzero(generator.random(requests) < tolerance)
        # The evidence is highest just before a fault, so looking there is looking everywhere.
        looks = [(int(time), index) for index, time in enumerate(times)] + [(requests, len(times))]
        claims += any(within_e_value(n, k, tolerance=tolerance, alpha=alpha) >= 1 / alpha for n, k in looks)
    assert claims / runs <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)
    assert claims > 0


def test_excess_false_alarms_and_detection() -> None:
    generator = np.random.default_rng(11)

    def alarm_rate(rate: float, runs: int) -> float:
        alarms = 0
        for _ in range(runs):
            times = np.flatnonzero(generator.random(2000) < rate)
            alarms += any(
                excess_e_value(int(time) + 1, index + 1, tolerance=0.01) >= 20 for index, time in enumerate(times)
            )
        return alarms / runs

    assert alarm_rate(0.01, 1500) <= 0.05
    assert alarm_rate(0.05, 200) >= 0.99


def test_a_version_that_always_fails_is_seen_within_three_faults() -> None:
    assert ratio_e_value([exposure(0.05, (3, 3), (57, 0))]) >= 20
    assert excess_e_value(3, 3, tolerance=0.01) >= 20


def test_the_predicted_delay_is_about_the_simulated_one() -> None:
    generator = np.random.default_rng(3)
    share, challenger, champion, alpha = 0.25, 0.2, 0.02, 0.05
    predicted = requests_to_detect(challenger, champion, share=share, alpha=alpha)
    delays = []
    for _ in range(200):
        k = m = requests = 0
        while ratio_e_value([exposure(share, (0, k), (0, m))]) < 1 / alpha:
            requests += 1
            arm = generator.random() < share
            if generator.random() < (challenger if arm else champion):
                k, m = k + arm, m + (not arm)
        delays.append(requests)
    assert 0.5 * predicted < float(np.mean(delays)) < 1.5 * predicted


def test_detectable_rate_is_the_inverse_of_the_delay() -> None:
    rate = detectable_rate(2000, 0.001, share=0.05, alpha=0.05)
    assert rate is not None
    assert requests_to_detect(rate, 0.001, share=0.05, alpha=0.05) == pytest.approx(2000, rel=0.02)
    assert detectable_rate(5, 0.001, share=0.05, alpha=0.05) is None
    assert requests_to_detect(0.001, 0.001, share=0.05, alpha=0.05) == math.inf


def test_power_statement() -> None:
    assert power_statement(2000, 0.001, share=0.05, alpha=0.05).startswith(
        "At 5% this step detects a fault rate of "
    )
    assert "too short" in power_statement(5, 0.001, share=0.05, alpha=0.05)


@pytest.mark.parametrize(
    ("periods", "has_champion", "verdict"),
    [
        ([], True, Verdict.HOLD),
        ([exposure(0.05, (10, 0), (190, 0))], True, Verdict.HOLD),
        ([exposure(0.05, (299, 0), (6000, 0))], True, Verdict.ADVANCE),
        ([exposure(0.05, (20, 4), (380, 0))], True, Verdict.ROLL_BACK),
        ([exposure(0.05, (299, 0), (6000, 0)), exposure(0.25, (10, 0), (30, 0))], True, Verdict.HOLD),
        ([exposure(0.5, (299, 0), (299, 0)), exposure(1.0, (20, 6))], True, Verdict.ROLL_BACK),
        ([exposure(1.0, (299, 0))], False, Verdict.ADVANCE),
        ([exposure(1.0, (20, 6))], False, Verdict.ROLL_BACK),
        ([exposure(1.0, (20, 1))], False, Verdict.HOLD),
    ],
)
def test_judge(periods: list[Exposure], has_champion: bool, verdict: Verdict) -> None:
    assert judge(periods, tolerance=0.01, alpha=0.05, has_champion=has_champion).verdict is verdict


def test_faults_of_both_arms_alike_do_not_roll_back() -> None:
    periods = [exposure(0.5, (1000, 100), (1000, 100))]
    judgement = judge(periods, tolerance=0.01, alpha=0.05)
    assert judgement.verdict is Verdict.HOLD
    assert judgement.worse_than_champion < 1


def test_evidence_grows_with_faults_on_the_challenger() -> None:
    values = [ratio_e_value([exposure(0.25, (0, k), (0, 5))]) for k in range(10)]
    assert all(later > earlier for earlier, later in itertools.pairwise(values))


def test_each_alarm_has_its_half_of_the_error_rate_from_the_first_request_on() -> None:
    period = exposure(0.25, (20, 3), (60, 0))
    assert 20 < ratio_e_value([period]) < 40
    assert judge([period], tolerance=0.01, alpha=0.05).verdict is not Verdict.ROLL_BACK
    assert judge([period], tolerance=0.01, alpha=0.05).harm_needed == 40
    assert judge([period], tolerance=0.01, alpha=0.05, has_champion=False).harm_needed == 20


judge_slow = partial(judge, tolerance=None, ratio_tolerance=1.0, alpha=0.05)


@pytest.mark.parametrize(
    ("period", "verdict"),
    [
        (exposure(0.05, (1000, 700), (19_000, 950)), Verdict.ROLL_BACK),
        (exposure(0.05, (1000, 50), (19_000, 950)), Verdict.ADVANCE),
        (exposure(0.05, (1000, 500), (19_000, 9_500)), Verdict.ADVANCE),  # the machine is slow, and so are both
        (exposure(0.05, (1000, 0), (19_000, 0)), Verdict.ADVANCE),  # and here nothing is
        (exposure(0.05, (1000, 40), (19_000, 0)), Verdict.ADVANCE),  # more than the champion, and still rare
        (exposure(0.05, (20, 1), (380, 19)), Verdict.HOLD),
        (exposure(0.05, (20, 2), (380, 0)), Verdict.HOLD),
        (exposure(1.0, (1000, 1000)), Verdict.ADVANCE),  # alone it is compared with nobody
    ],
)
def test_judge_by_the_champion_alone(period: Exposure, verdict: Verdict) -> None:
    assert judge_slow([period]).verdict is verdict


def test_several_tests_share_the_error_rate_of_harm_and_not_that_of_going_on() -> None:
    period = exposure(0.05, (300, 0), (5700, 0))
    one, four = (judge([period], tolerance=0.01, alpha=0.05, tests=tests) for tests in (1, 4))
    assert (one.harm_needed, four.harm_needed) == (40, 160)
    assert one.needed == four.needed == 20
    assert judge_slow([period], tests=4).harm_needed == 80


def test_what_failed_before_is_no_evidence_of_harm_but_no_evidence_of_none_either() -> None:
    before = exposure(0.05, (5000, 5), (95_000, 95))
    now = Exposure(
        share=0.5, challenger_requests=300, challenger_faults=0, champion_requests=300, challenger_again=30
    )
    judgement = judge([before, now], tolerance=0.01, alpha=0.05)
    assert judgement.verdict is Verdict.HOLD
    assert judgement.worse_than_champion < 2
