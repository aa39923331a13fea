"""The gates judged themselves: how often a candidate that is as good is blocked, and one that is too bad passes.

    python benchmarks/gates.py [--quick] [--runs 1000] [--seed 0]

Each row simulates many deliveries with a known truth. The margin is the smallest effect that so many rows can show,
as the gate itself says it. So three things are promised, and printed with Wilson's interval of 95 %:

- a retraining that is exactly as good (A/A) passes four times in five; the others are INCONCLUSIVE, which blocks;
- a candidate that is worse by exactly the margin passes at most one time in twenty (alpha = 0.05);
- one that is worse by twice the margin is blocked, by WORSE where the rows show it and by INCONCLUSIVE else.

A candidate is production with another noise of training; a worse one answers a part of the rows at random, a part
that is found on a large population so that the truth is the wished one.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from headrace.statistics import calibration, comparison, fairness, intervals, metrics, proportions, slices
from headrace.statistics.comparison import Verdict

Array = npt.NDArray[Any]
ALPHA = 0.05
POPULATION = 1_000_000
PARTS = (0.0, 0.01, 0.02, 0.04, 0.08, 0.12, 0.18, 0.25, 0.35, 0.5, 0.7, 0.9)
PILOTS = 20
SLOW = {"average_precision"}
"""Metrics whose draws take their time; they are simulated a fifth as often."""


class Rows(NamedTuple):
    """Labels, scores of two models, entities."""

    labels: Array
    new: Array
    old: Array
    keys: Array


class Outcome(NamedTuple):
    """One line of the table: rates as (count, runs), and what was promised of the first.

    Attributes:
        at_least: whether more than promised may pass, since the promise holds for whatever groups share.
    """

    gate: str
    rows: int
    margin: float
    passes: tuple[int, int]
    promised: float
    false_passes: tuple[int, int]
    blocked: tuple[int, int]
    found: tuple[int, int]
    at_least: bool = False


def draw(generator: np.random.Generator, rows: int, *, worse: float = 0.0, a_key: int = 1) -> Rows:
    """Rows with scores of two models; a part of the new one's is at random. `a_key` rows are of one entity."""
    entities = rows // a_key
    keys = np.repeat(np.arange(entities), a_key)
    shared = 0.7 if a_key > 1 else 0.0

    def noise(scale: float) -> Array:
        own, common = generator.normal(size=len(keys)), generator.normal(size=entities)[keys]
        return scale * (np.sqrt(1.0 - shared) * own + np.sqrt(shared) * common)

    odds = noise(1.5) - 0.8
    labels = (generator.random(len(keys)) < 1.0 / (1.0 + np.exp(-odds))).astype(int)
    new, old = (1.0 / (1.0 + np.exp(-(odds + noise(0.4)))) for _ in range(2))
    lucky = generator.random(len(keys)) < worse
    new = np.where(lucky, new[generator.permutation(len(keys))], new)
    return Rows(labels, new, old, keys)


@cache
def losses(metric: str) -> Array:
    """Loss in a metric by the parts of scores at random, on the same rows of one large population."""
    generator = np.random.default_rng(99)
    population = draw(generator, POPULATION)
    at_random, luck = population.new[generator.permutation(POPULATION)], generator.random(POPULATION)
    sign = -1.0 if metric in metrics.LOWER_IS_BETTER else 1.0
    values = [
        sign * metrics.value(metric, population.labels, np.where(luck < part, at_random, population.new))
        for part in PARTS
    ]
    return values[0] - np.array(values)


def part_for(metric: str, loss: float) -> float:
    return float(np.interp(loss, losses(metric), PARTS))


def pilot(seed: int, run: int) -> np.random.Generator:
    return np.random.default_rng([seed, 7, run])


def rate(runs: int, happens: Callable[[np.random.Generator], bool], seed: int) -> tuple[int, int]:
    return sum(happens(np.random.default_rng([seed, run])) for run in range(runs)), runs


# -- not worse than production ------------------------------------------------------------------------------


