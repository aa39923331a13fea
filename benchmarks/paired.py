"""Comparisons by outcomes judged themselves: wrong verdicts, and how many labels the right ones take.

    python benchmarks/paired.py [--quick] [--releases 2000] [--classes 2 4] [--seed 0] [--processes 2]

The losses and the verdicts are those of the platform (`statistics.paired_losses`, `statistics.paired`) with alpha
= 5 % and four signals beside the outcomes; requests and labels are made. Each unit asks once within 30 days, with a
daily cycle. What is to be foretold drifts: positives grow much more frequent, and less so again. They are known
after three days on the average, negatives after seven hours; what is not known after 14 days is late, and counts
when it comes. Of several classes the first is the one that grows more frequent and is known late. Looked at every
six hours. Three things are promised, and printed with Wilson's interval of 95 %:

- as good: a version that is as good as production is taken back in at most one release in twenty;
- worse by the margin: one that is, is shown not to be worse in at most one in twenty, however its labels come. It
  errs on positives, which are known late; for comparison what labels would have done that count as they come, and
  the usual test at each look;
- as many labels as foretold suffice in nine of ten releases, to show that a version as good is not worse, and to
  take back one that is worse by twice the margin.
"""

import argparse
import math
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy import stats

from headrace.project.paired import LOG_LOSS_BOUND
from headrace.statistics import paired, proportions
from headrace.statistics.paired import BETS, Spread, greatest_bets, judge_pairs, spread_seen
from headrace.statistics.paired_losses import class_losses, losses
from headrace.statistics.sequential import Verdict

Array = npt.NDArray[Any]
ALPHA, TESTS = 0.05, 5
DAYS, MATURITY, LOOK = 30.0, 14.0, 0.25
UNITS = 30_000
POSITIVES_KNOWN, NEGATIVES_KNOWN = 3.0, 0.3
"""Days until a label is known, on the average."""
NOISE = 0.3
"""How far a score is from the truth, in log odds."""
BOUNDS = {"log_loss": LOG_LOSS_BOUND, "brier": 1.0, "error": 1.0}
MARGINS = {"log_loss": 0.01, "brier": 0.003, "error": 0.01}
TOO_LOW = 2.0
"""By how much the worse version foretells some units too low, in log odds."""
LEVELS = np.linspace(0.0, 1.0, 9)
"""How far the drift has gone."""


class Case(NamedTuple):
    """A loss with a version to be judged by it.

    Attributes:
        classes: how many there are.
        too_low: share of the units that the version foretells too low, at each of the levels; such that it is worse
            by the same at every time.
        spread: of the differences.
    """

    loss: str
    classes: int
    too_low: Array
    spread: Spread

    @property
    def margin(self) -> float:
        """Of several classes half as much again: their losses scatter more, and labels are as many."""
        return MARGINS[self.loss] * (1.0 if self.classes == 2 else 1.5)


class Outcome(NamedTuple):
    """What became of one release."""

    passed: bool
    taken_back: bool
    labels: float
    """At the first verdict that is wanted; infinity for none."""
    passed_early: bool
    """By labels as they come in."""
    passed_peeking: bool
    """By the usual test, one-sided, at each look."""


