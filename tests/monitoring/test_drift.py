import numpy as np

from headrace.monitoring import drift
from headrace.monitoring.nouns import Health
from headrace.project.monitors import DriftMonitor
from headrace.statistics.profiles import count, profile

MONITOR = DriftMonitor(declared_at="churn.py:1")
REFERENCE = profile({name: np.random.default_rng(place).normal(size=2000) for place, name in enumerate("abcd")})


def test_without_a_profile_nothing_is_concluded() -> None:
    found = drift.find("drift", MONITOR, None, None)
    assert (found.health, found.rows) == (Health.INCONCLUSIVE, 0)
    assert found.summary == "the version has no reference profile to compare with"


def test_drifted_columns_are_named_largest_first() -> None:
    generator = np.random.default_rng(9)
    window = {
        name: generator.normal(shift, 1, size=500) for name, shift in zip("abc", (0.0, 0.5, 2.0), strict=True)
    }
    found = drift.find("drift", MONITOR, REFERENCE, count(REFERENCE, window))
    assert found.health is Health.ALARM
    assert found.summary.startswith("3 of 4 columns drifted: c: the distribution moved by 0.7")
    assert found.summary.endswith("d is not sent any more")
    assert [column["name"] for column in found.details["columns"]][:2] == ["c", "b"]


def test_a_window_like_the_reference_is_healthy() -> None:
    generator = np.random.default_rng(9)
    window = {name: generator.normal(size=500) for name in "abcd"}
    found = drift.find("drift", MONITOR, REFERENCE, count(REFERENCE, window))
    assert (found.health, found.rows) == (Health.HEALTHY, 500)
    assert found.summary == "4 columns are as in training, on 500 predictions"


def test_few_rows_are_inconclusive() -> None:
    window = {name: np.full(20, 99.0) for name in "abcd"}
    found = drift.find("drift", MONITOR, REFERENCE, count(REFERENCE, window))
    assert found.health is Health.INCONCLUSIVE
    assert found.summary == "20 predictions are too few to tell drift"
