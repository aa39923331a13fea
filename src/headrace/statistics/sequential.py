"""Anytime-valid tests of fault rates, so that a release may be judged after every request.

A fixed-sample test that is repeated until it fires gives a false alarm sooner or later. The tests here are
e-processes: under the null hypothesis the expected e-value never exceeds one, so by Ville's inequality the
chance that it *ever* reaches 1/alpha is at most alpha, however often it is looked at.

Every function takes counts and returns a number or a verdict; there is no state to keep or to lose. Faults
should be counted once for each unit (the first one of a customer, say): retries of one bad payload are not
independent.

This module imports the standard library alone, because the control process uses it and stays small.

Sources: Ville (1939); Wald (1945) for the likelihood ratios and the expected sample sizes; Lindon and Malek,
"Anytime-Valid Inference for Multinomial Count Data" (NeurIPS 2022), for conditioning on the arm of each
fault; Ramdas, Grünwald, Vovk and Shafer, "Game-Theoretic Statistics and Safe Anytime-Valid Inference" (2023).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

RATIO_GRID = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0)
"""How many times the tolerated ratio the alternatives of `ratio_e_value` are; each has the same weight."""

ODDS_GRID = (2.0, 4.0, 10.0, 30.0, 100.0, 1000.0)
"""How many times the tolerated odds the alternatives of `excess_e_value` are; each has the same weight."""

RATE_GRID = (0.5, 0.25, 0.1)
"""Which parts of the tolerated rate the alternatives of `within_e_value` are, beside the rate of zero."""


CALM_GRID = (0.75, 0.5, 0.25, 0.1)
"""Which parts of the tolerated ratio the alternatives of `calm_e_value` are; each has the same weight."""


CHAMPION_FLOOR = 0.05
"""What the champion's rate is taken for at least where there is no absolute tolerance: slow beyond its p95."""


class Verdict(StrEnum):
    """What the evidence allows: to wait, to go on, or to go back."""

    HOLD = "HOLD"
    ADVANCE = "ADVANCE"
    ROLL_BACK = "ROLL_BACK"


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What was seen in one period with a constant split of the traffic.

    Attributes:
        share: probability in [0, 1] that a unit of traffic goes to the challenger.
        challenger_requests: requests that the challenger answered.
        challenger_faults: those of them that failed by the model's fault, and had not in an earlier period.
        champion_requests: requests that the champion answered.
        champion_faults: those of them that failed by the model's fault, and had not in an earlier period.
        challenger_again: those that failed, of units that had failed in an earlier period. They are no independent
            evidence of harm, but count when it is asked what this period alone shows.
        champion_again: the same on the champion.
    """

    share: float
    challenger_requests: int
    challenger_faults: int
    champion_requests: int = 0
    champion_faults: int = 0
    challenger_again: int = 0
    champion_again: int = 0


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict with the evidence that it rests on.

    Attributes:
        needed: what `within_tolerance` must reach to advance.
        harm_needed: what one of the other two must reach to go back.
    """

    verdict: Verdict
    reason: str
    needed: float
    harm_needed: float
    worse_than_champion: float
    above_tolerance: float
    within_tolerance: float


def ratio_e_value(periods: Iterable[Exposure], *, ratio_tolerance: float = 0.0) -> float:
    """Evidence against "the challenger's fault rate is at most (1 + tolerance) times the champion's".

    Given that a fault occurs, the null puts it on the challenger with probability at most
    share * (1 + tolerance) / (share * (1 + tolerance) + 1 - share), whatever the level of faults or of
    traffic is at the time. The e-value is the mean over `RATIO_GRID` of the binomial likelihood ratios; the
    factors of periods multiply, so the split may change between them. A period with all traffic on one side
    says nothing here.

    Args:
        periods: counts of periods with a constant split, in any order.
        ratio_tolerance: how much higher the rate may be, as a part of the champion's; 0.25 is a quarter.

    Returns:
        The e-value, at least 0; 1 before any fault, infinity when it exceeds the range of a float.
    """
    log_factors = [0.0] * len(RATIO_GRID)
    tolerated = 1.0 + ratio_tolerance
    for period in periods:
        if not 0.0 < period.share < 1.0:
            continue
        null = _arm_probability(period.share, tolerated)
        for index, multiple in enumerate(RATIO_GRID):
            alternative = _arm_probability(period.share, tolerated * multiple)
            log_factors[index] += _log_ratio(period.challenger_faults, period.champion_faults, alternative, null)
    return mixture([1.0] * len(RATIO_GRID), log_factors)


