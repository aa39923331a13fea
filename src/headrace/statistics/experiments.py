"""Anytime-valid tests of two versions by what their answers brought, from sums alone.

A unit is given to the challenger with a known probability, its share. Then Z = (R - b) / share on the challenger
and -(R - b) / (1 - share) on the champion has the difference of the mean rewards as its expectation, whatever b is
and however rewards drift. Betting a fixed part of the stake on Z makes an e-process: its expectation is at most
one at every time while the difference is not above what is tested, so by Ville's inequality it ever reaches
1/alpha with probability at most alpha. The factors of periods with other shares multiply, so shares may change,
also in the light of the rewards so far, as those of a bandit do.

For rewards that are 0 or 1 the product is told from four counts exactly, and with b at the mean rate it is the
best one there is. For others Fan's inequality bounds each factor from below, log(1 + f y) >= f y + (log(1 - f) +
f) y^2 for y >= -1, so that the product is bounded by three sums. The e-value is the mean over a grid of b and f,
of which only the b that is nearest to the mean reward is counted: no tuning.

This module imports the standard library alone, because the control process uses it and stays small.

Sources: Waudby-Smith and Ramdas, "Estimating Means of Bounded Random Variables by Betting" (2023), and
Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro, "Anytime-Valid Off-Policy Inference for Contextual Bandits"
(2022), for the bets and for shares that adapt; Fan, Grama and Liu, "Exponential Inequalities for Martingales with
Applications" (2015); Turner, Ly and Grünwald, "Generic E-Variables for Exact Sequential k-Sample Tests" (2021),
for the best bet on two rates; Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data" (2022), for
the split of the units; Thompson, "On the Likelihood that One Unknown Probability Exceeds Another" (1933), and
Agrawal and Goyal (2012) for rewards between 0 and 1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

BASELINES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""What is taken off the rewards; each has the same weight. The nearer to their mean, the less they spread."""
FRACTIONS = tuple(2.0**-power for power in range(1, 11))
"""Parts of the largest bet that cannot lose everything; each has the same weight."""

ODDS = (1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 5.0, 20.0)
"""How many times the declared odds of the challenger the alternatives of a wrong split are, and their inverses."""

BITES = 11
"""Halvings of the distance between a value inside of an interval and one outside."""
DENSITY_POINTS = 400


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """Sums over the rewards of one arm in a period, each of them in [0, 1].

    Attributes:
        count: how many.
        total: their sum.
        squares: the sum of their squares.
        binary: whether each of them is 0 or 1.
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    binary: bool = True

    @property
    def mean(self) -> float:
        """Of the rewards; 0 without any."""
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """Of the rewards; 0 without any."""
        return max(0.0, self.squares / self.count - self.mean**2) if self.count else 0.0

    def turned(self) -> "Rewards":
        """The same of one minus each reward."""
        squares = self.count - 2.0 * self.total + self.squares
        return Rewards(count=self.count, total=self.count - self.total, squares=squares, binary=self.binary)


@dataclass(frozen=True, kw_only=True)
class Period:
    """What came back in one period with a constant split.

    Attributes:
        share: probability in (0, 1) that a unit is the challenger's.
    """

    share: float
    challenger: Rewards
    champion: Rewards

    def swapped(self) -> "Period":
        """The same with the arms changed over."""
        return Period(share=1.0 - self.share, challenger=self.champion, champion=self.challenger)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The challenger's mean reward minus the champion's, with an interval that may be looked at any time."""

    estimate: float
    low: float
    high: float


def difference_e_value(periods: Sequence[Period], *, at_most: float) -> float:
    """Evidence against "the challenger's mean reward exceeds the champion's by no more than `at_most`".

    Args:
        periods: with constant splits, in any order.
        at_most: in [-1, 1].

    Returns:
        The e-value; below 1 before any reward, infinity when it exceeds the range of a float.
    """
    return _e_value(_bets(periods), at_most)


def shortfall_e_value(periods: Sequence[Period], *, at_least: float) -> float:
    """Evidence against "the challenger's mean reward exceeds the champion's by `at_least` or more"."""
    return difference_e_value([period.swapped() for period in periods], at_most=-at_least)


def difference(periods: Sequence[Period], *, alpha: float) -> Difference:
    """The difference of the mean rewards, with the values that the two tests at alpha/2 each do not rule out.

    Where means drift or shares change, the estimate is the mean of the periods' differences, each weighted by how
    well it is known: periods in which one arm has nothing say nothing.
    """
    periods = merged(periods)
    needed = 2.0 / alpha
    middle, spread = _estimate(periods)

    up, down = _bets(periods), _bets([period.swapped() for period in periods])

    def not_above(value: float) -> bool:
        return _e_value(up, value) >= needed

    def not_below(value: float) -> bool:
        return _e_value(down, -value) >= needed

    ends = _edge(not_above, middle, -1.0, 4.0 * spread), _edge(not_below, middle, 1.0, 4.0 * spread)
    low, high = min(ends), max(ends)  # they cross where everything is ruled out: units were split otherwise
    return Difference(estimate=min(high, max(low, middle)), low=low, high=high)