def differences(
    loss: str, classes: int, level: Array, too_low: Array, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Whether each is a positive, or of the first class, and the challenger's losses less the champion's."""
    if classes > 2:
        return _of_classes(loss, classes, level, too_low, generator)
    odds = generator.normal(-1.8 + 1.2 * level, 1.5)
    labels = (generator.random(len(odds)) < chance(odds)).astype(np.float64)
    shift = TOO_LOW * (generator.random(len(odds)) < too_low)
    scores = [chance(odds + generator.normal(0.0, NOISE, len(odds)) - lower) for lower in (shift, 0.0)]
    challenger, champion = (losses(loss, score, labels, bound=BOUNDS[loss]) for score in scores)
    return labels, challenger - champion


def _of_classes(
    loss: str, classes: int, level: Array, too_low: Array, generator: np.random.Generator
) -> tuple[Array, Array]:
    odds = generator.normal(0.0, 1.5, (len(level), classes))
    odds[:, 0] += 1.2 * level - 0.6
    drawn = generator.random((len(level), 1))
    labels = (chances(odds).cumsum(axis=1)[:, :-1] < drawn).sum(axis=1)
    shift = np.zeros_like(odds)
    shift[:, 0] = TOO_LOW * (generator.random(len(level)) < too_low)
    scores = [chances(odds + generator.normal(0.0, NOISE, odds.shape) - lower) for lower in (shift, 0.0)]
    challenger, champion = (class_losses(loss, score, labels, bound=BOUNDS[loss]) for score in scores)
    return (labels == 0).astype(np.float64), challenger - champion


def chances(odds: Array) -> Array:
    """Log odds of classes as probabilities."""
    found = np.exp(odds - odds.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def chance(odds: Array) -> Array:
    """Log odds as a probability."""
    return 1.0 / (1.0 + np.exp(-odds))


def case_of(loss: str, classes: int, times: float, seed: int = 1) -> Case:
    """A version that is worse by so many times the margin."""
    generator = np.random.default_rng(seed)
    rows = 500_000
    everybody = np.ones(rows)
    costs = [
        float(differences(loss, classes, np.full(rows, level), everybody, generator)[1].mean())
        for level in LEVELS.tolist()
    ]
    case = Case(loss, classes, np.array([]), Spread(size=1.0, share=1.0))
    case = case._replace(too_low=times * case.margin / np.array(costs))
    levels = generator.random(rows)
    _, seen = differences(loss, classes, levels, np.interp(levels, LEVELS, case.too_low), generator)
    spread = spread_seen(rows, float((seen**2).sum()), float((seen**4).sum()), bound=BOUNDS[loss])
    if spread is None or not np.all((case.too_low >= 0.0) & (case.too_low <= 1.0)):
        raise SystemExit(f"no version is that much worse by {loss}: {costs}")
    return case._replace(spread=spread)


def foretold(case: Case, times: float) -> float:
    """Labels that suffice in nine of ten releases."""
    margin = case.margin
    if times > 1:
        return paired.units_to_take_back(
            case.spread, mean=times * margin, margin=margin, bound=BOUNDS[case.loss], alpha=ALPHA, tests=TESTS
        )
    return paired.units_to_go_on(case.spread, margin=margin, bound=BOUNDS[case.loss], alpha=ALPHA)


def release(case: Case, wanted: Verdict, seed: int) -> Outcome:
    """One release: everything is looked at until the last label has come."""
    generator = np.random.default_rng(seed)
    asked = generator.uniform(0.0, DAYS, 2 * UNITS)
    asked = np.sort(asked[generator.random(2 * UNITS) < (1 - np.cos(2 * np.pi * asked)) / 2])
    level = (1 - np.cos(2 * np.pi * asked / DAYS)) / 2
    too_low = np.interp(level, LEVELS, case.too_low)
    labels, found = differences(case.loss, case.classes, level, too_low, generator)
    known = asked + generator.exponential(np.where(labels == 1.0, POSITIVES_KNOWN, NEGATIVES_KNOWN))
    looks = np.arange(LOOK, DAYS + MATURITY + 1.0, LOOK)
    each = gains(case, found)
    ours = judged(case, each, np.maximum(known, asked + MATURITY), looks)
    early = judged(case, each, known, looks)
    at = next((place for place, each in enumerate(ours.verdicts) if each is wanted), None)
    return Outcome(
        passed=Verdict.ADVANCE in ours.verdicts,
        taken_back=Verdict.ROLL_BACK in ours.verdicts,
        labels=math.inf if at is None else float(ours.labels[at]),
        passed_early=Verdict.ADVANCE in early.verdicts,
        passed_peeking=bool(np.any(ours.usual < ALPHA)),
    )


class Judged(NamedTuple):
    """What each look says."""

    verdicts: list[Verdict]
    labels: Array
    usual: Array
    """p-values of the usual test against "worse by the margin"."""


def gains(case: Case, found: Array) -> Array:
    """What each unit adds: one, its difference, the square of that, and to the log of each bet of either kind."""
    for_it, against = greatest_bets(case.margin, BOUNDS[case.loss])
    parts = np.array(BETS)[:, None]
    logs = np.log1p(parts * for_it * (case.margin - found)), np.log1p(parts * against * (found - case.margin))
    return np.concatenate([[np.ones_like(found), found, found**2], *logs])


def judged(case: Case, each: Array, counted: Array, looks: Array) -> Judged:
    """Verdicts at each look, when units count at these times."""
    where = np.searchsorted(looks, counted, side="right")
    added = np.array([np.bincount(where, row, minlength=len(looks) + 1)[: len(looks)] for row in each])
    labels, total, squares, *logs = added.cumsum(axis=1)
    kinds = np.array(logs).reshape(2, len(BETS), len(looks)).transpose(2, 0, 1).tolist()
    verdicts = [judge_pairs(*kind, alpha=ALPHA, tests=TESTS).verdict for kind in kinds]
    number = np.maximum(1.0, labels)
    mean = total / number
    spread = np.sqrt(np.maximum(1e-12, squares / number - mean * mean) / number)
    usual = np.where(labels >= 100, stats.norm.cdf((mean - case.margin) / spread), 1.0)
    return Judged(verdicts, labels, usual)


def wilson(count: int, number: int) -> tuple[float, float]:
    """Wilson's interval of 95 %."""
    low, high = proportions.wilson_limits(np.array([count / number]), np.array([float(number)]), confidence=0.95)
    return float(low[0]), float(high[0])


def rate(count: int, number: int) -> str:
    """A share with its interval, in percent."""
    low, high = wilson(count, number)
    return f"{100 * count / number:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def chunks(number: int, seed: int) -> Iterator[int]:
    """Seeds of their own for so many simulations."""
    return iter(np.random.SeedSequence(seed).generate_state(number).tolist())


def main() -> int:
    """Simulate and print; 1 when a promise is broken beyond what chance explains."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything")
    parser.add_argument("--releases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 4])
    asked = parser.parse_args()
    number = max(40, asked.releases // (20 if asked.quick else 1))
    screen, began_s = Console(width=200), time.monotonic()
    broken = 0
    with ProcessPoolExecutor(asked.processes) as pool:
        shown = Table(
            "loss", "margin", "version", "taken back", "shown not worse", "foretold labels", "median",
            "found within", "shown not worse by early labels", "by the usual test",
        )  # fmt: skip
        versions = ((0.0, "as good"), (1.0, "worse by the margin"), (2.0, "by twice the margin"))
        for classes, loss in product(asked.classes, BOUNDS):
            for times, version in versions:
                case = case_of(loss, classes, times)
                wanted = Verdict.ROLL_BACK if times > 1.0 else Verdict.ADVANCE
                runs = partial(release, case, wanted)
                ended = list(pool.map(runs, chunks(number, asked.seed), chunksize=10))
                back, passed = sum(one.taken_back for one in ended), sum(one.passed for one in ended)
                wrong = passed if times else back
                broken += wilson(wrong, number)[0] > ALPHA
                sooner = median = within = ""
                if times != 1.0:
                    needed = foretold(case, times)
                    count = sum(one.labels <= needed for one in ended)
                    broken += wilson(count, number)[1] < 0.9
                    sooner, within = f"{needed:,.0f}", rate(count, number)
                    median = f"{np.median([one.labels for one in ended]):,.0f}"
                shown.add_row(
                    f"{loss}, {classes} classes", f"{case.margin:g}", version,
                    rate(back, number), rate(passed, number), sooner, median,
                    within, rate(sum(one.passed_early for one in ended), number),
                    rate(sum(one.passed_peeking for one in ended), number),
                )  # fmt: skip
        screen.print(shown)
    screen.print(f"{number} releases a row, {time.monotonic() - began_s:.0f} s")
    return int(broken > 0)


if __name__ == "__main__":
    raise SystemExit(main())
