"""Rollouts judged themselves: how often a version that is as good is taken back, and how soon a bad one is.

    python benchmarks/rollouts.py [--quick] [--rollouts 2000] [--seed 0] [--processes 2]

The verdicts are those of the platform (`statistics.rollouts.judge_release`) with the defaults of `hr.Canary`; the
traffic is made. Two things are promised, and printed with Wilson's interval of 95 %:

- A/A: a version that is exactly like its champion is taken back in at most one rollout in twenty (alpha = 0.05), by
  whatever signal, with daily cycles, bursts of traffic in which both are slow, weights that rise with the evidence
  and weights that also fall, and units that come again and again: some of them broken for good, on either version.
  For comparison the same traffic judged in the usual ways: a test of two rates at each look, and the platform's own
  tests on units that count again in every step and on each of three gateways.
- Faults: a version that gives a signal more often is taken back within as many units as `units_to_detect`
  foretells, in nine of ten rollouts.
"""

import argparse
import math
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy import stats

from headrace.statistics import proportions
from headrace.statistics.rollouts import ReleaseJudgement, Rule, Setting, judge_release, units_to_detect
from headrace.statistics.sequential import Exposure, Verdict

Array = npt.NDArray[Any]
ALPHA = 0.05
RULES = (
    Rule(signal="faults", what="faults", tolerance=0.01),
    Rule(signal="invalid", what="invalid outputs", tolerance=0.01),
    Rule(signal="fallbacks", what="fallbacks", tolerance=0.01),
    Rule(signal="slow", what="slow answers", tolerance=None, ratio_tolerance=1.0),
)
SIGNALS = tuple(rule.signal for rule in RULES)
STEPS = (0.05, 0.25, 0.5, 1.0)
LOOK_S, DAY_S = 900.0, 86_400.0
DAYS = 7
UNITS = 100_000
UNITS_PER_S = 1.0
"""On the average of a day; at noon twice as many, at night hardly any, in a burst eight times as many."""
FAULTS = {"faults": 0.0005, "invalid": 0.0001, "fallbacks": 0.0003}
BROKEN_UNITS, BROKEN = 0.001, 0.7
"""Part of the units that fail nearly every time, on whichever version."""
SLOW, SLOW_IN_A_BURST = 0.05, 0.4
GATEWAYS = 3


class Outcome(NamedTuple):
    """What became of one A/A rollout under the platform's judgement, and what the usual ways would have done."""

    taken_back: bool = False
    through: bool = False
    days: float = DAYS
    by: str = ""
    peeking: bool = False
    counted_again: bool = False


class World:
    """Units with their habits, and the traffic that they make."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        activity = generator.lognormal(sigma=1.5, size=UNITS)
        self.arrivals = generator.choice(UNITS, size=400_000, p=activity / activity.sum())
        self.bucket = generator.random(UNITS)
        self.broken = generator.random(UNITS) < BROKEN_UNITS
        self.heavy = generator.lognormal(sigma=0.7, size=UNITS)
        """How much longer than others a unit's requests take, on whichever version."""
        self.heavy /= self.heavy.mean()
        starts = generator.uniform(0, DAYS * DAY_S, size=generator.poisson(2 * DAYS))
        self.bursts = [(start, start + generator.uniform(600, 7200)) for start in starts]

    def between(self, start_s: float) -> tuple[Array, bool]:
        """The units that ask until the next look, and whether that is in a burst."""
        burst = any(begin <= start_s < end for begin, end in self.bursts)
        of_day = 1.0 - math.cos(2 * math.pi * start_s / DAY_S)
        expected = UNITS_PER_S * LOOK_S * of_day * (8.0 if burst else 1.0)
        count = self.generator.poisson(expected)
        places = self.generator.integers(0, len(self.arrivals), size=count)
        return self.arrivals[places], burst

    def signals(self, units: Array, burst: bool) -> dict[str, Array]:
        """Which requests give which signal; the same for both versions."""
        draws = self.generator.random((4, len(units)))
        rates = {name: np.where(self.broken[units], BROKEN, rate) for name, rate in FAULTS.items()}
        slow = (SLOW_IN_A_BURST if burst else SLOW) * self.heavy[units]
        found = {name: draws[place] < rates[name] for place, name in enumerate(FAULTS)}
        found["faults"] |= found["invalid"]
        return found | {"slow": draws[3] < slow}