def calm_e_value(period: Exposure, *, ratio_tolerance: float) -> float:
    """Evidence against "the challenger's rate is more than (1 + tolerance) times the champion's": to go on.

    The mirror of `ratio_e_value`, for what has no absolute tolerance because load moves it, as latency.

    Args:
        period: counts of one period.
        ratio_tolerance: how much higher the rate may be, as a part of the champion's; above 0, since equal rates
            are never told apart.

    Returns:
        The e-value; infinity in a period with all traffic on one side, where nothing is compared.
    """
    if not 0.0 < period.share < 1.0:
        return math.inf
    tolerated = 1.0 + ratio_tolerance
    null = _arm_probability(period.share, tolerated)
    logs = [
        _log_ratio(
            period.challenger_faults + period.challenger_again,
            period.champion_faults + period.champion_again,
            _arm_probability(period.share, tolerated * part),
            null,
        )
        for part in CALM_GRID
    ]
    return mixture([1.0] * len(logs), logs)


def excess_e_value(requests: int, faults: int, *, tolerance: float) -> float:
    """Evidence against "the fault rate is at most the tolerance", for a version without a champion.

    Args:
        requests: requests answered.
        faults: those that failed by the model's fault.
        tolerance: tolerated fault rate, in (0, 1).

    Returns:
        The e-value: mean of the binomial likelihood ratios over `ODDS_GRID`.
    """
    odds = tolerance / (1.0 - tolerance)
    alternatives = [odds * multiple / (1.0 + odds * multiple) for multiple in ODDS_GRID]
    logs = [_log_ratio(faults, requests - faults, alternative, tolerance) for alternative in alternatives]
    return mixture([1.0] * len(logs), logs)


def within_e_value(requests: int, faults: int, *, tolerance: float, alpha: float) -> float:
    """Evidence against "the fault rate is at least the tolerance": what it takes to go on.

    Nearly all weight lies on the alternative of no faults at all, as much as lets `clean_requests_needed`
    clean requests suffice; the rest lies on `RATE_GRID`, so that a fault delays the evidence and does not
    rule it out for ever.

    Args:
        requests: requests answered.
        faults: those that failed by the model's fault.
        tolerance: tolerated fault rate, in (0, 1).
        alpha: error rate that the evidence is meant for; it sets the weights only.

    Returns:
        The e-value.
    """
    needed = clean_requests_needed(tolerance=tolerance, alpha=alpha)
    rest = max(1.0 - math.exp(needed * math.log1p(-tolerance)) / alpha, tolerance / 10.0)
    weights = [1.0 - rest] + [rest / len(RATE_GRID)] * len(RATE_GRID)
    rates = [0.0] + [tolerance * part for part in RATE_GRID]
    logs = [_log_ratio(faults, requests - faults, rate, tolerance) for rate in rates]
    return mixture(weights, logs)


def clean_requests_needed(*, tolerance: float, alpha: float) -> int:
    """Requests without a fault after which the rate is shown to be below the tolerance; 299 for 1 %, 0.05."""
    return math.ceil(math.log(alpha) / math.log1p(-tolerance))


def clean_requests_more(requests: int, faults: int, *, tolerance: float, alpha: float) -> int:
    """How many more requests, none of them with a fault, show that the rate is below the tolerance.

    Args:
        requests: requests answered so far.
        faults: those of them that failed by the model's fault.
        tolerance: tolerated fault rate, in (0, 1).
        alpha: error rate.
    """

    def suffice(more: int) -> bool:
        return within_e_value(requests + more, faults, tolerance=tolerance, alpha=alpha) * alpha >= 1.0

    if suffice(0):
        return 0
    most = clean_requests_needed(tolerance=tolerance, alpha=alpha)
    while not suffice(most):  # with each fault it takes longer, and it ends: a rate below the tolerance has weight
        most *= 2
    least = 0
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if suffice(middle) else (middle, most)
    return most


