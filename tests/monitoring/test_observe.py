"""A window as a worker looks at it: the right predictions, each monitor, and patience with what is late."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

import headrace as hr
from headrace.errors import InvalidInput, Unavailable
from headrace.monitoring import labels
from headrace.monitoring.nouns import Health, WindowRequest, WindowResult
from headrace.monitoring.observe import run_window
from headrace.serving.nouns import Purpose
from headrace.statistics.profiles import Counts, merge

START, END = datetime(1997, 8, 1, tzinfo=UTC), datetime(1997, 9, 1, tzinfo=UTC)
DAY = timedelta(days=1)
REQUEST = WindowRequest(model="churn", cron="0 0 1 * *")
MONITORS = [hr.drift(), hr.quality(), hr.performance("roc_auc")]


def uniform(low: float, high: float, rows: int = 400) -> list[float]:
    values: list[float] = np.random.default_rng(5).uniform(low, high, size=rows).tolist()
    return values


@pytest.fixture
def ready(bench: Any) -> Any:
    bench.put_model(MONITORS)
    bench.put_source({}, END)
    return bench


def health(result: WindowResult) -> dict[str, str]:
    return {finding.name: finding.health.value for finding in result.findings}


def test_a_window_like_training_is_healthy(ready: Any) -> None:
    ready.predict(range(400), START + DAY, recency=uniform(0, 100))
    result = run_window(ready.context(), REQUEST)
    assert (result.start, result.end, result.version, result.predictions) == (START, END, 1, 400)
    assert health(result) == {
        "drift": "HEALTHY",
        "quality": "HEALTHY",
        "performance:roc_auc": "INCONCLUSIVE",
    }


def test_a_window_that_moved_is_an_alarm_with_the_counts_kept(ready: Any) -> None:
    ready.predict(range(400), START + DAY, recency=uniform(60, 140))
    result = run_window(ready.context(), REQUEST)
    assert health(result)["drift"] == "ALARM"
    assert health(result)["quality"] == "HEALTHY"
    assert "recency: the distribution moved by" in result.findings[0].summary
    assert result.counts is not None
    counts = msgspec.json.decode(ready.blobs.read(result.counts), type=Counts)
    assert counts.rows == 400
    assert merge(counts, counts).rows == 800


def test_only_live_predictions_of_the_version_within_the_window_count(ready: Any) -> None:
    moved = uniform(200, 300)
    ready.predict(range(400), START, recency=uniform(0, 100))
    ready.predict(range(400), START - timedelta(microseconds=1), recency=moved)
    ready.predict(range(400), END, recency=moved)
    ready.predict(range(400), START + DAY, recency=moved, purpose=Purpose.STAGING)
    ready.predict(range(400), START + DAY, recency=moved, version=2)
    result = run_window(ready.context(), REQUEST)
    assert result.predictions == 800
    assert result.findings[0].rows == 400
    assert health(result)["drift"] == "HEALTHY"


def test_few_predictions_are_inconclusive(ready: Any) -> None:
    ready.predict(range(20), START + DAY, recency=uniform(200, 300, 20))
    assert set(health(run_window(ready.context(), REQUEST)).values()) == {"INCONCLUSIVE"}


def test_no_predictions_at_all_are_inconclusive(ready: Any) -> None:
    result = run_window(ready.context(), REQUEST)
    assert result.predictions == 0
    assert set(health(result).values()) == {"INCONCLUSIVE"}


def test_faults_are_counted_and_judged(ready: Any) -> None:
    scores = [None if place % 5 == 0 else 0.5 for place in range(400)]
    ready.predict(range(400), START + DAY, recency=uniform(0, 100), scores=scores)
    result = run_window(ready.context(), REQUEST)
    assert result.faults == 80
    assert result.findings[1].summary == "faults rose from 0.0% to 20.0%"


def test_faults_are_the_quality_monitors_alone(bench: Any) -> None:
    bench.put_model([hr.drift(), hr.quality()], scores=[0.5] * 1000)
    bench.put_source({}, END)
    scores = [None if place % 5 == 0 else 0.5 for place in range(400)]
    bench.predict(range(400), START + DAY, recency=uniform(0, 100), scores=scores)
    assert health(run_window(bench.context(), REQUEST)) == {"drift": "HEALTHY", "quality": "ALARM"}


def test_one_customer_who_asks_again_and_again_is_no_drift(ready: Any) -> None:
    ready.predict([7] * 400, START + DAY, recency=[95.0] * 400)
    (drift, *_) = run_window(ready.context(), REQUEST).findings
    assert drift.health is Health.INCONCLUSIVE
    assert drift.rows == 400


def test_rows_without_an_entity_stand_for_themselves(ready: Any) -> None:
    ready.predict(range(400), START + DAY, recency=uniform(60, 140), entity=lambda _: None)
    assert health(run_window(ready.context(), REQUEST))["drift"] == "ALARM"


def test_the_cohort_whose_labels_matured_is_judged(ready: Any) -> None:
    at = START - 20 * DAY  # the cohort of this window: 31 days earlier
    buyers = range(0, 300, 2)
    ready.put_source({customer: [at + DAY] for customer in buyers}, END)
    reversed_scores = [0.9 if customer % 2 == 0 else 0.1 for customer in range(300)]
    ready.predict(range(300), at, scores=reversed_scores)
    result = run_window(ready.context(), REQUEST)
    assert result.labels_joined == 300
    (finding,) = [finding for finding in result.findings if finding.monitor == "performance"]
    assert finding.health is Health.ALARM
    assert finding.rows == 300
    assert run_window(ready.context(), REQUEST).labels_joined == 0


def test_a_source_that_stays_behind_costs_the_labels_and_not_the_window(ready: Any) -> None:
    ready.predict(range(400), START + DAY, recency=uniform(60, 140))
    ready.put_source({}, START)
    with pytest.raises(Unavailable):
        run_window(ready.context(), REQUEST)
    result = run_window(ready.context(attempt=labels.PATIENT_ATTEMPTS + 1), REQUEST)
    assert health(result)["drift"] == "ALARM"
    assert result.findings[2].summary == "the label's source is behind"


def test_only_monitors_of_the_schedule_look(bench: Any) -> None:
    bench.put_model([hr.drift(every="0 0 * * *"), hr.drift(), hr.quality(every="0 0 * * *")])
    bench.put_source({}, END)
    daily = run_window(bench.context(), WindowRequest(model="churn", cron="0 0 * * *"))
    assert (daily.start, [finding.name for finding in daily.findings]) == (END - DAY, ["drift", "quality"])
    monthly = run_window(bench.context(), REQUEST)
    assert [finding.name for finding in monthly.findings] == ["drift@0 0 1 * *"]


def test_without_a_version_in_production_nothing_is_concluded(bench: Any) -> None:
    bench.put_model(MONITORS, production=None)
    bench.put_source({}, END)
    result = run_window(bench.context(), REQUEST)
    assert result.version is None
    assert {finding.summary for finding in result.findings} == {"no version is in production"}


def test_a_version_without_a_profile_is_watched_for_faults_only(bench: Any) -> None:
    bench.put_model(MONITORS, profiled=False)
    bench.put_source({}, END)
    bench.predict(range(100), START + DAY)
    result = run_window(bench.context(), REQUEST)
    assert result.counts is None
    assert health(result)["drift"] == "INCONCLUSIVE"
    assert health(result)["quality"] == "HEALTHY"


def test_a_window_can_be_asked_for_without_a_schedule(ready: Any) -> None:
    october = datetime(1997, 10, 1, tzinfo=UTC)
    ready.put_source({}, october)
    request = WindowRequest(model="churn", cron="0 0 1 * *", end=october)
    assert run_window(ready.context(end=None), request).start == END
    with pytest.raises(InvalidInput, match="needs an end"):
        run_window(ready.context(end=None), REQUEST)