class Tally:
    """Counts of a release as the platform keeps them, or as those do who count a unit anew in each step."""

    def __init__(self, *, once: bool) -> None:
        self.once = once
        self.before = {name: np.zeros(UNITS, dtype=bool) for name in SIGNALS}
        self.periods: list[dict[str, list[float]]] = []
        self.shares: list[float] = []

    def begin(self, share: float) -> None:
        """A period with another split."""
        self.shares.append(share)
        self.seen = np.zeros(UNITS, dtype=bool)
        self.given = {name: np.zeros(UNITS, dtype=bool) for name in SIGNALS}
        # units of the challenger and the champion, then for each signal: first and again, of either
        self.periods.append({"units": [0, 0]} | {name: [0, 0, 0, 0] for name in SIGNALS})

    def add(self, units: Array, on_challenger: Array, signals: dict[str, Array], copies: int = 1) -> None:
        """Take requests; `copies` of them as gateways do that know nothing of each other."""
        period = self.periods[-1]
        first = np.zeros(len(units), dtype=bool)
        first[np.unique(units, return_index=True)[1]] = True
        first &= ~self.seen[units]
        self.seen[units] = True
        period["units"][0] += copies * int((first & on_challenger).sum())
        period["units"][1] += copies * int((first & ~on_challenger).sum())
        for name in SIGNALS:
            gave = signals[name] & (first if name == "slow" else True)
            places = np.flatnonzero(gave)
            new = np.unique(units[places], return_index=True)[1]
            places = places[new]
            places = places[~self.given[name][units[places]]]
            self.given[name][units[places]] = True
            again = self.before[name][units[places]] & self.once
            self.before[name][units[places]] = True
            for mine, arm in enumerate((on_challenger[places], ~on_challenger[places])):
                period[name][mine] += copies * int((arm & ~again).sum())
                period[name][2 + mine] += copies * int((arm & again).sum())

    def judge(self) -> ReleaseJudgement:
        """The platform's verdict."""
        exposures = {name: [self._exposure(place, name) for place in range(len(self.periods))] for name in SIGNALS}
        return judge_release(exposures, RULES, alpha=ALPHA, tests=len(RULES), has_champion=True)

    def _exposure(self, place: int, name: str) -> Exposure:
        challenger, champion = self.periods[place]["units"]
        first, firsts, again, agains = self.periods[place][name]
        return Exposure(
            share=self.shares[place],
            challenger_requests=int(challenger),
            challenger_faults=int(first),
            challenger_again=int(again),
            champion_requests=int(champion),
            champion_faults=int(firsts),
            champion_again=int(agains),
        )


class Peeking:
    """The usual way: at each look a one-sided test of two rates, the requests of a step as they come."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A period with another split."""
        self.counts = np.zeros((2, 2))

    def add(self, on_challenger: Array, faults: Array) -> bool:
        """Take requests; whether the test says that the challenger is worse."""
        for arm, mine in enumerate((on_challenger, ~on_challenger)):
            self.counts[arm] += (int(mine.sum()), int((faults & mine).sum()))
        (asked, failed), (champions, champions_failed) = self.counts
        if min(asked, champions) < 30 or failed + champions_failed == 0:
            return False
        pooled = (failed + champions_failed) / (asked + champions)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / asked + 1 / champions))
        z = (failed / asked - champions_failed / champions) / spread
        return bool(z > stats.norm.ppf(1 - ALPHA))


def aa_rollout(seed: int, *, falling: bool) -> Outcome:
    """One rollout of a version that is exactly like its champion, looked at every quarter of an hour for a week.

    Args:
        seed: of everything in it.
        falling: whether somebody lowers the weight again now and then, as a bandit does.
    """
    generator = np.random.default_rng(seed)
    world = World(generator)
    kept, again, peeking = Tally(once=True), Tally(once=False), Peeking()
    step, share = 0, STEPS[0]
    kept.begin(share)
    again.begin(share)
    peeked = counted_again = False
    for look in range(int(DAYS * DAY_S / LOOK_S)):
        days = look * LOOK_S / DAY_S
        units, burst = world.between(look * LOOK_S)
        if not len(units):
            continue
        on_challenger = world.bucket[units] < share
        signals = world.signals(units, burst)
        kept.add(units, on_challenger, signals)
        again.add(units, on_challenger, signals, copies=GATEWAYS)
        peeked = peeking.add(on_challenger, signals["faults"]) or peeked
        counted_again = counted_again or again.judge().verdict is Verdict.ROLL_BACK
        judgement = kept.judge()
        if judgement.verdict is Verdict.ROLL_BACK:
            by = next(name for name, found in judgement.signals.items() if found.verdict is Verdict.ROLL_BACK)
            return Outcome(taken_back=True, days=days, by=by, peeking=peeked, counted_again=counted_again)
        if judgement.verdict is Verdict.ADVANCE and share == STEPS[step]:
            step += 1
            if step == len(STEPS):
                return Outcome(through=True, days=days, peeking=peeked, counted_again=counted_again)
            share = STEPS[step]
        elif falling and generator.random() < 0.01:
            share = generator.uniform(0.02, 0.9) if share == STEPS[step] else STEPS[step]
        else:
            continue
        for each in (kept, again):
            each.begin(share)
        peeking.begin()
    return Outcome(peeking=peeked, counted_again=counted_again)


class Injected(NamedTuple):
    """A fault of the challenger that is to be found."""

    signal: str
    share: float
    champion: float
    challenger: float