def judge(
    periods: Sequence[Exposure],
    *,
    tolerance: float | None,
    alpha: float,
    ratio_tolerance: float = 0.0,
    has_champion: bool = True,
    champion_floor: float = CHAMPION_FLOOR,
    tests: int = 1,
    what: str = "faults",
) -> Judgement:
    """The verdict on the latest period of a release, with the evidence of all of them.

    Harm is judged on the whole release: against the champion where there is one, and against the absolute
    tolerance in periods where the challenger stands alone. To advance takes evidence, from the latest period
    alone, that the rate is within the tolerance; the absence of an alarm is not enough.

    Args:
        periods: the counts of the release's steps so far, oldest first; the last one is judged.
        tolerance: tolerated absolute fault rate, in (0, 1); None compares with the champion only, and says nothing
            where the challenger stands alone.
        alpha: bound on the probability of a false roll-back over the whole release, and of a false advance
            at this step, each.
        ratio_tolerance: tolerated excess over the champion's rate, as a part of it.
        has_champion: false for a first version, which is judged by the absolute tolerance only.
        champion_floor: without an absolute tolerance the champion's rate is taken for this much at least, so that
            what is rare on either is neither harm nor waited for.
        tests: how many kinds of faults the release is judged by; each has its part of alpha for a false roll-back.
            To advance each must be proven, so there alpha is not divided.
        what: the faults, for people.

    Returns:
        The judgement. A release with a champion ends at full weight, where the absolute alarm joins the one
        against the champion; so each of the two has half of that part from the first request on.
    """
    alone = [period for period in periods if not has_champion or period.share >= 1.0]
    shared = [period for period in periods if has_champion and period.share < 1.0]
    harm_needed = tests * (2.0 if has_champion and tolerance is not None else 1.0) / alpha
    latest = periods[-1] if periods else Exposure(share=0.0, challenger_requests=0, challenger_faults=0)
    failed = latest.challenger_faults + latest.challenger_again
    worse = ratio_e_value(shared, ratio_tolerance=ratio_tolerance)
    if tolerance is None:
        # tolerated is a multiple of the champion's rate or of the floor, whichever is more: harm exceeds both
        floor = (1.0 + ratio_tolerance) * champion_floor
        worse = min(worse, _excess(shared, floor))
        above = 1.0
        within = math.inf  # with all traffic on one side there is nothing to compare with
        if latest in shared:
            calm = calm_e_value(latest, ratio_tolerance=ratio_tolerance)
            within = (calm + within_e_value(latest.challenger_requests, failed, tolerance=floor, alpha=alpha)) / 2.0
        bound = f"{1.0 + ratio_tolerance:g} times the champion's"
    else:
        above = _excess(alone, tolerance)
        within = within_e_value(latest.challenger_requests, failed, tolerance=tolerance, alpha=alpha)
        bound = f"the tolerance of {tolerance:.2%}"
    if worse >= harm_needed:
        verdict, reason = Verdict.ROLL_BACK, f"{what} fall on the challenger more often than the split explains"
    elif above >= harm_needed:
        verdict, reason = Verdict.ROLL_BACK, f"the rate of {what} exceeds {bound}"
    elif within * alpha >= 1.0:
        verdict, reason = Verdict.ADVANCE, f"the rate of {what} is within {bound}"
    else:
        verdict, reason = Verdict.HOLD, f"the evidence on {what} is not sufficient either way"
    return Judgement(
        verdict=verdict,
        reason=reason,
        needed=1.0 / alpha,
        harm_needed=harm_needed,
        worse_than_champion=worse,
        above_tolerance=above,
        within_tolerance=within,
    )


def requests_to_detect(
    challenger_rate: float,
    champion_rate: float,
    *,
    share: float,
    alpha: float,
    ratio_tolerance: float = 0.0,
    found_in: float = 0.5,
) -> float:
    """About how many requests in all, of both arms, pass before `ratio_e_value` reaches 1/alpha.

    Wald's approximation with the best alternative of the grid: (log(1/alpha) + log(grid size)) over the growth for
    each request.

    Args:
        challenger_rate: its rate of faults.
        champion_rate: its rate of faults.
        share: of the requests that the challenger answers.
        alpha: error rate of the test.
        ratio_tolerance: tolerated excess over the champion's rate, as a part of it.
        found_in: the part of all cases in which so many requests suffice, by the normal approximation.

    Returns:
        The number of requests; infinity when no alternative of the grid grows.
    """
    faults_for_each_request = share * challenger_rate + (1.0 - share) * champion_rate
    if faults_for_each_request <= 0.0 or not 0.0 < share < 1.0:
        return math.inf
    tolerated = 1.0 + ratio_tolerance
    null = _arm_probability(share, tolerated)
    found = math.inf
    for multiple in RATIO_GRID:
        alternative = _arm_probability(share, tolerated * multiple)
        steps = (
            (share * challenger_rate, math.log(alternative / null)),
            ((1.0 - share) * champion_rate, math.log((1.0 - alternative) / (1.0 - null))),
        )
        found = min(found, steps_needed(steps, math.log(len(RATIO_GRID) / alpha), found_in))
    # one fault at least has to come, however much it says
    return max(found, 1.0 / faults_for_each_request)


