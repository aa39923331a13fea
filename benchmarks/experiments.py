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
"""

import argparse
import math
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rollouts import chunks, rate, wilson
from scipy import stats

from headrace.statistics.experiments import (
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
FLOOR, CHANGE, MOST_STEPS = 0.05, 0.03, 100
DAYS, DAY_S, CELL_S = 14, 86_400.0, 900.0
LOOKS_A_DAY = {"A/B": 24, "bandit": 8}
MATURE_S, DELAY_S = DAY_S, DAY_S / 2
UNITS, REQUESTS = 20_000, 60_000
BASE = 0.06
"""Of first predictions that a unit of the usual habit buys on."""


class Outcome(NamedTuple):
    """What became of one A/A test under the platform's judgement, and what the usual ways would have said."""

    verdict: str = ""
    alarm: bool = False
    steps: int = 1
    peeking: bool = False
    each_request: bool = False


class Traffic:
    """Requests in their order, each with its unit, and what it brought by the time that it is mature."""

    def __init__(self, generator: np.random.Generator, *, amounts: bool) -> None:
        cells = np.arange(0, DAYS * DAY_S, CELL_S)
        intensity = 1.05 - np.cos(2 * math.pi * cells / DAY_S)
        for start in generator.uniform(0, DAYS * DAY_S, size=generator.poisson(2 * DAYS)):
            intensity[(cells >= start) & (cells < start + generator.uniform(600, 7200))] *= 8
        where = generator.choice(len(cells), size=REQUESTS, p=intensity / intensity.sum())
        self.at_s = np.sort(cells[where] + generator.uniform(0, CELL_S, size=REQUESTS))
        activity = generator.lognormal(sigma=1.5, size=UNITS)
        self.unit = generator.choice(UNITS, size=REQUESTS, p=activity / activity.sum())
        self.bucket = generator.random(UNITS)
        habit = generator.beta(0.5, 0.5 / BASE - 0.5, size=UNITS)  # most never buy, a few nearly always
        of_day = 1.0 + 0.6 * np.sin(2 * math.pi * self.at_s / DAY_S)
        bought = generator.random(REQUESTS) < habit[self.unit] * of_day
        in_time = generator.exponential(DELAY_S, size=REQUESTS) <= MATURE_S
        size = np.minimum(1.0, generator.lognormal(-2.0, 1.0, size=REQUESTS)) if amounts else 1.0
        self.reward = (bought & in_time) * size
        self.first = np.zeros(REQUESTS, dtype=bool)
        self.first[np.unique(self.unit, return_index=True)[1]] = True


class Sums:
    """Sums of mature rewards by share and arm, as the platform keeps them."""

    def __init__(self, *, binary: bool) -> None:
        self.binary = binary
        self.shares: list[float] = []
        self.kept = np.zeros((MOST_STEPS, 2, 3))

    def add(self, step: Array, on_challenger: Array, rewards: Array) -> None:
        """Take what became mature; `step` is the index of the share that each began under."""
        arm = on_challenger.astype(int)
        np.add.at(self.kept, (step, arm), np.stack([np.ones(len(rewards)), rewards, rewards**2], axis=1))

    def periods(self) -> list[Period]:
        """As the tests take them."""
        return merged(
            [
                Period(share=share, challenger=self._arm(step, 1), champion=self._arm(step, 0))
                for step, share in enumerate(self.shares)
            ]
        )

    def peek(self) -> bool:
        """The usual way: a two-sided test of two means, of all that there is at each look."""
        (n, total, squares), (m, others, others_squares) = self.kept.sum(axis=0)
        if min(n, m) < 30:
            return False
        variance = (squares / n - (total / n) ** 2) / n + (others_squares / m - (others / m) ** 2) / m
        distance = abs(total / n - others / m)
        return bool(variance > 0 and distance > stats.norm.ppf(1 - ALPHA / 2) * math.sqrt(variance))

    def _arm(self, step: int, arm: int) -> Rewards:
        count, total, squares = self.kept[step, arm].tolist()
        return Rewards(count=int(count), total=total, squares=squares, binary=self.binary)


def verdict(periods: list[Period]) -> str:
    """What the platform would decide."""
    if difference_e_value(periods, at_most=0.0) >= 2.0 / ALPHA:
        return "better"
    return "worse" if shortfall_e_value(periods, at_least=0.0) >= 2.0 / ALPHA else ""


