from datetime import UTC, datetime

import numpy as np
import pytest

from headrace.monitoring import performance
from headrace.monitoring.labels import Labelled
from headrace.monitoring.nouns import Finding, Health
from headrace.project.monitors import PerformanceMonitor
from headrace.registry.nouns import Estimate, Version

START, END = datetime(1997, 6, 1, tzinfo=UTC), datetime(1997, 7, 1, tzinfo=UTC)


def version(**metrics: Estimate) -> Version:
    return Version(
        model="churn",
        number=1,
        digest="sha256:0",
        files=(),
        metrics=metrics,
        author="ana",
        created_by="ana",
        created_at=START,
        updated_at=START,
    )


def cohort(rows: int, signal: float) -> Labelled:
    generator = np.random.default_rng(rows)
    labels = (generator.random(rows) < 0.5).astype(float)
    scores = 1 / (1 + np.exp(-(signal * (labels - 0.5) + generator.normal(size=rows))))
    return Labelled(labels, scores, np.arange(rows).astype(str).astype(object))


def find(found: Labelled, registered: Estimate | None, metric: str = "roc_auc", margin: float = 0.05) -> Finding:
    monitor = PerformanceMonitor(metric, margin=margin, declared_at="churn.py:1")
    judged = version() if registered is None else version(**{metric: registered})
    return performance.find(f"performance:{metric}", monitor, judged, found, start=START, end=END)


GOOD = Estimate(value=0.84, low=0.83, high=0.85)  # the area of a signal of 1.4


def test_a_metric_as_registered_is_healthy() -> None:
    found = find(cohort(4000, 1.4), GOOD)
    assert found.health is Health.HEALTHY
    assert found.summary.startswith("roc_auc on 4000 labelled predictions from 1997-06-01 to 1997-07-01 is 0.8")


def test_a_fall_beyond_the_margin_is_an_alarm() -> None:
    found = find(cohort(4000, 0.5), GOOD)
    assert found.health is Health.ALARM
    assert found.summary.endswith("worse by more than 0.05")
    assert found.details["verdict"] == "WORSE"


def test_a_ranking_with_few_of_one_outcome_is_inconclusive() -> None:
    """The one customer of 400 who stayed ranks first: an area of 0 whose standard error is 0 too."""
    labels = np.ones(400)
    labels[0] = 0
    scores = np.where(labels == 0, 0.9, 0.1)
    found = find(Labelled(labels, scores, np.arange(400).astype(str).astype(object)), GOOD)
    assert found.health is Health.INCONCLUSIVE
    assert found.summary.endswith("too few to tell")


def test_a_loss_that_rises_is_an_alarm_and_one_that_falls_is_not() -> None:
    assert find(cohort(4000, 0.5), Estimate(value=0.15), "brier").health is Health.ALARM
    assert find(cohort(4000, 1.4), Estimate(value=0.25), "brier").health is Health.HEALTHY


def test_few_labels_do_not_tell() -> None:
    assert find(cohort(49, 0.0), GOOD).summary.endswith("too few to tell")
    uncertain = find(cohort(60, 1.0), GOOD)
    assert uncertain.health is Health.INCONCLUSIVE
    assert uncertain.summary.endswith("too uncertain to tell")


def test_the_uncertainty_of_the_registered_value_counts() -> None:
    found = cohort(4000, 1.0)
    assert find(found, Estimate(value=0.84), margin=0.03).health is Health.ALARM
    assert find(found, Estimate(value=0.84, low=0.74, high=0.94), margin=0.03).health is Health.INCONCLUSIVE


def test_repeated_predictions_of_a_customer_count_as_one_source_of_evidence() -> None:
    few = cohort(60, 1.4)
    copies = Labelled(*(np.repeat(column, 20) for column in few))
    strangers = copies._replace(groups=np.arange(1200).astype(str).astype(object))
    error, naive = (find(found, GOOD).details["live"]["standard_error"] for found in (copies, strangers))
    assert error > 3 * naive


def test_one_outcome_only_or_no_registered_metric_is_inconclusive() -> None:
    found = cohort(100, 1.0)
    assert find(found._replace(labels=np.ones(100)), GOOD).health is Health.INCONCLUSIVE
    without = find(found, None)
    assert without.health is Health.INCONCLUSIVE
    assert without.summary == "version 1 was registered without roc_auc"


@pytest.mark.parametrize("metric", ["average_precision", "accuracy", "log_loss"])
def test_every_metric_of_a_project_can_be_watched(metric: str) -> None:
    found = find(cohort(300, 1.4), Estimate(value=0.0 if metric != "log_loss" else 9.0), metric)
    assert found.health is Health.HEALTHY
