"""A/B tests and bandits judged themselves: wrong verdicts, false alarms about the split, and how soon it is found.

    python benchmarks/experiments.py [--quick] [--tests 2000] [--seed 0] [--processes 2]

The tests are those of the platform (`statistics.experiments`) with the defaults of `hr.ABTest` and `hr.Bandit`; the
traffic is made. Promised, and printed with Wilson's interval of 95 %:

- A/A: two versions that are alike are told apart in at most one test in twenty, and their units said to be split
  wrongly in at most one in a thousand: with daily cycles of traffic and of rewards, bursts, units of very unequal
  habits that come again and again, rewards that come late or never, and a bandit that moves the share by what it
  saw. For comparison a test of two means at each look, and the platform's own when every request counts.
- Power: a difference is found within as many units as `rewards_to_detect` foretells, in nine of ten tests.
- Split: after how many units a wrong one is found.

Many tests are judged at once (`many_experiments`). One in forty is also judged by the platform's code alone, look
by look, and both must say the same.
"""

import argparse
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from many_experiments import CHALLENGER, CHAMPION, COUNT, Logs, ManyTests, first_place
from rich.console import Console
from rich.table import Table
from rollouts import chunks, rate, wilson
from scipy import stats

from headrace.statistics.experiments import (
    Expected,
    Period,
    Rewards,
    difference_e_value,
    merged,
    probability_better,
    rewards_to_detect,
    shortfall_e_value,
    split_e_value,
)

Array = npt.NDArray[Any]
ALPHA, SPLIT_ALPHA = 0.05, 0.001
FLOOR, CHANGE, MOST_STEPS = 5, 3, 60
"""Of a bandit, in percent; after so many shares it stays where it is."""
EVEN = 50
PERCENTS = tuple(range(FLOOR, 101 - FLOOR))
SHARES = tuple(percent / 100 for percent in PERCENTS)
DAYS, CELLS_A_DAY = 14, 96
LOOKS_A_DAY = {"A/B": 24, "bandit": 8}
"""A reward counts a day after its request."""
IN_TIME = 1.0 - math.exp(-2.0)
"""Of the rewards: they come after half a day on the average, and count if that takes no longer than a day."""
UNITS, REQUESTS = 20_000, 60_000
BASE = 0.06
"""Of first predictions that a unit of the usual habit buys on."""
AT_ONCE = 25
"""Tests that one task judges."""
CHECKED = 40
"""One in so many tests is also judged by the platform's code alone."""
FORETOLD_AT, LOOKS = 50, 200
"""Looks at a difference until what is foretold, and until it is given up."""


class Outcome(NamedTuple):
    """What became of one A/A test under the platform's judgement, and what the usual ways would have said."""

    verdict: str = ""
    alarm: bool = False
    steps: int = 1
    peeking: bool = False
    each_request: bool = False


class Traffic:
    """Requests in their order, each with its unit, and what it brought by the time that it is mature.

    Nothing is looked at more often than each quarter of an hour, so that is as exactly as times are told.
    """

    def __init__(self, seed: int, *, amounts: bool) -> None:
        generator = np.random.default_rng(seed)
        cells = np.arange(DAYS * CELLS_A_DAY)
        of_day = 2 * math.pi * cells / CELLS_A_DAY
        intensity = 1.05 - np.cos(of_day)
        for start in generator.uniform(0, len(cells), size=generator.poisson(2 * DAYS)):
            intensity[(cells >= start) & (cells < start + generator.uniform(2 / 3, 8))] *= 8
        self.cell = np.repeat(cells, generator.multinomial(REQUESTS, intensity / intensity.sum()))
        activity = generator.lognormal(sigma=1.5, size=UNITS)
        asked = generator.multinomial(REQUESTS, activity / activity.sum())
        self.unit = generator.permutation(np.repeat(np.arange(UNITS), asked))
        self.bucket = generator.random(UNITS)
        habit = generator.beta(0.5, 0.5 / BASE - 0.5, size=UNITS)  # most never buy, a few nearly always
        expected = habit[self.unit] * (IN_TIME * (1.0 + 0.6 * np.sin(of_day)))[self.cell]
        self.reward = (generator.random(REQUESTS) < np.minimum(IN_TIME, expected)).astype(float)
        if amounts:
            bought = np.flatnonzero(self.reward)
            self.reward[bought] = np.minimum(1.0, generator.lognormal(-2.0, 1.0, size=len(bought)))
        first = np.full(UNITS, -1)
        first[self.unit[::-1]] = np.arange(REQUESTS)[::-1]  # the last one that is written is the first request
        self.first = np.sort(first[first >= 0])

    def look(self, places: Array, kind: str) -> Array:
        """The look before which each of some requests came."""
        return self.cell[places] // (CELLS_A_DAY // LOOKS_A_DAY[kind])