def non_inferiority(metric: str, rows: int, runs: int, seed: int, a_key: int = 1) -> Outcome:
    runs = max(runs // 5, 50) if metric in SLOW or (a_key > 1 and metric in metrics.LOSSES) else runs

    def compared(generator: np.random.Generator, worse: float, margin: float) -> comparison.Comparison:
        one = draw(generator, rows, worse=worse, a_key=a_key)
        groups = one.keys if a_key > 1 else None
        return comparison.compare(metric, one.labels, one.new, one.old, margin=margin, alpha=ALPHA, groups=groups)

    pilots = [compared(pilot(seed, run), 0.0, 0.01) for run in range(PILOTS)]
    margin = float(np.mean([one.detectable for one in pilots]))
    promised = float(np.mean([intervals.power_at(one.difference, margin) for one in pilots]))
    at_margin, beyond = part_for(metric, margin), part_for(metric, 2.0 * margin)
    name = f"not_worse_than_production {metric}" + (f", {a_key} rows an entity" if a_key > 1 else "")
    return Outcome(
        gate=name,
        rows=rows,
        margin=margin,
        passes=rate(runs, lambda generator: compared(generator, 0.0, margin).verdict.is_good, seed + 1),
        promised=promised,
        false_passes=rate(runs, lambda generator: compared(generator, at_margin, margin).verdict.is_good, seed + 2),
        blocked=rate(runs, lambda generator: not compared(generator, beyond, margin).verdict.is_good, seed + 3),
        found=rate(runs, lambda generator: compared(generator, beyond, margin).verdict is Verdict.WORSE, seed + 3),
    )


def floor(metric: str, rows: int, runs: int, seed: int) -> Outcome:
    """hr.at_least and hr.at_most: a candidate at the bound, and one that is better by what can be shown."""
    runs = max(runs // 5, 50) if metric in SLOW else runs
    population = draw(np.random.default_rng(98), POPULATION)
    truth = metrics.value(metric, population.labels, population.new)
    sign = -1.0 if metric in metrics.LOWER_IS_BETTER else 1.0

    def attained(generator: np.random.Generator, bound: float) -> comparison.Attainment:
        one = draw(generator, rows)
        return comparison.attain(metric, one.labels, one.new, bound=bound, alpha=ALPHA)

    pilots = [attained(pilot(seed, run), truth) for run in range(PILOTS)]
    margin = float(np.mean([one.detectable for one in pilots]))
    easier, harder = truth - sign * margin, truth + sign * margin
    return Outcome(
        gate=f"{'at_most' if sign < 0 else 'at_least'} {metric}",
        rows=rows,
        margin=margin,
        passes=rate(runs, lambda generator: attained(generator, easier).verdict.is_good, seed + 1),
        promised=float(np.mean([intervals.power_at(one.estimate, margin) for one in pilots])),
        false_passes=rate(runs, lambda generator: attained(generator, truth).verdict.is_good, seed + 2),
        blocked=rate(runs, lambda generator: not attained(generator, harder).verdict.is_good, seed + 3),
        found=rate(runs, lambda generator: attained(generator, harder).verdict is Verdict.WORSE, seed + 3),
    )


# -- fairness -----------------------------------------------------------------------------------------------


def people(generator: np.random.Generator, rows: int, groups: int, gap: float) -> tuple[Array, Array, Array]:
    """Labels, decisions and groups; the first group is decided to be 1 less often by `gap`."""
    members = np.array([f"g{place}" for place in range(groups)])[generator.integers(groups, size=rows)]
    labels = generator.integers(0, 2, rows)
    return labels, generator.random(rows) < 0.3 + 0.3 * labels - gap * (members == "g0"), members


def fair_bound(measure: str, groups: int, rows: int, runs: int, seed: int) -> Outcome:
    def found(generator: np.random.Generator, gap: float) -> fairness.Disparity:
        return fairness.disparity(measure, *people(generator, rows, groups, gap), confidence=1.0 - 2.0 * ALPHA)

    margin = float(np.mean([found(pilot(seed, run), 0.0).detectable() for run in range(PILOTS)]))
    return Outcome(
        gate=f"fair: {measure}, {groups} groups",
        rows=rows,
        margin=margin,
        passes=rate(runs, lambda generator: found(generator, 0.0).estimate.high <= margin, seed + 1),
        promised=0.8,
        at_least=groups > 2 or "odds" in measure,
        false_passes=rate(runs, lambda generator: found(generator, margin).estimate.high <= margin, seed + 2),
        blocked=rate(runs, lambda generator: found(generator, 2.0 * margin).estimate.high > margin, seed + 3),
        found=rate(runs, lambda generator: found(generator, 2.0 * margin).estimate.low > margin, seed + 3),
    )


def fair_change(groups: int, gap: float, rows: int, runs: int, seed: int) -> Outcome:
    """The change against production of groups that lie `gap` apart there."""

    def found(generator: np.random.Generator, widened: float) -> fairness.Widening:
        labels, old, members = people(generator, rows, groups, gap)
        chance = 0.3 + 0.3 * labels - gap * (members == "g0")
        new = np.where(generator.random(rows) < 0.1, generator.random(rows) < chance, old)
        taken = (members == "g0") & (generator.random(rows) < widened / (0.45 - gap))
        return fairness.widening(
            "demographic_parity_difference", labels, new & ~taken, old, members, confidence=1.0 - 2.0 * ALPHA
        )

    margin = float(np.mean([found(pilot(seed, run), 0.0).detectable() for run in range(PILOTS)]))
    return Outcome(
        gate=f"fair: change of demographic parity, {groups} groups {gap:g} apart",
        rows=rows,
        margin=margin,
        passes=rate(runs, lambda generator: found(generator, 0.0).estimate.high < margin, seed + 1),
        promised=0.8,
        at_least=True,
        false_passes=rate(runs, lambda generator: found(generator, margin).estimate.high < margin, seed + 2),
        blocked=rate(runs, lambda generator: found(generator, 2.0 * margin).estimate.high >= margin, seed + 3),
        found=rate(runs, lambda generator: found(generator, 2.0 * margin).estimate.low > margin, seed + 3),
    )


# -- calibration and slices ---------------------------------------------------------------------------------


def calibrated(rows: int, runs: int, seed: int, a_key: int = 1) -> Outcome:
    def found(generator: np.random.Generator, bias: float) -> calibration.Calibration:
        keys = np.repeat(np.arange(rows // a_key), a_key)
        scores = generator.uniform(0.15, 0.75, size=rows // a_key)[keys]
        labels = (generator.random(rows // a_key) < scores[::a_key] + bias).astype(int)[keys]
        return calibration.calibration(labels, scores, confidence=1.0 - 2.0 * ALPHA, groups=keys)

    pilots = [found(pilot(seed, run), 0.0) for run in range(PILOTS)]
    margin = float(np.mean([one.detectable for one in pilots]))
    return Outcome(
        gate="calibrated" + (f", {a_key} rows an entity" if a_key > 1 else ""),
        rows=rows,
        margin=margin,
        passes=rate(runs, lambda generator: found(generator, 0.0).error.high <= margin, seed + 1),
        promised=0.8,
        false_passes=rate(runs, lambda generator: found(generator, margin).error.high <= margin, seed + 2),
        blocked=rate(runs, lambda generator: found(generator, 2.0 * margin).error.high > margin, seed + 3),
        found=rate(runs, lambda generator: found(generator, 2.0 * margin).error.low > margin, seed + 3),
    )


def in_slices(metric: str, number: int, rows: int, runs: int, seed: int, *, alarm: bool) -> Outcome:
    """All slices must show it, or none may be shown to be worse; the candidate is worse in one slice alone."""
    rule = slices.no_alarm if alarm else slices.all_good

    def found(generator: np.random.Generator, worse: float, margin: float) -> tuple[slices.Slice, ...]:
        parts = [draw(generator, rows // number, worse=worse if place == 0 else 0.0) for place in range(number)]
        labels, new, old = (np.concatenate([getattr(one, name) for one in parts]) for name in Rows._fields[:3])
        members = np.repeat([f"s{place}" for place in range(number)], rows // number)
        return slices.gains(metric, labels, new, old, slices.parts_of(members), margin=margin, alpha=ALPHA)

    power = 1.0 - (1.0 - intervals.POWER) / (1 if alarm else number)
    pilots = [one.estimate for run in range(PILOTS) for one in found(pilot(seed, run), 0.0, 0.01)]
    margin = float(np.mean([intervals.detectable(one, power=power) for one in pilots if one is not None]))
    at_margin, beyond = part_for(metric, margin), part_for(metric, 2.0 * margin)

    def verdict(generator: np.random.Generator, worse: float) -> Verdict:
        return rule(found(generator, worse, margin))

    never = (0, 0)  # what raises no alarm passes, so there is no promise of the kind
    return Outcome(
        gate=f"slices: {metric}, {number} slices" + (", alarm" if alarm else ""),
        rows=rows,
        margin=margin,
        passes=rate(runs, lambda generator: verdict(generator, 0.0).is_good, seed + 1),
        promised=0.95 if alarm else 0.8,
        at_least=True,
        false_passes=never
        if alarm
        else rate(runs, lambda generator: verdict(generator, at_margin).is_good, seed + 2),
        blocked=rate(runs, lambda generator: not verdict(generator, beyond).is_good, seed + 3),
        found=rate(runs, lambda generator: verdict(generator, beyond) is Verdict.WORSE, seed + 3),
    )


def outcomes(runs: int, sizes: tuple[int, ...], seed: int) -> Iterator[Outcome]:
    for metric in metrics.METRICS:
        for rows in sizes:
            if not (metric in SLOW and rows > 2_000):
                yield non_inferiority(metric, rows, runs, seed)
    for metric in ("roc_auc", "accuracy", "f1", "brier"):
        yield non_inferiority(metric, 2_000, runs, seed, a_key=5)
    for metric in ("roc_auc", "accuracy", "f1", "precision", "recall", "brier"):
        yield floor(metric, sizes[0], runs, seed)
    for measure, groups in (
        ("demographic_parity_difference", 2),
        ("demographic_parity_difference", 6),
        ("equalized_odds_difference", 2),
    ):
        yield fair_bound(measure, groups, 2_000, runs, seed)
    for groups, gap in ((2, 0.0), (2, 0.1), (4, 0.0)):
        yield fair_change(groups, gap, 2_000, runs, seed)
    for rows in sizes:
        yield calibrated(rows, runs, seed)
    yield calibrated(2_000, runs, seed, a_key=4)
    for alarm in (False, True):
        yield in_slices("accuracy", 4, 8_000, max(runs // 2, 50), seed, alarm=alarm)


def shown(counted: tuple[int, int]) -> str:
    if not counted[1]:
        return ""
    found = proportions.proportion_interval(*counted, confidence=0.95)
    return f"{found.value:.1%} [dim]{found.low:.1%} to {found.high:.1%}[/]"


def broken(counted: tuple[int, int]) -> bool:
    """Whether so many false passes are too many for the promised rate."""
    return bool(counted[1]) and proportions.proportion_interval(*counted, confidence=0.95).low > ALPHA


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400, help="deliveries for each figure")
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs and the smallest size only")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    runs, sizes = (options.runs // 10, (500,)) if options.quick else (options.runs, (500, 4_000))
    table = Table(box=None, header_style="dim", padding=(0, 2))
    headers = (
        "gate", ">rows", ">margin", ">A/A passes", ">promised", ">passes at the margin", ">blocked at twice",
        ">of it WORSE",
    )  # fmt: skip
    for column in headers:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    started_s = time.perf_counter()
    screen = Console(highlight=False, width=200)
    for one in outcomes(runs, sizes, options.seed):
        flag = " [red]too many[/]" if broken(one.false_passes) else ""
        table.add_row(
            one.gate, f"{one.rows:,}", f"{one.margin:.4f}", shown(one.passes),
            f"{'≥ ' if one.at_least else ''}{one.promised:.0%}", shown(one.false_passes) + flag,
            shown(one.blocked), shown(one.found),
        )  # fmt: skip
        print(f"{time.perf_counter() - started_s:5.0f} s  {one.gate}, {one.rows} rows", file=sys.stderr)
    screen.print(table)
    screen.print(f"\n{runs:,} deliveries a figure, alpha {ALPHA}, {time.perf_counter() - started_s:.0f} s")


if __name__ == "__main__":
    main()
