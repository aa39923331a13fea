"""Whether a faster form of a model is the same model, on given rows: no answer beyond a bound, no label flipped."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.serving.forms.inputs import Outputs
from headrace.serving.loading_nouns import Agreement

ABSOLUTE_BOUND = 1e-6
RELATIVE_BOUND = 1e-6
"""A difference counts when it is larger than the sum of both: float32 keeps seven digits, a forest adds up many."""


def compare(
    native: Outputs,
    other: Outputs,
    *,
    classes: bool,
    likelihoods: npt.NDArray[np.float64] | None = None,
) -> Agreement:
    """How far two forms of a model agree on the same rows.

    Args:
        native: answers of the model as it was registered, for each row.
        other: those of the other form.
        classes: whether numbers are the likelihoods of classes, so that a label follows from them: the likelier of
            two from one number, the likeliest of several from a list.
        likelihoods: where labels are answered, the likelihoods behind those of the other form, of shape
            (rows, classes); they tell which labels were exactly as likely.
    """
    first, second = np.asarray(native), np.asarray(other)
    if first.shape != second.shape:
        return Agreement(rows=len(first), beyond=len(first))
    if first.dtype.kind != "f":
        different = first != second
        different = different.reshape(len(first), -1).any(axis=1) if different.ndim > 1 else different
        tied = np.zeros(len(first), dtype=bool) if likelihoods is None else _as_likely(likelihoods)
        return Agreement(rows=len(first), flips=int((different & ~tied).sum()), ties=int((different & tied).sum()))
    before, after = first.astype(np.float64), second.astype(np.float64)
    gap = np.abs(before - after)
    gap[np.isnan(before) & np.isnan(after)] = 0.0
    gap[before == after] = 0.0  # both infinite
    beyond = ~(gap <= ABSOLUTE_BOUND + RELATIVE_BOUND * np.abs(before))
    by_row = beyond.reshape(len(before), -1).any(axis=1)
    flips = ties = 0
    if classes:
        flipped = _labels(before) != _labels(after)
        tied = _as_likely(before)
        flips, ties = int((flipped & ~tied).sum()), int((flipped & tied).sum())
    largest = float(np.nanmax(gap)) if gap.size else 0.0
    return Agreement(rows=len(before), largest=largest, beyond=int(by_row.sum()), flips=flips, ties=ties)


def differing(found: Sequence[Agreement]) -> str:
    """What is wrong with a form, in words; empty when nothing is."""
    flips, beyond = sum(each.flips for each in found), sum(each.beyond for each in found)
    rows = sum(each.rows for each in found)
    largest = max((each.largest for each in found if each.largest is not None), default=None)
    parts = []
    if flips:
        parts.append(f"{flips} labels flipped")
    if beyond:
        how = "" if largest is None else f", by up to {largest:.2g}"
        parts.append(f"{beyond} answers differ{how}")
    return f"{' and '.join(parts)} in {rows} rows" if parts else ""


def _labels(values: npt.NDArray[np.float64]) -> Any:
    return np.argmax(values, axis=1) if values.ndim == 2 else values > 0.5


def _as_likely(values: npt.NDArray[np.float64]) -> Any:
    """Rows on which the two likeliest classes are equal, as far as the bound can tell."""
    if values.ndim == 1:
        return np.abs(values - 0.5) <= ABSOLUTE_BOUND
    if values.shape[1] < 2:
        return np.zeros(len(values), dtype=bool)
    highest = np.sort(values, axis=1)[:, -2:]
    return highest[:, 1] - highest[:, 0] <= ABSOLUTE_BOUND