def added(where: Array, rewards: Array, size: int) -> Array:
    """Count, sum and sum of squares of the rewards at each place, shape (size, 3)."""
    each = (None, rewards, rewards * rewards)
    return np.stack([np.bincount(where, one, minlength=size) for one in each], axis=-1).astype(float)


def peeks(sums: Array) -> Array:
    """The usual way: a two-sided test of two means, of all that there is; sums have the shape (..., 2 arms, 3)."""
    count = np.maximum(1.0, sums[..., COUNT])
    means = sums[..., 1] / count
    variance = ((sums[..., 2] / count - means**2) / count).sum(axis=-1)
    far = stats.norm.ppf(1 - ALPHA / 2) * np.sqrt(np.maximum(0.0, variance))
    enough = (sums[..., COUNT].min(axis=-1) >= 30) & (variance > 0)
    return np.asarray(enough & (np.abs(means[..., CHALLENGER] - means[..., CHAMPION]) > far))


def told(logs: Logs) -> Array:
    """Whether a verdict is reached: 1 for better, -1 for worse, 0 for none."""
    needed = math.log(2.0 / ALPHA)
    return np.where(logs.better >= needed, 1, np.where(logs.worse >= needed, -1, 0))


def first_told(verdicts: Array) -> str:
    """The first verdict of a test, of those at each look."""
    place = first_place(verdicts != 0)
    return "" if place == len(verdicts) else {1: "better", -1: "worse"}[int(verdicts[place])]


def aa_tests(seeds: list[int], *, kind: str, amounts: bool) -> list[Outcome]:
    """Tests of a version that is exactly like its champion, for a fortnight; a false verdict does not end one."""
    traffics = (Traffic(seed, amounts=amounts) for seed in seeds)
    if kind == "A/B":
        judge = ManyTests((EVEN / 100,), binary=not amounts)
        return [ab_test(traffic, judge) for traffic in traffics]
    return bandits(list(traffics), ManyTests(SHARES, binary=not amounts))


def ab_test(traffic: Traffic, judge: ManyTests) -> Outcome:
    """One test at an even share, all its looks at once."""
    looks, matures = DAYS * LOOKS_A_DAY["A/B"], LOOKS_A_DAY["A/B"]
    begun, mature = [], []
    for places in (traffic.first, np.arange(REQUESTS)):
        arm = traffic.bucket[traffic.unit[places]] < EVEN / 100
        where = 2 * traffic.look(places, "A/B") + arm
        sums = added(where, traffic.reward[places], 2 * looks).reshape(looks, 1, 2, 3).cumsum(axis=0)
        begun.append(sums[..., COUNT])
        mature.append(np.concatenate([np.zeros((matures, 1, 2, 3)), sums[:-matures]]))
    judge.hold_to_the_platform(mature[0][-1], begun[0][-1])
    return Outcome(
        verdict=first_told(told(judge.logs(mature[0]))),
        alarm=bool((judge.split_logs(begun[0]) >= -math.log(SPLIT_ALPHA)).any()),
        peeking=bool(peeks(mature[0][:, 0]).any()),
        each_request=bool(told(judge.logs(mature[1])).any()),
    )


