"""The metrics of a binary model, computed by the same functions that gates and monitors use."""

import numpy as np
import numpy.typing as npt

from headrace.statistics import metrics


def binary_metric(name: str, label: npt.NDArray[np.int64], score: npt.NDArray[np.float64]) -> float:
    """One metric of probabilities of class 1; decisions are cut at 0.5.

    A precision or an F1 of no row at all is 0, as in scikit-learn, so that a search can go on.

    Args:
        name: one of `headrace.project.metrics.HIGHER_IS_BETTER`.
        label: 0 or 1, shape (rows,).
        score: probabilities, shape (rows,).
    """
    if name not in metrics.OF_POSITIVES:
        return metrics.value(name, label, score)
    counted = metrics.cells(label, score).sum(axis=0)
    return float(np.nan_to_num(metrics.many_of_cells(name, counted[None, :])[0]))