def merged(periods: Sequence[Period]) -> list[Period]:
    """Periods with one share put together; every product stays as it is."""
    found: dict[float, Period] = {}
    for period in periods:
        if not 0.0 < period.share < 1.0:
            continue
        known = found.get(period.share)
        found[period.share] = period if known is None else _together(known, period)
    return list(found.values())


def split_e_value(units: Sequence[tuple[float, int, int]]) -> float:
    """Evidence against "units were given to the arms with the declared shares".

    Args:
        units: for each period its share, and how many units began on the challenger and on the champion in it.

    Returns:
        The e-value: mean over `ODDS` and their inverses of binomial likelihood ratios.
    """
    logs = []
    for odds in (*ODDS, *(1.0 / each for each in ODDS)):
        total = 0.0
        for share, challenger, champion in units:
            if 0.0 < share < 1.0:
                other = share * odds / (share * odds + 1.0 - share)
                total += challenger * math.log(other / share)
                total += champion * math.log((1.0 - other) / (1.0 - share))
        logs.append(total)
    return _mean_of(logs)


def arrival_e_value(units: Sequence[tuple[float, int, int, int, int]]) -> float:
    """Evidence against "rewards arrive as often on both arms", in either direction.

    Args:
        units: for each period its share, then of the challenger and of the champion how many units could have a
            reward by now, and how many have one.
    """
    periods = [
        Period(share=share, challenger=_arrived(mine, arrived), champion=_arrived(others, others_arrived))
        for share, mine, arrived, others, others_arrived in units
    ]
    periods = merged(periods)
    return (difference_e_value(periods, at_most=0.0) + shortfall_e_value(periods, at_least=0.0)) / 2.0


