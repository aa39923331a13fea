from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headrace.monitoring import quality
from headrace.monitoring.nouns import Finding, Health
from headrace.project.monitors import QualityMonitor
from headrace.statistics.profiles import count, profile

MONITOR = QualityMonitor(tolerance=0.02, declared_at="churn.py:1")
GENERATOR = np.random.default_rng(1)
REFERENCE = profile(
    {
        "spend": np.where(GENERATOR.random(4000) < 0.1, np.nan, GENERATOR.uniform(0, 10, size=4000)),
        "plan": GENERATOR.choice(["free", "paid"], size=4000).astype(object),
    }
)


def window(rows: int = 1000, **columns: npt.NDArray[Any]) -> Finding:
    generator = np.random.default_rng(2)
    data: dict[str, npt.NDArray[Any]] = {
        "spend": np.where(generator.random(rows) < 0.1, np.nan, generator.uniform(0, 10, size=rows)),
        "plan": generator.choice(["free", "paid"], size=rows).astype(object),
    }
    counts = count(REFERENCE, data | columns)
    return quality.find("quality", MONITOR, REFERENCE, counts, rows=rows, faults=0)


def test_a_window_like_the_reference_is_healthy() -> None:
    found = window()
    assert found.health is Health.HEALTHY
    assert found.summary == "5 checks hold on 1000 predictions"
    assert {(share["column"], share["check"]) for share in found.details["shares"]} == {
        ("", "fault"),
        ("spend", "missing"),
        ("spend", "infinite"),
        ("plan", "missing"),
        ("plan", "unseen category"),
    }


@pytest.mark.parametrize(
    ("column", "share", "value", "summary"),
    [
        ("spend", 0.2, np.nan, "missing in spend rose from"),
        ("spend", 0.1, np.inf, "infinite in spend rose from 0.0% to 10.0%"),
        ("spend", 0.1, -np.inf, "infinite in spend rose from 0.0% to 10.0%"),
        ("plan", 0.1, "trial", "unseen category in plan rose from 0.0% to 10.0%"),
        ("plan", 0.1, None, "missing in plan rose from 0.0% to 10.0%"),
    ],
)
def test_a_rise_beyond_the_tolerance_is_an_alarm(column: str, share: float, value: Any, summary: str) -> None:
    clean: npt.NDArray[Any] = (
        np.full(1000, 5.0) if column == "spend" else np.array(["free", "paid"] * 500, dtype=object)
    )
    clean[: int(share * 1000)] = value
    found = window(spend=clean) if column == "spend" else window(plan=clean)
    assert found.health is Health.ALARM
    assert found.summary.startswith(summary)


def test_sound_values_beyond_the_range_of_training_are_left_to_drift() -> None:
    found = window(spend=np.full(1000, 11.0))
    assert found.health is Health.HEALTHY


def test_a_rise_within_the_tolerance_is_healthy() -> None:
    spend = np.full(1000, 5.0)
    spend[:20] = np.inf
    assert window(spend=spend).health is Health.HEALTHY


def test_a_rise_that_few_rows_cannot_show_is_no_alarm() -> None:
    spend = np.full(60, 5.0)
    spend[:4] = np.inf
    assert window(rows=60, spend=spend).health is Health.HEALTHY


def test_too_few_rows_are_inconclusive() -> None:
    assert window(rows=49, spend=np.full(49, np.inf)).health is Health.INCONCLUSIVE


def test_faults_are_judged_without_a_profile() -> None:
    found = quality.find("quality", MONITOR, None, None, rows=500, faults=50)
    assert found.health is Health.ALARM
    assert found.summary == "faults rose from 0.0% to 10.0%"
    assert quality.find("quality", MONITOR, None, None, rows=500, faults=0).health is Health.HEALTHY


def test_a_column_that_is_not_sent_is_an_alarm() -> None:
    counts = count(REFERENCE, {"plan": np.array(["free", "paid"] * 500, dtype=object)})
    found = quality.find("quality", MONITOR, REFERENCE, counts, rows=1000, faults=0)
    assert found.health is Health.ALARM
    assert found.summary == "spend is not sent any more"


def test_false_alarms_are_rare_at_the_tolerance() -> None:
    generator = np.random.default_rng(3)
    alarms = 0
    for _ in range(200):
        spend = np.where(generator.random(1000) < MONITOR.tolerance, np.inf, 5.0)
        alarms += window(spend=spend).health is Health.ALARM
    assert alarms <= 4