def aa_test(seed: int, *, kind: str, amounts: bool) -> Outcome:
    """One test of a version that is exactly like its champion, for a fortnight; a false verdict does not end it."""
    generator = np.random.default_rng(seed)
    traffic = Traffic(generator, amounts=amounts)
    first = np.flatnonzero(traffic.first)
    once, each = Sums(binary=not amounts), Sums(binary=not amounts)
    steps = {"once": np.zeros(len(first), dtype=int), "each": np.zeros(REQUESTS, dtype=int)}
    arms = {"once": np.zeros(len(first), dtype=bool), "each": np.zeros(REQUESTS, dtype=bool)}
    begun, mature = {"once": 0, "each": 0}, {"once": 0, "each": 0}
    split: list[list[float]] = []
    found, alarm, peeked, again, share = "", False, False, False, 0.5
    once.shares.append(share)
    each.shares.append(share)
    split.append([share, 0, 0])
    for look in range(1, DAYS * LOOKS_A_DAY[kind] + 1):
        now_s = look * DAY_S / LOOKS_A_DAY[kind]
        for name, sums, places in (("once", once, first), ("each", each, np.arange(REQUESTS))):
            at_s = traffic.at_s[places]
            until = int(np.searchsorted(at_s, now_s))
            new = slice(begun[name], until)
            steps[name][new] = len(once.shares) - 1
            arms[name][new] = traffic.bucket[traffic.unit[places[new]]] < share
            begun[name] = until
            if name == "once":
                split[-1][1] += int(arms[name][new].sum())
                split[-1][2] += int((~arms[name][new]).sum())
            ripe = int(np.searchsorted(at_s, now_s - MATURE_S))
            done = slice(mature[name], ripe)
            sums.add(steps[name][done], arms[name][done], traffic.reward[places[done]])
            mature[name] = ripe
        periods = once.periods()
        found = found or verdict(periods)
        alarm = alarm or split_e_value([(part, int(a), int(b)) for part, a, b in split]) >= 1 / SPLIT_ALPHA
        peeked = peeked or once.peek()
        if kind == "A/B":
            again = again or bool(verdict(each.periods()))
        elif look % LOOKS_A_DAY[kind] == 0 or look < LOOKS_A_DAY[kind] * 3:
            wanted = min(1 - FLOOR, max(FLOOR, round(probability_better(periods), 2)))
            if abs(wanted - share) >= CHANGE - 1e-9 and len(once.shares) < MOST_STEPS:
                share = wanted
                once.shares.append(share)
                each.shares.append(share)
                split.append([share, 0, 0])
    return Outcome(found, alarm, len(once.shares), peeked, again)


class Lift(NamedTuple):
    """A difference that is to be found."""

    share: float
    champion: float
    challenger: float
    binary: bool = True


LIFTS = [
    Lift(0.5, 0.02, 0.024),
    Lift(0.5, 0.05, 0.055),
    Lift(0.5, 0.05, 0.06),
    Lift(0.5, 0.2, 0.22),
    Lift(0.5, 0.5, 0.55),
    Lift(0.5, 0.06, 0.05),
    Lift(0.1, 0.05, 0.06),
    Lift(0.5, 0.2, 0.22, binary=False),
]


def foretold(lift: Lift) -> float:
    """Units of both arms within which it is to be found."""
    spread = [_variance(mean, binary=lift.binary) for mean in (lift.champion, lift.challenger)]
    return rewards_to_detect(
        abs(lift.challenger - lift.champion),
        champion_variance=spread[0],
        challenger_variance=spread[1],
        share=lift.share,
        alpha=ALPHA,
    )


def units_until_found(seed: int, *, lift: Lift, bandit: bool = False) -> tuple[float, float]:
    """Units until the right verdict, infinity beyond four times what is foretold; the part on the better arm."""
    generator = np.random.default_rng(seed)
    most = 4 * foretold(lift)
    batch = math.ceil(most / 200)
    sums, share, seen, well = Sums(binary=lift.binary), lift.share, 0, 0
    wanted = "better" if lift.challenger > lift.champion else "worse"
    sums.shares.append(share)
    while seen < most:
        mine = generator.random(batch) < share
        means = np.where(mine, lift.challenger, lift.champion)
        rewards = (generator.random(batch) < means) if lift.binary else generator.beta(2 * means, 2 * (1 - means))
        sums.add(np.full(batch, len(sums.shares) - 1), mine, rewards.astype(float))
        seen += batch
        well += int((mine if wanted == "better" else ~mine).sum())
        periods = sums.periods()
        told = verdict(periods)
        if told:
            return (seen if told == wanted else math.inf), well / seen
        moved = min(1 - FLOOR, max(FLOOR, round(probability_better(periods), 2))) if bandit else share
        if abs(moved - share) >= CHANGE - 1e-9 and len(sums.shares) < MOST_STEPS:
            share = moved
            sums.shares.append(share)
    return math.inf, well / seen


