"""The metrics that gates, searches and monitors can name, and which way is better."""

from headrace.errors import ProjectError

HIGHER_IS_BETTER = {
    "roc_auc": True,
    "average_precision": True,
    "accuracy": True,
    "precision": True,
    "recall": True,
    "f1": True,
    "log_loss": False,
    "brier": False,
}
"""Metrics of a binary model that answers with the probability of class 1."""

OF_DECISIONS = frozenset({"accuracy", "precision", "recall", "f1"})
"""Metrics of decisions: the probability is cut at a threshold, 0.5 unless it is said."""


def require_metric(name: str, *, where: str = "", higher_is_better: bool = False) -> None:
    """Refuses a metric that is unknown, or that gets better as it falls where a rising one is needed.

    Raises:
        ProjectError: with the metrics that fit.
    """
    fitting = sorted(known for known, rises in HIGHER_IS_BETTER.items() if rises or not higher_is_better)
    if name not in fitting:
        what = (
            "is better when lower, which does not fit here" if name in HIGHER_IS_BETTER else "is not a known metric"
        )
        raise ProjectError(f"{name!r} {what}", where=where or None, fix=f"Use one of: {', '.join(fitting)}.")
