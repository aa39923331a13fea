"""What a training function returns."""

from typing import Any


class Fitted:
    """A fitted estimator.

    Args:
        estimator: an object with `predict`, and `predict_proba` for a binary task, in scikit-learn's manner:
            `predict_proba(features)` of a float64 array of shape (rows, columns) gives shape (rows, 2).
        metrics: numbers that the training function wants to record with the run, by name.
    """

    __slots__ = ("estimator", "metrics")

    def __init__(self, estimator: Any, *, metrics: dict[str, float] | None = None) -> None:
        self.estimator = estimator
        self.metrics = dict(metrics or {})

    def __repr__(self) -> str:
        return f"Fitted({self.estimator!r})"
