"""NaN and the infinities: taken in every form in which clients write them, kept exactly, found again."""

import json
import math
from typing import Any

import pytest

pytestmark = pytest.mark.both_databases

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from

WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def send(door: Door, endpoint: str, body: str) -> int:
    headers = {"Content-Type": "application/json"}
    status: int = door.client.post(f"/api/2.0/mlflow/runs/{endpoint}", content=body, headers=headers).status_code
    return status


def logged(door: Door, *, bare: bool, batch: bool, keys: dict[str, str]) -> str:
    """A run with one point of each key: the words as strings, or bare as `json.dumps` writes such floats."""
    run_id: str = door.run()
    for step, (key, word) in enumerate(keys.items()):
        point = {"key": key, "value": WORDS[word] if bare else word, "timestamp": 1, "step": step}
        body = {"run_id": run_id, "metrics": [point]} if batch else {"run_id": run_id, **point}
        assert send(door, "log-batch" if batch else "log-metric", json.dumps(body)) == 200
    return run_id


@pytest.mark.parametrize("bare", [False, True], ids=["as strings", "bare"])
@pytest.mark.parametrize("batch", [False, True], ids=["log-metric", "log-batch"])
def test_they_are_kept_exactly(door: Door, *, bare: bool, batch: bool) -> None:
    run_id = logged(door, bare=bare, batch=batch, keys={f"m {word}": word for word in WORDS})
    for word in WORDS:
        point = door("GET", "metrics/get-history", run_id=run_id, metric_key=f"m {word}")["metrics"]
        assert [each["value"] for each in point] == [word]
        for bulk, field in (("get-history-bulk", "run_id"), ("get-history-bulk-interval", "run_ids")):
            found = door("GET", f"metrics/{bulk}", metric_key=f"m {word}", **{field: run_id})["metrics"]
            assert [(each["value"], each["run_id"]) for each in found] == [(word, run_id)]
    latest = {f"m {word}": word for word in WORDS}
    runs = [
        door("GET", "runs/get", run_id=run_id)["run"],
        *door("POST", "runs/search", experiment_ids=["0"])["runs"],
    ]
    for run in runs:
        assert {each["key"]: each["value"] for each in run["data"]["metrics"]} == latest


def test_a_series_holds_them_between_numbers(door: Door) -> None:
    run_id = door.run()
    values = [1.5, "NaN", "-Infinity", 1.7976931348623157e308, "Infinity", 5e-324, "NaN"]
    for step, value in enumerate(values):
        door("POST", "runs/log-metric", run_id=run_id, key="m", value=value, timestamp=1, step=step)
    history = door("GET", "metrics/get-history", run_id=run_id, metric_key="m")["metrics"]
    assert [point["value"] for point in history] == values
    assert door("GET", "runs/get", run_id=run_id)["run"]["data"]["metrics"][0]["value"] == "NaN"


def test_they_are_searched_and_sorted_for_what_they_are(door: Door) -> None:
    runs = {word: logged(door, bare=True, batch=True, keys={"m": word}) for word in WORDS}
    runs["1.5"] = door.run()
    door("POST", "runs/log-metric", run_id=runs["1.5"], key="m", value=1.5, timestamp=1)
    runs["none"] = door.run()
    names = {run_id: name for name, run_id in runs.items()}

    def found(**query: object) -> list[str]:
        page = door("POST", "runs/search", experiment_ids=["0"], **query)
        return [names[run["info"]["run_id"]] for run in page.get("runs", [])]

    assert set(found(filter="metrics.m > 1e308")) == {"Infinity"}
    assert set(found(filter="metrics.m < -1e308")) == {"-Infinity"}
    assert set(found(filter="metrics.m >= 1.5")) == {"1.5", "Infinity"}
    assert set(found(filter="metrics.m <= 1.5")) == {"1.5", "-Infinity"}
    assert set(found(filter="metrics.m = 1.5")) == {"1.5"}
    assert found(order_by=["metrics.m ASC"]) == ["-Infinity", "1.5", "Infinity", "NaN", "none"]
    assert found(order_by=["metrics.m DESC"]) == ["Infinity", "1.5", "-Infinity", "NaN", "none"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"nan"', "NaN"),
        ('"inf"', "Infinity"),
        ('"-INF"', "-Infinity"),
        ('"+Infinity"', "Infinity"),
        ('"1e999"', "Infinity"),
        ("1e999", "Infinity"),
        ("-1e999", "-Infinity"),
        ("NaN", "NaN"),
    ],
)
def test_other_ways_to_write_them(door: Door, written: str, read: str) -> None:
    """As MLflow's server reads them; a number that overflows is what it becomes there, too."""
    run_id = door.run()
    body = f'{{"run_id": "{run_id}", "key": "m", "value": {written}, "timestamp": 1}}'
    assert send(door, "log-metric", body) == 200
    assert door("GET", "runs/get", run_id=run_id)["run"]["data"]["metrics"][0]["value"] == read


@pytest.mark.parametrize(
    "body",
    [
        '{"run_id": "RUN", "key": "m", "value": 1, "timestamp": NaN}',
        '{"run_id": "RUN", "key": "m", "value": 1, "timestamp": 1, "step": Infinity}',
        '{"run_id": NaN, "key": "m", "value": 1, "timestamp": 1}',
        '{"run_id": "RUN", "key": "m", "value": nan, "timestamp": 1}',
        '{"run_id": "RUN", "key": "m", "value": --Infinity, "timestamp": 1}',
        '{"run_id": "RUN", "key": "m", "value": NaN, "timestamp": 1',
        '{"run_id": "RUN", "key": "\\ud800", "value": NaN, "timestamp": 1}',
        '{"run_id": "RUN", "key": "m", "value": NaN, "timestamp": 1' + "0" * 5_000 + "}",
        "NaN",
    ],
)
def test_elsewhere_they_are_refused(door: Door, body: str) -> None:
    run_id = door.run()
    assert send(door, "log-metric", body.replace("RUN", run_id)) == 400
    assert "metrics" not in door("GET", "runs/get", run_id=run_id)["run"]["data"]


def test_the_same_words_are_text_where_text_stands(door: Door) -> None:
    run_id = door.run()
    body = {"run_id": run_id, "params": [{"key": "NaN", "value": "Infinity"}]}
    body["metrics"] = [{"key": "m", "value": math.nan, "timestamp": 1}]
    assert send(door, "log-batch", json.dumps(body)) == 200
    data = door("GET", "runs/get", run_id=run_id)["run"]["data"]
    assert data["params"] == [{"key": "NaN", "value": "Infinity"}]
    assert data["metrics"][0]["value"] == "NaN"
