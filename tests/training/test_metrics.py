"""Every metric that a project may name can be computed, and agrees with scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from headrace.project.metrics import HIGHER_IS_BETTER
from headrace.training.metrics import binary_metric

GENERATOR = np.random.default_rng(0)
LABEL = GENERATOR.integers(0, 2, 500)
SCORE = np.clip(LABEL * 0.2 + GENERATOR.random(500) * 0.8, 0.01, 0.99)

THEIRS = {
    "roc_auc": metrics.roc_auc_score,
    "average_precision": metrics.average_precision_score,
    "accuracy": lambda label, score: metrics.accuracy_score(label, score >= 0.5),
    "precision": lambda label, score: metrics.precision_score(label, score >= 0.5),
    "recall": lambda label, score: metrics.recall_score(label, score >= 0.5),
    "f1": lambda label, score: metrics.f1_score(label, score >= 0.5),
    "log_loss": metrics.log_loss,
    "brier": metrics.brier_score_loss,
}


@pytest.mark.parametrize("name", sorted(HIGHER_IS_BETTER))
def test_each_metric_agrees_with_scikit_learn(name: str) -> None:
    assert binary_metric(name, LABEL, SCORE) == pytest.approx(THEIRS[name](LABEL, SCORE), abs=1e-12)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_a_metric_of_no_row_at_all_is_zero(name: str) -> None:
    assert binary_metric(name, np.zeros(5, dtype=np.int64), np.zeros(5)) == 0.0
