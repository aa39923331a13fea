"""The log: every record in order, rotation, counted drops, and what a killed gateway leaves behind."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.serving.assignment import Assignment, Counted
from headrace.serving.gateway.prediction_log import PredictionLog
from headrace.serving.log.segments import (
    ASIDE,
    CLOSED,
    OPEN,
    Logged,
    adopt,
    models_logged,
    read_segment,
    segment_number,
    segments,
)
from headrace.serving.nouns import Arm, BusinessTime, Purpose

MAY = datetime(1997, 5, 1, tzinfo=UTC)


def record(
    number: int = 0, *, model: str = "churn", version: int = 1, business_at: datetime = MAY, **changes: Any
) -> Logged:
    facts: dict[str, Any] = {
        "counted": Counted(model, version, None, None),
        "assignment": Assignment(version, Arm.CHAMPION, 1.0),
        "ids": [f"prd_{number}"],
        "business_at": business_at,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "entity_key": "customer_id",
        "entities": [number],
        "names": ("x",),
        "inputs": np.array([[np.nan]]),
        "outputs": np.array([0.5]),
        "latency_us": 20,
        "purpose": Purpose.LIVE,
    }
    return Logged(**(facts | changes))


class Clock:
    def __init__(self) -> None:
        self.now, self.replayed = MAY, True

    def __call__(self) -> BusinessTime:
        return BusinessTime(now=self.now, replayed=self.replayed)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., PredictionLog]]:
    started: list[PredictionLog] = []

    def begin(**options: Any) -> PredictionLog:
        log = PredictionLog(tmp_path, "gateway-1", business_time=clock, **options)
        log.start()
        started.append(log)
        return log

    yield begin
    for log in started:
        log.close()


def eventually(condition: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def logged(root: Path, model: str = "churn") -> list[str]:
    return [
        found.prediction_id
        for paths in segments(root, model, CLOSED).values()
        for path in paths
        for found in read_segment(path)
        if found is not None
    ]


def test_every_record_is_there_after_closing_in_order(tmp_path: Path, start: Callable[..., PredictionLog]) -> None:
    log = start(segment_bytes=2_000)
    for number in range(100):
        log.append(record(number))
        time.sleep(0.001)
    log.append(record(0, model="other/one.model"))
    log.close()
    assert logged(tmp_path) == [f"prd_{number}" for number in range(100)]
    assert logged(tmp_path, "other/one.model") == ["prd_0"]
    assert models_logged(tmp_path) == ["churn", "other/one.model"]
    assert log.dropped == 0


def test_a_record_survives_the_round_trip(tmp_path: Path, start: Callable[..., PredictionLog]) -> None:
    log = start()
    log.append(record(7))
    log.close()
    (path,) = segments(tmp_path, "churn", CLOSED)["gateway-1"]
    (found,) = read_segment(path)
    assert found is not None
    assert found.features == (None,)  # NaN is null from here on
    assert found.business_at == MAY
    assert found.entity == {"customer_id": 7}


def test_what_cannot_be_written_is_counted_and_takes_nobody_elses_lines_along(
    tmp_path: Path, start: Callable[..., PredictionLog]
) -> None:
    log = start()
    unreadable = {"z": np.array([1.0])}  # without the column that is named: a defect of ours
    log.append(record(1, version=2, inputs=unreadable))  # the first of its version, which would write the names
    log.append(record(2, version=2))
    log.append(record(3))
    log.append(record(4, inputs=unreadable))
    log.append(record(5))
    log.close()
    assert logged(tmp_path) == ["prd_2", "prd_3", "prd_5"]
    assert log.dropped == 2


def test_a_full_queue_drops_and_counts(start: Callable[..., PredictionLog]) -> None:
    log = start(capacity=0)
    log.append(record())
    assert log.dropped == 1


def test_rows_of_many_features_take_more_room(
    start: Callable[..., PredictionLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.serving.gateway.prediction_log.FLUSH_S", 60.0)
    log = start(capacity=10)
    wide: dict[str, Any] = {"names": tuple(f"f{place}" for place in range(1_000)), "inputs": np.zeros((1, 1_000))}
    log.append(record(1, **wide))  # alone it is always taken
    log.append(record(2))
    assert log.dropped == 1
    log.close()
    assert log.dropped == 1


def test_a_replay_that_moves_the_clock_closes_the_segment(
    tmp_path: Path, start: Callable[..., PredictionLog], clock: Clock
) -> None:
    log = start()
    log.append(record(1))
    eventually(lambda: bool(segments(tmp_path, "churn", OPEN)) and log.logged_until == MAY)
    clock.now = MAY + timedelta(days=31)
    eventually(lambda: log.logged_until == clock.now)
    assert logged(tmp_path) == ["prd_1"]


def test_a_request_in_flight_holds_back_what_counts_as_logged(
    tmp_path: Path, start: Callable[..., PredictionLog], clock: Clock
) -> None:
    log = start()
    era = log.begin()
    clock.now = MAY + timedelta(days=31)
    eventually(lambda: log.logged_until == MAY)
    log.append(record(1))
    log.end(era)
    eventually(lambda: log.logged_until == clock.now)
    assert logged(tmp_path) == ["prd_1"]


def test_a_segment_is_closed_by_age(tmp_path: Path, start: Callable[..., PredictionLog]) -> None:
    log = start(segment_s=0.1)
    log.append(record(1))
    eventually(lambda: logged(tmp_path) == ["prd_1"])


def test_numbers_rise_from_life_to_life_and_leftovers_are_closed_under_new_ones(
    tmp_path: Path, start: Callable[..., PredictionLog]
) -> None:
    log = start()
    log.append(record(1))
    log.close()
    (first,) = segments(tmp_path, "churn", CLOSED)["gateway-1"]
    ahead = segment_number(first) + 10**12  # a clock that was set back since
    (tmp_path / "gateway-1" / "last").write_text(str(ahead))
    left = first.with_name(f"5{OPEN}")
    left.write_bytes(first.read_bytes() + b'["row","torn')
    start().close()
    numbers = [segment_number(path) for path in segments(tmp_path, "churn", CLOSED)["gateway-1"]]
    assert numbers == [segment_number(first), ahead + 1]
    assert logged(tmp_path) == ["prd_1", "prd_1"]


def test_an_open_segment_is_not_adopted_while_its_gateway_lives(
    tmp_path: Path, start: Callable[..., PredictionLog]
) -> None:
    log = start()
    log.append(record(1))
    eventually(lambda: bool(segments(tmp_path, "churn", OPEN)))
    assert not adopt(tmp_path, "churn")
    log.append(record(2))
    log.close()
    assert logged(tmp_path) == ["prd_1", "prd_2"]


def test_a_gateway_comes_up_on_a_full_disk_and_what_it_left_open_stays(
    tmp_path: Path, start: Callable[..., PredictionLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = start()
    log.append(record(1))
    log.close()
    (path,) = segments(tmp_path, "churn", CLOSED)["gateway-1"]
    left = path.rename(path.with_suffix(OPEN))

    def full(*_: Any, **__: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        again = start()
    assert left.exists()
    again.append(record(2))
    again.close()
    assert logged(tmp_path) == ["prd_2"]
    assert adopt(tmp_path, "churn")  # so that the next compaction takes it


WRITER = """
import sys, time
from pathlib import Path
from tests.serving.gateway.test_prediction_log import Clock, record
from headrace.serving.gateway.prediction_log import PredictionLog
log = PredictionLog(Path(sys.argv[1]), "gateway-1", business_time=Clock())
log.start()
print("started", flush=True)
number = 0
while True:
    log.append(record(number))
    number += 1
    time.sleep(0.0001)
"""


def test_a_killed_writer_leaves_readable_segments(tmp_path: Path, start: Callable[..., PredictionLog]) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert child.stdout is not None
    with child.stdout:
        child.stdout.readline()
        eventually(lambda: any(path.stat().st_size > 20_000 for path in tmp_path.glob(f"*/*/*{OPEN}")))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert adopt(tmp_path, "churn")  # it is gone, and a compaction would take what it left
    (left,) = tmp_path.glob(f"*/*/*{ASIDE}")
    left.rename(left.with_suffix(OPEN))
    start().close()
    found = logged(tmp_path)
    assert len(found) > 50
    assert found == [f"prd_{number}" for number in range(len(found))]
