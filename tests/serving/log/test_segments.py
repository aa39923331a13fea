"""Lines of the log: whatever was answered together, each row is read as it was answered."""

import tempfile
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.serving.assignment import Assignment, Counted
from headrace.serving.distinct import unit_hash
from headrace.serving.log.segments import (
    CLOSED,
    ROWS_A_LINE,
    Lines,
    Logged,
    read_blocks,
    read_segment,
    segment_folder,
)
from headrace.serving.nouns import Arm, PredictionRecord, Purpose

MAY = datetime(1997, 5, 1, tzinfo=UTC)
NAMES = ("x", "y")
numbers = st.floats(allow_infinity=False) | st.integers(-9, 9).map(float)


@st.composite
def answered(draw: st.DrawFn) -> Logged:
    """What a version answered to one request, of one row or several."""
    place = draw(st.integers(0, 10**9))
    size = draw(st.integers(1, 4))
    version = draw(st.integers(1, 2))
    release = draw(st.none() | st.just("rel_1"))
    values = np.array(draw(st.lists(st.tuples(numbers, numbers), min_size=size, max_size=size)))
    columns = {"x": values[:, 0], "y": np.array([f"text {value}" for value in values[:, 1]], dtype=object)}
    faults = draw(st.dictionaries(st.integers(0, size - 1), st.sampled_from(["ValueError", "NotFinite"])))
    outputs = np.array(draw(st.lists(numbers.filter(np.isfinite), min_size=size, max_size=size)))
    return Logged(
        counted=Counted("churn", version, release, None if release is None else 1),
        assignment=Assignment(version, draw(st.sampled_from([Arm.CHAMPION, Arm.CHALLENGER])), 0.5),
        purpose=draw(st.sampled_from([Purpose.LIVE, Purpose.STAGING])),
        ids=[f"prd_{place}.{row}" for row in range(size)],
        business_at=MAY + timedelta(seconds=place),
        at=MAY + timedelta(days=1, seconds=place),
        latency_us=place % 1_000,
        names=NAMES,
        inputs=columns if draw(st.booleans()) else values,
        outputs=None if draw(st.booleans()) else outputs,
        faults=faults,
        unit=draw(st.none() | st.just("unit")),
        entity_key="customer",
        entities=draw(st.none() | st.just(list(range(size)))),
        texts=frozenset({"y"}),
    )


def told(logged: Logged) -> dict[str, tuple[Any, ...]]:
    """What is to be read of each row, by its id; nothing of rows that nobody got an answer to."""
    found = {}
    for row, name in enumerate(logged.ids):
        fault = logged.faults.get(row)
        if logged.outputs is None and fault is None:
            continue
        if isinstance(logged.inputs, dict):
            given = [logged.inputs[column].tolist()[row] for column in NAMES]
        else:
            given = logged.inputs[row].tolist()
        unit = str(logged.entities[row]) if logged.entities is not None else logged.unit
        release = logged.counted.release_id
        found[name] = (
            *logged.counted,
            *logged.assignment,
            logged.purpose,
            logged.business_at,
            logged.at,
            logged.latency_us,
            tuple(None if isinstance(value, float) and np.isnan(value) else value for value in given),
            None if fault else (logged.outputs[row] if isinstance(logged.outputs, np.ndarray) else None),
            fault,
            None if logged.entities is None else {"customer": logged.entities[row]},
            None if unit is None or release is None else unit_hash(release, unit),
        )
    return found


def read(record: PredictionRecord) -> tuple[Any, ...]:
    """A record in the same order."""
    return (
        record.model,
        record.version,
        record.release_id,
        record.step,
        record.version,
        record.arm,
        record.propensity,
        record.purpose,
        record.business_at,
        record.at,
        record.latency_us,
        record.features,
        record.output,
        record.fault,
        record.entity,
        record.unit,
    )


def written(folder: Path, *batches: list[Logged]) -> Path:
    """A segment of answers that the writer found together, batch by batch."""
    path = segment_folder(folder, "gateway-1", "churn") / f"1{CLOSED}"
    path.parent.mkdir(parents=True)
    lines = Lines()
    path.write_bytes(b"".join(map(lines.of, batches)))
    return path


@given(st.lists(st.lists(answered(), max_size=6), max_size=3))
def test_each_row_is_read_as_it_was_answered(batches: list[list[Logged]]) -> None:
    places = count()
    asked = [[unlike(logged, next(places)) for logged in batch] for batch in batches]
    expected = {name: row for batch in asked for logged in batch for name, row in told(logged).items()}
    with tempfile.TemporaryDirectory() as folder:
        records = list(read_segment(written(Path(folder), *asked)))
    assert {record.prediction_id: read(record) for record in records if record is not None} == expected
    assert len(records) == len(expected)


def unlike(logged: Logged, place: int) -> Logged:
    """The same under ids of its own."""
    return msgspec.structs.replace(logged, ids=[f"{place}.{name}" for name in logged.ids])


def one(place: int, **changes: Any) -> Logged:
    """The answer to one row."""
    facts: dict[str, Any] = {
        "counted": Counted("churn", 1, None, None),
        "assignment": Assignment(1, Arm.CHAMPION, 1.0),
        "purpose": Purpose.LIVE,
        "ids": [f"prd_{place}"],
        "business_at": MAY,
        "at": MAY,
        "latency_us": 1,
        "names": NAMES,
        "inputs": np.array([[float(place), 0.0]]),
        "outputs": np.array([0.5]),
    }
    return Logged(**(facts | changes))


def test_answers_for_the_same_reason_share_lines_of_bounded_length(tmp_path: Path) -> None:
    path = written(tmp_path, [one(place) for place in range(2 * ROWS_A_LINE + 1)])
    blocks = [block for block in read_blocks(path) if block is not None]
    assert [len(block.rows.ids) for block in blocks] == [ROWS_A_LINE, ROWS_A_LINE, 1]
    assert [record.prediction_id for record in read_segment(path) if record is not None] == [
        f"prd_{place}" for place in range(2 * ROWS_A_LINE + 1)
    ]


def test_names_that_change_from_batch_to_batch_are_told_anew(tmp_path: Path) -> None:
    path = written(tmp_path, [one(1)], [one(2, names=("y", "x"))], [one(3, names=("y", "x"))])
    assert [record.names for record in read_segment(path) if record is not None] == [
        ("x", "y"),
        ("y", "x"),
        ("y", "x"),
    ]
    assert path.read_bytes().count(b'"names"') == 2


@pytest.mark.parametrize("kept_bytes", [0, 1, 40])
def test_a_line_that_is_half_written_takes_its_own_rows_along(tmp_path: Path, kept_bytes: int) -> None:
    path = written(tmp_path, [one(1)], [one(2), one(3)])
    whole = path.read_bytes()
    last = whole[:-1].rindex(b"\n") + 1
    path.write_bytes(whole[: last + kept_bytes])
    records = list(read_segment(path))
    assert [record and record.prediction_id for record in records] == ["prd_1", *([None] if kept_bytes else [])]