INJECTED = [
    Injected(signal, share, champion, challenger)
    for signal, champion, challengers in (
        ("faults", 0.001, (0.003, 0.01, 0.1, 1.0)),
        ("invalid", 0.0005, (0.01, 1.0)),
        ("fallbacks", 0.005, (0.05, 1.0)),
        ("slow", 0.05, (0.25, 0.5, 1.0)),
    )
    for challenger in challengers
    for share in (0.05, 0.5)
]


def foretold(injected: Injected) -> float:
    """Units of both arms within which it is to be found."""
    rule = next(rule for rule in RULES if rule.signal == injected.signal)
    setting = Setting(share=injected.share, alpha=ALPHA, tests=len(RULES))
    return units_to_detect(rule, injected.challenger, injected.champion, setting)


def units_until_found(injected: Injected, seed: int) -> float:
    """How many units pass until the version is taken back; infinity beyond ten times as many as foretold."""
    generator = np.random.default_rng(seed)
    most = 10 * foretold(injected)
    batch = max(1, int(most / 2000))
    counts = np.zeros((2, 2), dtype=int)
    seen = 0
    while seen < most:
        on_challenger = generator.random(batch) < injected.share
        gave = generator.random(batch) < np.where(on_challenger, injected.challenger, injected.champion)
        for arm, mine in enumerate((on_challenger, ~on_challenger)):
            counts[arm] += (int(mine.sum()), int((gave & mine).sum()))
        seen += batch
        clean = _exposure(injected.share, counts, gave=False)
        given = _exposure(injected.share, counts, gave=True)
        periods = {name: [given if name == injected.signal else clean] for name in SIGNALS}
        judgement = judge_release(periods, RULES, alpha=ALPHA, tests=len(RULES), has_champion=True)
        if judgement.verdict is Verdict.ROLL_BACK:
            return seen
    return math.inf


def _exposure(share: float, counts: Array, *, gave: bool) -> Exposure:
    (challenger, failed), (champion, champion_failed) = counts.tolist()
    return Exposure(
        share=share,
        challenger_requests=challenger,
        challenger_faults=failed if gave else 0,
        champion_requests=champion,
        champion_faults=champion_failed if gave else 0,
    )


def wilson(count: int, of: int) -> tuple[float, float]:
    """Wilson's interval of a share."""
    low, high = proportions.wilson_limits(np.array([count / of]), np.array([float(of)]), confidence=0.95)
    return float(low[0]), float(high[0])


def rate(count: int, of: int) -> str:
    """A share with Wilson's interval."""
    low, high = wilson(count, of)
    return f"{100 * count / of:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def chunks(number: int, seed: int) -> Iterator[int]:
    """Seeds of their own for so many simulations."""
    return iter(np.random.SeedSequence(seed).generate_state(number).tolist())


def main() -> int:
    """Simulate and print; 1 when a promise is broken beyond what chance explains."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything")
    parser.add_argument("--rollouts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    rollouts = max(20, asked.rollouts // (20 if asked.quick else 1))
    found_runs = max(20, rollouts // 4)
    screen, began_s = Console(), time.monotonic()
    broken = 0
    with ProcessPoolExecutor(asked.processes) as pool:
        shown = Table("A/A", "taken back", "promised", "through", "median days", "peeking", "counted again")
        for falling, name in ((False, "weights rise"), (True, "weights rise and fall")):
            runs = partial(aa_rollout, falling=falling)
            ended = list(pool.map(runs, chunks(rollouts, asked.seed + falling), chunksize=10))
            back = sum(one.taken_back for one in ended)
            through = [one.days for one in ended if one.through]
            low, _ = wilson(back, rollouts)
            broken += low > ALPHA
            shown.add_row(
                name,
                rate(back, rollouts),
                f"≤ {100 * ALPHA:.0f} %",
                f"{100 * len(through) / rollouts:.0f} %",
                f"{np.median(through):.1f}" if through else "",
                rate(sum(one.peeking for one in ended), rollouts),
                rate(sum(one.counted_again for one in ended), rollouts),
            )
            screen.print({name: sum(one.by == name for one in ended) for name in SIGNALS})
        screen.print(shown)
        shown = Table("signal", "share", "champion", "challenger", "foretold units", "median", "found within")
        for injected in INJECTED:
            runs = partial(units_until_found, injected)
            units = list(pool.map(runs, chunks(found_runs, asked.seed + 9), chunksize=10))
            within = sum(each <= foretold(injected) for each in units)
            _, high = wilson(within, found_runs)
            broken += high < 0.9
            shown.add_row(
                injected.signal,
                f"{100 * injected.share:.0f} %",
                f"{100 * injected.champion:g} %",
                f"{100 * injected.challenger:g} %",
                f"{foretold(injected):,.0f}",
                f"{np.median(units):,.0f}",
                rate(within, found_runs),
            )
        screen.print(shown)
    screen.print(f"{rollouts} rollouts a row, {found_runs} a fault, {time.monotonic() - began_s:.0f} s")
    return int(broken > 0)


if __name__ == "__main__":
    raise SystemExit(main())