def bandits(traffics: list[Traffic], judge: ManyTests) -> list[Outcome]:
    """Bandits side by side, look by look: the share of each follows what it has seen."""
    number, looks, matures = len(traffics), DAYS * LOOKS_A_DAY["bandit"], LOOKS_A_DAY["bandit"]
    columns = [
        (
            np.full(len(traffic.first), place),
            traffic.look(traffic.first, "bandit"),
            traffic.bucket[traffic.unit[traffic.first]],
            traffic.reward[traffic.first],
        )
        for place, traffic in enumerate(traffics)
    ]
    test, look, bucket, reward = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.argsort(look, kind="stable")
    test, bucket, reward = test[order], bucket[order], reward[order]
    ends = np.searchsorted(look[order], np.arange(looks + 1))
    where, size = np.zeros(len(test), dtype=int), number * len(SHARES) * 2
    begun, mature = np.zeros((number, len(SHARES), 2)), np.zeros((number, len(SHARES), 2, 3))
    percent, steps = np.full(number, EVEN), np.ones(number, dtype=int)
    alarm, peeking, verdicts = np.zeros(number, dtype=bool), np.zeros(number, dtype=bool), []
    for at in range(looks):
        new = slice(ends[at], ends[at + 1])
        arm = bucket[new] < percent[test[new]] / 100
        where[new] = 2 * (len(SHARES) * test[new] + percent[test[new]] - FLOOR) + arm
        begun += np.bincount(where[new], minlength=size).reshape(begun.shape)
        if at >= matures:
            ripe = slice(ends[at - matures], ends[at - matures + 1])
            mature += added(where[ripe], reward[ripe], size).reshape(mature.shape)
        verdicts.append(told(judge.logs(mature)))
        alarm |= judge.split_logs(begun) >= -math.log(SPLIT_ALPHA)
        peeking |= peeks(mature.sum(axis=1))
        if moves_at(at + 1):
            percent, steps = moved(judge, mature, percent, steps)
    judge.hold_to_the_platform(mature[0], begun[0])
    return [
        Outcome(
            first_told(np.array(verdicts)[:, place]), bool(alarm[place]), int(steps[place]), bool(peeking[place])
        )
        for place in range(number)
    ]


def moves_at(look: int) -> bool:
    """Whether a bandit of the A/A tests may move: each day, and more often in the first three."""
    return look % LOOKS_A_DAY["bandit"] == 0 or look < 3 * LOOKS_A_DAY["bandit"]


def moved(judge: ManyTests, sums: Array, percent: Array, steps: Array) -> tuple[Array, Array]:
    """The shares of bandits after they were looked at, in percent, and how many each has had."""
    wanted = np.clip(np.rint(100 * judge.probabilities(sums)), FLOOR, 100 - FLOOR).astype(int)
    at_an_end = ((wanted == FLOOR) | (wanted == 100 - FLOOR)) & (wanted != percent)
    moves = ((np.abs(wanted - percent) >= CHANGE) | at_an_end) & (steps < MOST_STEPS)
    return np.where(moves, wanted, percent), steps + moves


def platform_says(seed: int, *, kind: str, amounts: bool) -> Outcome:
    """The same as `aa_tests` of one test, by the platform's code alone, look by look."""
    traffic = Traffic(seed, amounts=amounts)
    each = Sums(traffic, np.arange(REQUESTS), kind) if kind == "A/B" else None
    once = Sums(traffic, traffic.first, kind)
    found, again, peeked, alarm = "", False, False, False
    percents = [EVEN]
    for look in range(1, DAYS * LOOKS_A_DAY[kind] + 1):
        for sums in (once, each) if each else (once,):
            sums.take(look, percents[-1])
        periods = once.periods()
        found = found or verdict(periods)
        again = again or (each is not None and bool(verdict(each.periods())))
        alarm = alarm or split_e_value(once.begun()) >= 1 / SPLIT_ALPHA
        peeked = peeked or bool(peeks(np.array([once.sums(arm) for arm in (CHAMPION, CHALLENGER)])))
        if kind == "bandit" and moves_at(look) and len(percents) < MOST_STEPS:
            wanted = min(100 - FLOOR, max(FLOOR, round(100 * probability_better(periods))))
            at_an_end = wanted in {FLOOR, 100 - FLOOR} and wanted != percents[-1]
            if abs(wanted - percents[-1]) >= CHANGE or at_an_end:
                percents.append(wanted)
    return Outcome(found, alarm, len(percents), peeked, again)


