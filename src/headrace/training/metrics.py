"""The metrics of a binary model, computed by the same functions that gates and monitors use."""

import numpy as np
import numpy.typing as npt

from headrace.statistics import ranking


def binary_metric(name: str, label: npt.NDArray[np.int64], score: npt.NDArray[np.float64]) -> float:
    """One metric of probabilities of class 1.

    Args:
        name: one of `headrace.project.metrics.HIGHER_IS_BETTER`.
        label: 0 or 1, shape (rows,).
        score: probabilities, shape (rows,).
    """
    if name == "roc_auc":
        return ranking.roc_auc(label, score).value
    if name == "average_precision":
        return ranking.average_precision(label, score)
    if name == "accuracy":
        return float(np.mean(ranking.hits(label, score)))
    if name == "log_loss":
        return float(np.mean(ranking.log_losses(label, score)))
    if name == "brier":
        return float(np.mean(ranking.brier_losses(label, score)))
    raise KeyError(name)