def calm_requests(rate: float, *, share: float, alpha: float, tolerated: float) -> float:
    """About how many requests of both arms pass before `calm_e_value` reaches 1/alpha when the rates are equal.

    Args:
        rate: of both arms.
        share: of the requests that the challenger answers.
        alpha: error rate of the test.
        tolerated: how many times the champion's rate the challenger's may be.
    """
    null = _arm_probability(share, tolerated)
    found = math.inf
    for part in CALM_GRID:
        alternative = _arm_probability(share, tolerated * part)
        steps = (
            (share * rate, math.log(alternative / null)),
            ((1.0 - share) * rate, math.log((1.0 - alternative) / (1.0 - null))),
        )
        found = min(found, steps_needed(steps, math.log(len(CALM_GRID) / alpha), 0.5))
    return found


def requests_to_exceed(rate: float, *, tolerance: float, alpha: float, found_in: float = 0.5) -> float:
    """About how many requests of the challenger pass before `excess_e_value` reaches 1/alpha; see the one above."""
    odds = tolerance / (1.0 - tolerance)
    found = math.inf
    for multiple in ODDS_GRID:
        alternative = odds * multiple / (1.0 + odds * multiple)
        steps = (
            (rate, math.log(alternative / tolerance)),
            (1.0 - rate, math.log((1.0 - alternative) / (1.0 - tolerance))),
        )
        found = min(found, steps_needed(steps, math.log(len(ODDS_GRID) / alpha), found_in))
    return max(1.0, found)


def steps_needed(steps: Sequence[tuple[float, float]], bound: float, found_in: float) -> float:
    """How many requests a sum of log ratios needs to pass a bound in a part of all cases.

    Args:
        steps: probability and size of what one request may add.
        bound: to be passed.
        found_in: the part of the cases; one half gives bound over mean.
    """
    mean = sum(probability * size for probability, size in steps)
    if mean <= 0.0:
        return math.inf
    variance = max(0.0, sum(probability * size * size for probability, size in steps) - mean * mean)
    spread = NormalDist().inv_cdf(found_in) * math.sqrt(variance)
    root = (spread + math.sqrt(spread * spread + 4.0 * mean * bound)) / (2.0 * mean)
    return root * root


def detectable_rate(
    requests: int, champion_rate: float, *, share: float, alpha: float, ratio_tolerance: float = 0.0
) -> float | None:
    """The smallest challenger's fault rate that so many requests of both arms are expected to show.

    Returns:
        The rate in (0, 1], to three digits, or None when even a version that always fails would not be seen.
    """

    def is_seen(rate: float) -> bool:
        needed = requests_to_detect(rate, champion_rate, share=share, alpha=alpha, ratio_tolerance=ratio_tolerance)
        return needed <= requests

    if not is_seen(1.0):
        return None
    low, high = math.log(1e-9), 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2.0
        low, high = (low, middle) if is_seen(math.exp(middle)) else (middle, high)
    return math.exp(high)


def power_statement(
    requests: int, champion_rate: float, *, share: float, alpha: float, ratio_tolerance: float = 0.0
) -> str:
    """One sentence on what a canary step of this length can and cannot see."""
    rate = detectable_rate(requests, champion_rate, share=share, alpha=alpha, ratio_tolerance=ratio_tolerance)
    if rate is None:
        return f"At {share:.0%} this step is too short: {requests} requests detect no fault rate at all."
    return f"At {share:.0%} this step detects a fault rate of {rate:.2%} within {requests} requests."


def _excess(periods: Sequence[Exposure], tolerance: float) -> float:
    return excess_e_value(
        sum(period.challenger_requests for period in periods),
        sum(period.challenger_faults for period in periods),
        tolerance=tolerance,
    )


def _arm_probability(share: float, ratio: float) -> float:
    """Probability that a fault is the challenger's when its rate is `ratio` times the champion's."""
    return share * ratio / (share * ratio + 1.0 - share)


def _log_ratio(successes: int, failures: int, alternative: float, null: float) -> float:
    """Log likelihood ratio of Bernoulli counts; a term with a count of zero is zero."""
    total = 0.0
    if successes:
        total += successes * math.log(alternative / null) if alternative > 0.0 else -math.inf
    if failures:
        total += failures * (math.log1p(-alternative) - math.log1p(-null))
    return total


def mixture(weights: Sequence[float], logs: Sequence[float]) -> float:
    """Weighted mean of exp(logs); infinity instead of an overflow."""
    highest = max(logs)
    if highest == -math.inf:
        return 0.0
    total = sum(weight * math.exp(log - highest) for weight, log in zip(weights, logs, strict=True))
    exponent = highest + math.log(total / sum(weights))
    return math.exp(exponent) if exponent < 700.0 else math.inf