class Sums:
    """What became of some requests of a test, as the platform keeps it."""

    def __init__(self, traffic: Traffic, places: Array, kind: str) -> None:
        self.binary = bool(np.isin(traffic.reward, (0.0, 1.0)).all())
        self.look, self.reward = traffic.look(places, kind), traffic.reward[places]
        self.bucket = traffic.bucket[traffic.unit[places]]
        self.percent, self.arm = np.zeros(len(places), dtype=int), np.zeros(len(places), dtype=int)
        self.matures = LOOKS_A_DAY[kind]
        self.now, self.percents = 0, set[int]()

    def take(self, now: int, percent: int) -> None:
        """Requests before a look begin at a share."""
        new = self.look == now - 1
        self.percent[new] = percent
        self.arm[new] = self.bucket[new] < percent / 100
        self.now = now
        self.percents.add(percent)

    def periods(self) -> list[Period]:
        """As the tests take them."""
        return merged(
            [
                Period(
                    share=percent / 100,
                    challenger=self._arm(CHALLENGER, percent),
                    champion=self._arm(CHAMPION, percent),
                )
                for percent in sorted(self.percents)
            ]
        )

    def begun(self) -> list[tuple[float, int, int]]:
        """Units of either arm for each share."""
        found = []
        for percent in sorted(self.percents):
            arms = self.arm[(self.look < self.now) & (self.percent == percent)]
            found.append((percent / 100, int(arms.sum()), int(len(arms) - arms.sum())))
        return found

    def sums(self, arm: int, percent: int | None = None) -> tuple[float, float, float]:
        """Count, sum and sum of squares of the mature rewards of an arm."""
        chosen = (self.look < self.now - self.matures) & (self.arm == arm)
        if percent is not None:
            chosen &= self.percent == percent
        rewards = self.reward[chosen]
        return float(len(rewards)), float(rewards.sum()), float((rewards**2).sum())

    def _arm(self, arm: int, percent: int) -> Rewards:
        count, total, squares = self.sums(arm, percent)
        return Rewards(count=int(count), total=total, squares=squares, binary=self.binary)


def verdict(periods: list[Period]) -> str:
    """What the platform would decide."""
    if difference_e_value(periods, at_most=0.0) >= 2.0 / ALPHA:
        return "better"
    return "worse" if shortfall_e_value(periods, at_least=0.0) >= 2.0 / ALPHA else ""


class Lift(NamedTuple):
    """A difference that is to be found."""

    share: float
    champion: float
    challenger: float
    binary: bool = True
    concentrated: float = 2.0
    """What the parameters of a beta distribution add up to: of rewards between 0 and 1."""

    def expected(self, mean: float) -> Expected:
        """Of one arm's rewards."""
        spread = mean * (1 - mean) / (1 if self.binary else 1 + self.concentrated)
        return Expected(mean=mean, variance=spread, binary=self.binary)


LIFTS = [
    Lift(0.5, 0.02, 0.024),
    Lift(0.5, 0.05, 0.055),
    Lift(0.5, 0.05, 0.06),
    Lift(0.5, 0.2, 0.22),
    Lift(0.5, 0.5, 0.55),
    Lift(0.5, 0.06, 0.05),
    Lift(0.1, 0.05, 0.06),
    Lift(0.5, 0.2, 0.22, binary=False),
    Lift(0.5, 0.03, 0.035, binary=False),
    Lift(0.5, 0.6, 0.61, binary=False, concentrated=50.0),
    Lift(0.1, 0.2, 0.22, binary=False),
]


def foretold(lift: Lift) -> float:
    """Units of both arms within which it is to be found."""
    champion, challenger = lift.expected(lift.champion), lift.expected(lift.challenger)
    if lift.challenger > lift.champion:
        return rewards_to_detect(champion, challenger, share=lift.share, alpha=ALPHA)
    return rewards_to_detect(challenger, champion, share=1.0 - lift.share, alpha=ALPHA)