def _variance(mean: float, *, binary: bool) -> float:
    return mean * (1 - mean) / (1 if binary else 3)  # of a beta distribution whose parameters add up to 2


def units_until_alarm(seed: int, *, declared: float, true: float) -> float:
    """Units until a wrong split is found."""
    generator = np.random.default_rng(seed)
    challenger = seen = 0
    while seen < 2_000_000:
        batch = max(10, seen // 50)
        challenger += int(generator.binomial(batch, true))
        seen += batch
        if split_e_value([(declared, challenger, seen - challenger)]) >= 1 / SPLIT_ALPHA:
            return seen
    return math.inf


def show_alike(pool: ProcessPoolExecutor, screen: Console, tests: int, seed: int) -> int:
    """A/A; returns how many promises were broken beyond what chance explains."""
    shown = Table("A/A", "wrong verdicts", "split alarms", "shares", "two means at each look", "every request")
    broken = 0
    for name, kind, amounts in (
        ("A/B, bought or not", "A/B", False),
        ("A/B, amounts", "A/B", True),
        ("bandit, bought or not", "bandit", False),
    ):
        ended = list(pool.map(partial(aa_test, kind=kind, amounts=amounts), chunks(tests, seed), chunksize=5))
        wrong, alarms = sum(bool(one.verdict) for one in ended), sum(one.alarm for one in ended)
        broken += wilson(wrong, tests)[0] > ALPHA
        broken += wilson(alarms, tests)[0] > SPLIT_ALPHA
        shown.add_row(
            name,
            rate(wrong, tests),
            f"{alarms} of {tests:,}",
            f"{np.median([one.steps for one in ended]):.0f}",
            rate(sum(one.peeking for one in ended), tests),
            rate(sum(one.each_request for one in ended), tests) if kind == "A/B" else "",
        )
    screen.print(shown)
    return broken


def show_power(pool: ProcessPoolExecutor, screen: Console, runs: int, seed: int) -> int:
    """Differences; returns how many promises were broken beyond what chance explains."""
    shown = Table("share", "champion", "challenger", "foretold", "median", "found within", "bandit", "on better")
    broken = 0
    for lift in LIFTS:
        seeds = list(chunks(runs, seed + 1))
        units = [found for found, _ in pool.map(partial(units_until_found, lift=lift), seeds, chunksize=5)]
        within = sum(each <= foretold(lift) for each in units)
        broken += wilson(within, runs)[1] < 0.9
        moved = list(pool.map(partial(units_until_found, lift=lift, bandit=True), seeds[: runs // 5], chunksize=2))
        shown.add_row(
            f"{100 * lift.share:.0f} %",
            f"{lift.champion:g}" + ("" if lift.binary else " (in between)"),
            f"{lift.challenger:g}",
            f"{foretold(lift):,.0f}",
            f"{np.median(units):,.0f}",
            rate(within, runs),
            f"{np.median([found for found, _ in moved]):,.0f}",
            f"{100 * np.mean([well for _, well in moved]):.0f} %",
        )
    screen.print(shown)
    return broken


def main() -> int:
    """Simulate and print; 1 when a promise is broken beyond what chance explains."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything")
    parser.add_argument("--tests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    tests = max(20, asked.tests // (20 if asked.quick else 1))
    runs = max(20, tests // 8)
    screen, began_s = Console(width=150), time.monotonic()
    with ProcessPoolExecutor(asked.processes) as pool:
        broken = show_power(pool, screen, runs, asked.seed)
        shown = Table("declared", "true", "median units", "in nine of ten")
        for declared, true in ((0.5, 0.51), (0.5, 0.52), (0.5, 0.55), (0.05, 0.045), (0.05, 0.04)):
            runner = partial(units_until_alarm, declared=declared, true=true)
            units = list(pool.map(runner, chunks(runs, asked.seed + 2), chunksize=5))
            median, most = np.median(units), np.quantile(units, 0.9)
            shown.add_row(f"{100 * declared:g} %", f"{100 * true:g} %", f"{median:,.0f}", f"{most:,.0f}")
        screen.print(shown)
        broken += show_alike(pool, screen, tests, asked.seed)
    screen.print(f"{tests} tests a row, {runs} a difference, {time.monotonic() - began_s:.0f} s")
    return int(broken > 0)


if __name__ == "__main__":
    raise SystemExit(main())