def probability_better(periods: Sequence[Period]) -> float:
    """How probable it is that the challenger's mean reward is the higher one: the posteriors of two rates.

    Each has a uniform prior, and a reward between 0 and 1 counts as that much of a success: for rewards that are no
    0 or 1 this is wider than their spread asks for, so it moves more slowly. Where there are several periods both
    arms are averaged over them with the same weights, or whoever got more units at a better time would look better;
    as many units are counted as know the average that well.
    """
    weights = [_weight(period) for period in periods]
    whole = sum(weights)
    if whole <= 0.0:
        return 0.5
    parts = [(weight / whole, period) for weight, period in zip(weights, periods, strict=True) if weight > 0.0]
    mine = _posterior([(weight, period.challenger) for weight, period in parts])
    theirs = _posterior([(weight, period.champion) for weight, period in parts])
    return _exceeds(mine, theirs)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is expected of the rewards of one arm, each of them in [0, 1].

    Attributes:
        binary: whether each of them is 0 or 1.
    """

    mean: float
    variance: float
    binary: bool = True


def rewards_to_detect(
    champion: Expected,
    challenger: Expected,
    *,
    share: float,
    alpha: float,
    at_most: float = 0.0,
    found_in: float = 0.9,
) -> float:
    """How many rewards of both arms show in a part of all cases that the challenger's mean is the higher one.

    After n rewards the log of a bet is about normal, with n times the mean and the variance of one reward's. The
    bets win and lose by the same rewards, so that in all but that part of the cases each of them stands at its own
    quantile or above; what is told is the n at which the mean over the whole grid, taken there, is evidence enough.
    So nothing is allowed for what the grid costs: it is in the mean itself. To find that the champion's is the
    higher one, change the arms over.

    Args:
        champion: its rewards.
        challenger: its rewards.
        share: of the units that the challenger answers.
        alpha: error rate of both directions together.
        at_most: the difference that is tested; see `difference_e_value`.
        found_in: the part of the cases.

    Returns:
        The number; infinity when no bet of the grid grows.
    """
    if not 0.0 < share < 1.0 or challenger.mean - champion.mean <= at_most:
        return math.inf
    base = _nearest(share * challenger.mean + (1.0 - share) * champion.mean)
    growths = [_growth(champion, challenger, share, at_most, base, part) for part in FRACTIONS]
    if max(mean for mean, _ in growths) <= 0.0:
        return math.inf
    quantile = NormalDist().inv_cdf(found_in)
    needed = math.log(2.0 / alpha) + math.log(len(BASELINES))

    def suffices(number: float) -> bool:
        return (
            _log_mean([number * mean - quantile * math.sqrt(number) * spread for mean, spread in growths]) >= needed
        )

    enough = 1.0
    while not suffices(enough):
        enough *= 2.0
    too_few = enough / 2.0
    while enough - too_few > 1e-6 * enough:
        middle = (too_few + enough) / 2.0
        too_few, enough = (too_few, middle) if suffices(middle) else (middle, enough)
    return enough


def rate_variance(mean: float, *, binary: bool, variance: float) -> float:
    """What the variance of rewards is at another mean: of 0 and 1 it follows from it, of others it stays."""
    mean = min(1.0, max(0.0, mean))
    return mean * (1.0 - mean) if binary else variance


class Bet(NamedTuple):
    """One of the grid's bets on all periods, prepared to be told for many values of the difference.

    Attributes:
        exact: of rewards that are 0 or 1, for each value of Z how many had it, and the factor's two coefficients.
        bounded: of others, for each period the part, what one Z may lose at most, and count, sum and squares of Z.
    """

    exact: list[tuple[float, float, float]]
    bounded: list[tuple[float, float, float, float, float]]

    def log(self, at_most: float) -> float:
        """Log of the product of the bets; for rewards between 0 and 1 a bound of it from below."""
        total = 0.0
        for count, won, bet in self.exact:
            total += count * math.log1p(won - bet * at_most)
        for part, most, count, first, second in self.bounded:
            squares = max(0.0, second - 2.0 * at_most * first + at_most**2 * count)
            total += part * (first - at_most * count) / most + (math.log1p(-part) + part) * squares / most**2
        return total


def _bets(periods: Sequence[Period]) -> list[Bet]:
    """The bets about the baseline that is nearest to the mean of all rewards; `_e_value` weighs them as of all.

    The others are left at nothing, which a mean over all can only lose by. About a baseline that is far from the
    rewards a bet wins by how many there are of either arm, and not by what they are: a split that is hardly wrong
    would pass for a difference long before its own test finds it.
    """
    shared = [period for period in periods if 0.0 < period.share < 1.0]
    arms = [arm for period in shared for arm in (period.challenger, period.champion)]
    nearest = _nearest(sum(arm.total for arm in arms) / max(1, sum(arm.count for arm in arms)))
    return [bet(shared, nearest, part) for part in FRACTIONS]


def _nearest(mean: float) -> float:
    return min(BASELINES, key=lambda base: abs(base - mean))


def _growth(
    champion: Expected, challenger: Expected, share: float, at_most: float, base: float, part: float
) -> tuple[float, float]:
    """Mean and standard deviation of what one reward adds to the log of a bet."""
    most = _most(share, base)
    if champion.binary and challenger.binary:
        stake = part / most
        steps = [
            (
                of_arm * (arm.mean if reward else 1.0 - arm.mean),
                math.log1p(stake * (sign * (reward - base) / of_arm - at_most)),
            )
            for arm, of_arm, sign in ((challenger, share, 1.0), (champion, 1.0 - share, -1.0))
            for reward in (0.0, 1.0)
        ]
        mean = sum(chance * size for chance, size in steps)
        return mean, math.sqrt(max(0.0, sum(chance * size * size for chance, size in steps) - mean * mean))
    squares = (challenger.variance + (challenger.mean - base) ** 2) / share
    squares += (champion.variance + (champion.mean - base) ** 2) / (1.0 - share)
    first = challenger.mean - champion.mean
    second = squares - 2.0 * at_most * first + at_most**2
    mean = part * (first - at_most) / most + (math.log1p(-part) + part) * second / most**2
    # how the squares scatter takes moments that nobody knows; it is of the next order
    return mean, part / most * math.sqrt(max(0.0, squares - first * first))


def _most(share: float, base: float) -> float:
    """No Z less what is tested is below minus this, whatever is tested: so a product falls as that rises."""
    return 1.0 + max(base / share, (1.0 - base) / (1.0 - share))


def bet(periods: Sequence[Period], base: float, part: float) -> Bet:
    """One of the grid's bets on periods that are shared by both arms.

    Args:
        periods: with shares in (0, 1).
        base: one of `BASELINES`.
        part: one of `FRACTIONS`.
    """
    found = Bet([], [])
    for period in periods:
        share, mine, theirs = period.share, period.challenger, period.champion
        most = _most(share, base)
        if mine.binary and theirs.binary:
            stake = part / most
            seen = (
                (mine.total, (1.0 - base) / share),
                (mine.count - mine.total, -base / share),
                (theirs.total, -(1.0 - base) / (1.0 - share)),
                (theirs.count - theirs.total, base / (1.0 - share)),
            )
            found.exact.extend((count, stake * value, stake) for count, value in seen if count)
            continue
        first = (mine.total - base * mine.count) / share - (theirs.total - base * theirs.count) / (1.0 - share)
        second = _squares_about(mine, base) / share**2 + _squares_about(theirs, base) / (1.0 - share) ** 2
        found.bounded.append((part, most, mine.count + theirs.count, first, second))
    return found


def _e_value(bets: Sequence[Bet], at_most: float) -> float:
    return _mean_of([bet.log(at_most) for bet in bets]) / len(BASELINES)


def _squares_about(rewards: Rewards, base: float) -> float:
    return rewards.squares - 2.0 * base * rewards.total + base**2 * rewards.count


def _together(one: Period, other: Period) -> Period:
    return Period(
        share=one.share,
        challenger=_added(one.challenger, other.challenger),
        champion=_added(one.champion, other.champion),
    )


def _added(one: Rewards, other: Rewards) -> Rewards:
    return Rewards(
        count=one.count + other.count,
        total=one.total + other.total,
        squares=one.squares + other.squares,
        binary=one.binary and other.binary,
    )


def _arrived(units: int, arrived: int) -> Rewards:
    return Rewards(count=units, total=float(arrived), squares=float(arrived))


def _weight(period: Period) -> float:
    """How well a period knows the difference: inverse to its variance where rewards spread alike everywhere."""
    mine, theirs = period.challenger.count, period.champion.count
    return mine * theirs / (mine + theirs) if mine and theirs else 0.0


def _estimate(periods: Sequence[Period]) -> tuple[float, float]:
    """The weighted difference and about its standard error."""
    weights = [_weight(period) for period in periods]
    whole = sum(weights)
    if whole <= 0.0:
        return 0.0, 1.0
    middle = variance = 0.0
    for weight, period in zip(weights, periods, strict=True):
        if weight > 0.0:
            middle += weight / whole * (period.challenger.mean - period.champion.mean)
            spread = sum(
                (arm.variance + 1.0 / (arm.count + 2.0)) / arm.count for arm in (period.challenger, period.champion)
            )
            variance += (weight / whole) ** 2 * spread
    return middle, math.sqrt(variance)


def _edge(ruled_out: Callable[[float], bool], middle: float, end: float, step: float) -> float:
    """Where an interval ends, from its estimate towards an end of all values; what may be true is inside."""
    inside, outside = middle, end
    if ruled_out(middle):  # the weighted mean is not what this test is about: the interval lies on its other side
        inside, outside = -end, middle
    else:
        while abs(end - inside) > step:
            beyond = inside + math.copysign(step, end)
            if ruled_out(beyond):
                outside = beyond
                break
            inside, step = beyond, 2.0 * step
        else:
            if not ruled_out(end):
                return end
    for _ in range(BITES):
        between = (inside + outside) / 2.0
        inside, outside = (inside, between) if ruled_out(between) else (between, outside)
    return outside


def _posterior(parts: Sequence[tuple[float, Rewards]]) -> tuple[float, float]:
    """The parameters of a beta distribution."""
    mean = sum(weight * rewards.mean for weight, rewards in parts)
    count = 1.0 / sum(weight**2 / rewards.count for weight, rewards in parts)
    return 1.0 + count * mean, 1.0 + count * (1.0 - mean)


def _exceeds(mine: tuple[float, float], theirs: tuple[float, float]) -> float:
    """The probability that a draw from one beta distribution is above one from another; to about 1e-4."""
    edges = []
    for first, second in (mine, theirs):
        middle = first / (first + second)
        spread = math.sqrt(middle * (1.0 - middle) / (first + second + 1.0))
        edges.append((middle - 9.0 * spread, middle + 9.0 * spread))
    low, high = max(0.0, min(edge[0] for edge in edges)), min(1.0, max(edge[1] for edge in edges))
    width = (high - low) / DENSITY_POINTS
    points = [low + (place + 0.5) * width for place in range(DENSITY_POINTS)]
    one, other = _density(mine, points), _density(theirs, points)
    below = above = 0.0
    for mine_here, theirs_here in zip(one, other, strict=True):
        above += mine_here * (below + theirs_here / 2.0)
        below += theirs_here
    return min(1.0, max(0.0, above))


def _density(parameters: tuple[float, float], points: Sequence[float]) -> list[float]:
    """Of a beta distribution at some points, so that they add up to one."""
    first, second = parameters
    logs = [(first - 1.0) * math.log(point) + (second - 1.0) * math.log1p(-point) for point in points]
    highest = max(logs)
    weights = [math.exp(log - highest) for log in logs]
    whole = sum(weights)
    return [weight / whole for weight in weights]


def _mean_of(logs: Sequence[float]) -> float:
    """The mean of exp(logs); infinity instead of an overflow."""
    exponent = _log_mean(logs)
    return math.exp(exponent) if exponent < 700.0 else math.inf


def _log_mean(logs: Sequence[float]) -> float:
    """The log of the mean of exp(logs)."""
    highest = max(logs)
    return highest + math.log(sum(math.exp(log - highest) for log in logs) / len(logs))