class Found(NamedTuple):
    """When the right verdict on a difference came."""

    look: int
    """After how many looks; more than there are for none, or a wrong one."""
    units: float
    well: float
    """The part of the units until then that were on the better arm."""


def find(seeds: list[int], *, lift: Lift, bandit: bool = False) -> list[Found]:
    """Tests of one difference side by side, until four times as many units as are foretold."""
    generator, number = np.random.default_rng(seeds), len(seeds)
    judge = ManyTests(SHARES if bandit else (lift.share,), binary=lift.binary)
    ends = np.ceil(foretold(lift) * np.arange(LOOKS + 1) / FORETOLD_AT).astype(int)
    better = CHALLENGER if lift.challenger > lift.champion else CHAMPION
    sums = np.zeros((number, len(judge.shares), 2, 3))
    percent, steps = np.full(number, round(100 * lift.share)), np.ones(number, dtype=int)
    looks, well = np.full(number, LOOKS + 1), np.zeros(number)
    open_, rows = np.ones(number, dtype=bool), np.arange(number)
    for look in range(1, LOOKS + 1):
        place = percent - FLOOR if bandit else np.zeros(number, dtype=int)
        mine = generator.binomial(ends[look] - ends[look - 1], percent / 100)
        for arm, mean, counts in (
            (CHALLENGER, lift.challenger, mine),
            (CHAMPION, lift.champion, ends[look] - ends[look - 1] - mine),
        ):
            sums[rows, place, arm] += drawn(generator, lift, mean, counts)
        verdicts = told(judge.logs(sums)) * (1 if better == CHALLENGER else -1)
        ended = open_ & (verdicts != 0)
        on_better = sums[:, :, better, COUNT].sum(axis=1) / ends[look]
        well = np.where(open_, on_better, well)
        looks[ended & (verdicts > 0)] = look
        open_ &= ~ended
        if not open_.any():
            break
        if bandit:
            percent, steps = moved(judge, sums, percent, steps)
    judge.hold_to_the_platform(sums[0])
    units = [float(ends[look]) if look <= LOOKS else math.inf for look in looks]
    return [Found(*each) for each in zip(looks.tolist(), units, well.tolist(), strict=True)]


def drawn(generator: np.random.Generator, lift: Lift, mean: float, counts: Array) -> Array:
    """The sums of so many rewards in each of some tests, shape (tests, 3)."""
    if lift.binary:
        won = generator.binomial(counts, mean)
        return np.stack([counts, won, won], axis=-1)
    values = generator.beta(lift.concentrated * mean, lift.concentrated * (1 - mean), size=int(counts.sum()))
    return added(np.repeat(np.arange(len(counts)), counts), values, len(counts))


