"""Losses of two versions on the same units, what they add up to, and an interval for their mean difference.

Worker-side; what is made of the sums is in `paired`. The interval is a confidence sequence: the values of the mean
that the bets of `paired` do not rule out, each side at half of alpha. It holds at every number of units at once.

Source: Waudby-Smith and Ramdas, "Estimating Means of Bounded Random Variables by Betting" (2024), section 4.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidInput
from headrace.statistics.paired import BETS, capital, greatest_bets

Floats = npt.NDArray[np.float64]

OF_PROBABILITIES = frozenset({"log_loss", "brier", "error"})
"""Losses of a probability of class 1, against a label of 0 or 1."""
STEPS = 40
NEAR = 0.002
"""How near an end of the interval is found, as a part of its distance from the mean; outwards."""
AT_ONCE = 100_000
"""Units for which capitals are computed at a time."""


@dataclass(frozen=True, kw_only=True)
class PairedSums:
    """What two versions' losses on the same units add up to.

    Attributes:
        champion: sum of its losses.
        challenger: sum of its losses.
        squares: sum of the squared differences.
        fourths: sum of their fourth powers.
        not_worse: logarithm of the capital of each bet that the challenger is not worse.
        worse: the same that it is worse by more than the margin.
        low: lower end of the mean difference.
        high: upper end of it.
    """

    units: int
    champion: float
    challenger: float
    squares: float
    fourths: float
    not_worse: tuple[float, ...]
    worse: tuple[float, ...]
    low: float
    high: float


def losses(loss: str, outputs: Floats, labels: Floats, *, bound: float) -> Floats:
    """The loss of each output, none above the bound.

    Args:
        loss: its name.
        outputs: probabilities of class 1, or numbers, shape (rows,).
        labels: 0 or 1, or numbers, shape (rows,).
        bound: a greater loss counts as this.

    Raises:
        InvalidInput: no such loss is known.
    """
    match loss:
        case "log_loss":
            of_truth = np.where(labels == 1.0, outputs, 1.0 - outputs)
            found = -np.log(np.maximum(of_truth, np.finfo(np.float64).tiny))
        case "brier" | "squared_error":
            found = (outputs - labels) ** 2
        case "error":
            found = ((outputs >= 0.5) != (labels == 1.0)).astype(np.float64)
        case "absolute_error":
            found = np.abs(outputs - labels)
        case _:
            raise InvalidInput(f"there is no loss {loss!r}", where="loss")
    return np.minimum(found, bound)


def class_losses(loss: str, probabilities: Floats, labels: npt.NDArray[np.int64], *, bound: float) -> Floats:
    """The loss of each row of probabilities of several classes, none above the bound.

    With two classes it is that of the second one's probability.

    Args:
        loss: "log_loss": minus the logarithm of what came true. "brier": half the sum of squared distances over the
            classes, from 0 to 1. "error": 1 where another class has the highest one; of equals the first is taken.
        probabilities: shape (rows, classes), each row adding up to 1; for "error" any scores.
        labels: the place of the class that came true, shape (rows,).
        bound: a greater loss counts as this.

    Raises:
        InvalidInput: no such loss is known.
    """
    of_truth = probabilities[np.arange(len(labels)), labels]
    match loss:
        case "log_loss":
            found = -np.log(np.maximum(of_truth, np.finfo(np.float64).tiny))
        case "brier":
            found = ((probabilities**2).sum(axis=1) - 2.0 * of_truth + 1.0) / 2.0
        case "error":
            found = (probabilities.argmax(axis=1) != labels).astype(np.float64)
        case _:
            raise InvalidInput(f"there is no loss {loss!r} of several classes", where="loss")
    # probabilities add up to 1 but for what floats and rounded answers leave
    return np.asarray(np.clip(found, 0.0, bound))


def add_up(challenger: Floats, champion: Floats, *, margin: float, bound: float, alpha: float) -> PairedSums:
    """The sums of the losses of units, in any order.

    Args:
        challenger: its losses, shape (units,), from 0 to `bound`.
        champion: its losses on the same units.
        margin: of the mean difference, above 0 and below `bound`.
        bound: no loss is above it.
        alpha: probability that the interval ever misses the mean.

    Raises:
        InvalidInput: a loss is no number, or not between 0 and its bound.
    """
    both = np.concatenate([challenger, champion])
    if not np.all((both >= 0.0) & (both <= bound)):
        raise InvalidInput(f"a loss is not between 0 and {bound:g}", where="losses")
    differences = challenger - champion
    not_worse, worse = greatest_bets(margin, bound)
    low, high = mean_bounds(differences, bound=bound, alpha=alpha)
    return PairedSums(
        units=len(differences),
        champion=float(champion.sum()),
        challenger=float(challenger.sum()),
        squares=float((differences**2).sum()),
        fourths=float((differences**4).sum()),
        not_worse=_logs(margin - differences, not_worse),
        worse=_logs(differences - margin, worse),
        low=low,
        high=high,
    )


def mean_bounds(differences: Floats, *, bound: float, alpha: float) -> tuple[float, float]:
    """The confidence sequence of a mean of differences between -bound and bound."""
    if not len(differences):
        return -bound, bound
    # of decisions there are three values only, and many units
    values, counts = np.unique(differences, return_counts=True)
    high = _upper(values, counts, bound, alpha)
    low = -_upper(-values, counts, bound, alpha)
    return low, high


def _upper(values: Floats, counts: npt.NDArray[np.int64], bound: float, alpha: float) -> float:
    """The least mean that the bets on a smaller one rule out, or a little more; their capital grows with it."""

    def beyond(mean: float) -> float:
        """The logarithm of the capital over what it takes."""
        found = capital(_logs(mean - values, 1.0 / (bound - mean), counts))
        return min(700.0, math.log(max(found, 1e-300))) - math.log(2.0 / alpha)

    units = float(counts.sum())
    mean = float((values * counts).sum()) / units
    spread = math.sqrt(float(((values - mean) ** 2 * counts).sum())) / units
    inside, below = mean, beyond(mean) if mean < bound else 0.0
    outside, above, width = bound, math.inf, 4.0 * spread + bound / units
    while mean + width < bound:
        if (found := beyond(mean + width)) >= 0.0:
            outside, above = mean + width, found
            break
        inside, below, width = mean + width, found, 2.0 * width
    for _ in range(STEPS):
        if outside - inside <= NEAR * (outside - mean):
            break
        # false position with a foot on either side; by halves where the capital is beyond all numbers
        part = 0.5 if above == math.inf else min(0.95, max(0.05, -below / (above - below)))
        middle = inside + part * (outside - inside)
        if not inside < middle < outside:
            break
        if (found := beyond(middle)) >= 0.0:
            outside, above, below = middle, found, below / 2.0
        else:
            inside, below, above = middle, found, above / 2.0
    return outside


def _logs(gains: Floats, greatest: float, counts: npt.NDArray[np.int64] | None = None) -> tuple[float, ...]:
    """The logarithm of the capital of each bet after all units."""
    found = []
    for part in BETS:
        total = 0.0
        for start in range(0, len(gains), AT_ONCE):
            logs = np.log1p(part * greatest * gains[start : start + AT_ONCE])
            total += float(logs.sum() if counts is None else logs @ counts[start : start + AT_ONCE])
        found.append(total)
    return tuple(found)
