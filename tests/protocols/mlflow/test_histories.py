"""One metric of many runs, for charts."""

from typing import Any

import pytest

from .conftest import Door

pytestmark = pytest.mark.both_databases
NOW = 1_790_000_000_000


def logged(door: Door, count: int) -> str:
    run_id = door.run()
    points = [
        {"key": "loss", "value": 1 / (step + 1), "timestamp": NOW + step, "step": step} for step in range(count)
    ]
    door("POST", "runs/log-batch", run_id=run_id, metrics=points)
    return run_id


def test_whole_histories_up_to_a_number_of_points(door: Door) -> None:
    first, second = logged(door, 5), logged(door, 5)
    found = door("GET", "metrics/get-history-bulk", run_id=[first, second], metric_key="loss", max_results=7)
    assert [(point["run_id"], point["step"]) for point in found["metrics"]] == [
        *((first, step) for step in range(5)),
        *((second, step) for step in range(2)),
    ]


@pytest.mark.parametrize(
    ("most", "steps"), [(1, [99]), (2, [0, 99]), (4, [0, 33, 66, 99]), (500, list(range(100)))]
)
def test_thinned_histories_keep_the_first_and_the_last(door: Door, most: int, steps: list[int]) -> None:
    run_id = logged(door, 100)
    found = door("GET", "metrics/get-history-bulk-interval", run_ids=[run_id], metric_key="loss", max_results=most)
    assert [point["step"] for point in found["metrics"]] == steps


def test_an_interval_of_steps(door: Door) -> None:
    asked: dict[str, Any] = {
        "run_ids": [logged(door, 100)],
        "metric_key": "loss",
        "start_step": 10,
        "end_step": 20,
    }
    found = door("GET", "metrics/get-history-bulk-interval", **asked, max_results=3)
    assert [point["step"] for point in found["metrics"]] == [10, 15, 20]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"run_ids": ["a"]},
        {"run_ids": ["a"] * 101, "metric_key": "loss"},
        {"run_ids": ["a"], "metric_key": "loss", "max_results": 0},
        {"run_ids": ["a"], "metric_key": "loss", "max_results": 2501},
        {"run_ids": ["a"], "metric_key": "loss", "start_step": 1},
        {"run_ids": ["a"], "metric_key": "loss", "start_step": 2, "end_step": 1},
    ],
)
def test_what_cannot_be_drawn_is_refused(door: Door, fields: dict[str, object]) -> None:
    code, _ = door.fault("GET", "metrics/get-history-bulk-interval", 400, **fields)
    assert code == "INVALID_PARAMETER_VALUE"