def units_until_alarm(seeds: list[int], *, declared: float, true: float) -> list[float]:
    """Units until a wrong split is found."""
    batches = [10]
    while (seen := sum(batches)) < 2_000_000:
        batches.append(max(10, seen // 50))
    generator, judge = np.random.default_rng(seeds), ManyTests((declared,), binary=True)
    seen = np.cumsum(batches)
    mine = np.cumsum(generator.binomial(batches, true, size=(len(seeds), len(batches))), axis=1)
    logs = judge.split_logs(np.stack([seen - mine, mine], axis=-1)[..., None, :].astype(float))
    places = first_place(logs >= -math.log(SPLIT_ALPHA))
    return [float(seen[place]) if place < len(seen) else math.inf for place in places]


def in_batches(number: int, seed: int, at_once: int = AT_ONCE) -> list[list[int]]:
    """Seeds of their own for so many simulations, in batches."""
    seeds = list(chunks(number, seed))
    return [seeds[start : start + at_once] for start in range(0, number, at_once)]


def show_alike(pool: ProcessPoolExecutor, screen: Console, tests: int, seed: int) -> int:
    """A/A; returns how many promises were broken beyond what chance explains."""
    shown = Table(
        "A/A", "wrong verdicts", "split alarms", "shares", "two means at each look", "every request", "checked"
    )
    broken = 0
    for name, kind, amounts in (
        ("A/B, bought or not", "A/B", False),
        ("A/B, amounts", "A/B", True),
        ("bandit, bought or not", "bandit", False),
        ("bandit, amounts", "bandit", True),
    ):
        tasks = pool.map(partial(aa_tests, kind=kind, amounts=amounts), in_batches(tests, seed))
        ended = [one for batch in tasks for one in batch]
        sample = list(chunks(tests, seed))[::CHECKED]
        alone = list(pool.map(partial(platform_says, kind=kind, amounts=amounts), sample))
        same = sum(one == other for one, other in zip(alone, ended[::CHECKED], strict=True))
        wrong, alarms = sum(bool(one.verdict) for one in ended), sum(one.alarm for one in ended)
        broken += (
            (wilson(wrong, tests)[0] > ALPHA) + (wilson(alarms, tests)[0] > SPLIT_ALPHA) + (same < len(sample))
        )
        shown.add_row(
            name,
            rate(wrong, tests),
            rate(alarms, tests),
            f"{np.median([one.steps for one in ended]):.0f}",
            rate(sum(one.peeking for one in ended), tests),
            rate(sum(one.each_request for one in ended), tests) if kind == "A/B" else "",
            f"{same} of {len(sample)} the same",
        )
    screen.print(shown)
    return broken


def show_power(pool: ProcessPoolExecutor, screen: Console, runs: int, seed: int) -> int:
    """Differences; returns how many promises were broken beyond what chance explains."""
    shown = Table("share", "champion", "challenger", "foretold", "median", "found within", "bandit", "on better")
    broken = 0
    for lift in LIFTS:
        found, moved_by = (
            [one for batch in pool.map(partial(find, lift=lift, bandit=bandit), batches) for one in batch]
            for bandit, batches in ((False, in_batches(runs, seed + 1)), (True, in_batches(runs // 5, seed + 3)))
        )
        within = sum(one.look <= FORETOLD_AT for one in found)
        broken += wilson(within, runs)[1] < 0.9
        shown.add_row(
            f"{100 * lift.share:.0f} %",
            f"{lift.champion:g}" + ("" if lift.binary else f" (beta, {lift.concentrated:g})"),
            f"{lift.challenger:g}",
            f"{foretold(lift):,.0f}",
            f"{np.median([one.units for one in found]):,.0f}",
            rate(within, runs),
            f"{np.median([one.units for one in moved_by]):,.0f}",
            f"{100 * np.mean([one.well for one in moved_by]):.0f} %",
        )
    screen.print(shown)
    return broken


def show_splits(pool: ProcessPoolExecutor, screen: Console, runs: int, seed: int) -> None:
    """Wrong splits."""
    shown = Table("declared", "true", "median units", "in nine of ten")
    for declared, true in ((0.5, 0.51), (0.5, 0.52), (0.5, 0.55), (0.05, 0.045), (0.05, 0.04)):
        tasks = pool.map(partial(units_until_alarm, declared=declared, true=true), in_batches(runs, seed + 2))
        units = [one for batch in tasks for one in batch]
        median, most = np.median(units), np.quantile(units, 0.9)
        shown.add_row(f"{100 * declared:g} %", f"{100 * true:g} %", f"{median:,.0f}", f"{most:,.0f}")
    screen.print(shown)


def main() -> int:
    """Simulate and print; 1 when a promise is broken beyond what chance explains."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything")
    parser.add_argument("--tests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    tests = max(20, asked.tests // (20 if asked.quick else 1))
    screen, began_s = Console(width=170), time.monotonic()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each process has a core; they are spawned and read it
    with ProcessPoolExecutor(asked.processes, mp_context=get_context("spawn")) as pool:
        broken = show_power(pool, screen, tests, asked.seed)
        show_splits(pool, screen, tests, asked.seed)
        broken += show_alike(pool, screen, tests, asked.seed)
    screen.print(f"{tests} tests a row, {time.monotonic() - began_s:.0f} s")
    return int(broken > 0)


if __name__ == "__main__":
    raise SystemExit(main())
