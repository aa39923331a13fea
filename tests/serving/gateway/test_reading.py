"""Bodies are read in processes beside the gateway; what a body does to one of them harms nobody else."""

import io
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.serving import models
from tests.serving.conftest import Bench, route
from tests.serving.gateway.test_parquet_forms import TEXTS, parquet

from headrace.errors import (
    HeadraceError,
    InternalError,
    InvalidInput,
    Overloaded,
    SchemaMismatch,
    TooLarge,
    Unavailable,
)
from headrace.serving.forms.filled import filled_fields
from headrace.serving.forms.json_forms import Forms
from headrace.serving.forms.signature import Column, Signature
from headrace.serving.gateway import body_reader
from headrace.serving.gateway import reading as module
from headrace.serving.gateway.body_forms import PARQUET, read_aside
from headrace.serving.gateway.reading import Reading
from headrace.serving.nouns import FieldPolicy

Run = Callable[[Coroutine[Any, Any, None]], None]
PATH = "/models/churn/invocations"
PROGRAM = """
import os, sys, time, types
import numpy as np
from headrace.errors import SchemaMismatch
from headrace.serving.gateway import body_reader

kept = []

def keep(about, body):
    kept.append(np.ones(about))
    return {"pid": os.getpid()}, None

def refuse(about, body):
    raise SchemaMismatch("no", where="here", fix="yes")

odd = sys.modules["odd"] = types.ModuleType("odd")
odd.good = lambda about, body: ({"pid": os.getpid(), "size": len(body)}, {"given": np.frombuffer(body, np.uint8)})
odd.abort = lambda about, body: os.abort()
odd.leave = lambda about, body: os._exit(3)
odd.sleep = lambda about, body: time.sleep(60)
odd.take = lambda about, body: np.ones(1 << 30)
odd.long = lambda about, body: ({}, {"long": np.zeros(1 << 20)})
odd.print = lambda about, body: os.write(int(about), b"x" * 100)
odd.fail = lambda about, body: 1 / 0
odd.keep, odd.refuse = keep, refuse
body_reader.main()
"""


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reading]:
    monkeypatch.setattr(module, "PROGRAM", ("-c", PROGRAM))
    made = Reading(processes=1, timeout_s=10)
    yield made
    made.close()


@pytest.fixture
def own() -> Iterator[Reading]:
    made = Reading()
    yield made
    made.close()


def good(reading: Reading) -> int:
    """That a body is read as ever; the process that did."""
    known, found = reading.read("odd:good", None, b"abc" * 100_000)
    assert isinstance(found, dict)
    assert (known["size"], bytes(found["given"])) == (300_000, b"abc" * 100_000)
    return int(known["pid"])


@pytest.mark.parametrize(
    ("reader", "error", "words", "goes_on"),
    [
        ("odd:refuse", SchemaMismatch, "no", True),
        ("odd:fail", InternalError, "ZeroDivisionError", True),
        ("odd:take", TooLarge, "memory", True),
        ("odd:abort", InvalidInput, "SIGABRT", False),
        ("odd:leave", InvalidInput, "exit status 3", False),
        ("odd:long", TooLarge, "unpacks", False),
    ],
)
def test_what_a_body_does_is_told_and_the_next_one_is_read(
    odd: Reading,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
    error: type[HeadraceError],
    words: str,
    goes_on: bool,
) -> None:
    monkeypatch.setattr(module, "ANSWER_BYTES", 1 << 20)
    before = good(odd)
    with pytest.raises(HeadraceError) as refused:
        odd.read(reader, None, b"{}")
    assert (type(refused.value), words in refused.value.message) == (error, True)
    assert (good(odd) == before) is goes_on


def test_a_body_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRAM", ("-c", PROGRAM))
    reading = Reading(processes=1, timeout_s=1.0)
    before = good(reading)
    with pytest.raises(TooLarge) as refused:
        reading.read("odd:sleep", None, b"{}")
    assert "seconds" in refused.value.message
    time.sleep(0.1)
    assert good(reading) != before
    reading.close()


def test_nonsense_from_the_process_is_no_answer(odd: Reading) -> None:
    before = good(odd)
    told = set()
    for descriptor in range(3, 12):  # one of them goes to the gateway
        with pytest.raises(HeadraceError) as refused:
            odd.read("odd:print", descriptor, b"{}")
        told.add(type(refused.value))
    assert told == {InternalError, InvalidInput}
    assert good(odd) != before


def test_what_small_files_unpack_to_is_bounded_together(own: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    body = parquet(city=[str(row) + "x" * 1_000 for row in range(100)])
    held = [read_aside(own, PARQUET, body, TEXTS)]
    monkeypatch.setattr(module, "HELD_BYTES", 2.5 * own.held_bytes)
    held.append(read_aside(own, PARQUET, body, TEXTS))
    with pytest.raises(Overloaded):
        read_aside(own, PARQUET, body, TEXTS)
    held.pop()
    held.append(read_aside(own, PARQUET, body, TEXTS))
    held.clear()
    assert own.held_bytes == 0


def test_a_process_that_was_ended_by_others_is_no_fault_of_the_body(odd: Reading) -> None:
    os.kill(good(odd), signal.SIGKILL)
    with pytest.raises(Unavailable):
        good(odd)
    good(odd)


def test_a_process_that_has_grown_is_replaced(odd: Reading) -> None:
    values = body_reader.SPENT_BYTES // 8
    first = odd.read("odd:keep", 10, b"")[0]["pid"]
    assert odd.read("odd:keep", values, b"")[0]["pid"] == first
    assert odd.read("odd:keep", 10, b"")[0]["pid"] != first


def test_processes_end_with_the_gateway(odd: Reading) -> None:
    pid = good(odd)
    odd.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def shared_prefix(groups: int, size: int) -> bytes:
    """A file whose texts each say only in how much they begin like the last, a hundred in a group."""
    sink = io.BytesIO()
    texts = pa.table({"city": ["x" * size] * 100})
    options: dict[str, Any] = {"column_encoding": {"city": "DELTA_BYTE_ARRAY"}, "compression": "zstd"}
    with pq.ParquetWriter(sink, texts.schema, use_dictionary=False, **options) as writer:
        for _ in range(groups):
            writer.write_table(texts)
    return sink.getvalue()


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(own: Reading) -> None:
    body = shared_prefix(100, 400_000)
    assert len(body) < 2_000_000
    with pytest.raises(TooLarge):
        read_aside(own, PARQUET, body, TEXTS)
    (pid,) = own.pids
    asked = read_aside(own, PARQUET, shared_prefix(1, 10), TEXTS)
    assert isinstance(asked.rows, dict)
    assert (asked.rows["city"].tolist(), own.pids) == (["x" * 10] * 100, [pid])


def test_what_was_read_is_what_would_be_read_here(own: Reading) -> None:
    note = [b"\xff", None] * 3
    asked = read_aside(own, PARQUET, parquet(city=["a", "é", "", "a", "b", "a"], note=note), TEXTS)
    assert isinstance(asked.rows, dict)
    assert asked.rows["city"].tolist() == ["a", "é", "", "a", "b", "a"]
    assert asked.rows["note"].tolist() == note


def test_what_was_filled_in_is_known_from_afar(own: Reading) -> None:
    columns = [Column(name=name, type="double") for name in ("age", "spend")]
    forms = Forms(Signature(columns), FieldPolicy(missing="null"))
    body = b'{"dataframe_records": [{"age": 1.0}, {"age": null, "spend": 2.0}]}'
    rows: Any = read_aside(own, "application/json", body, forms).rows
    assert filled_fields(rows, forms.signature.names) == [["spend"], []]


@pytest.mark.parametrize("kind", ["application/json", "text/csv", PARQUET, "openinference", "entities"])
def test_large_bodies_are_answered_as_small_ones_are(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("headrace.serving.gateway.body_forms.LARGE_BYTES", 1_000)
    monkeypatch.setattr("headrace.protocols.openinference.reading.LARGE_BYTES", 1_000)
    rows = np.round(models.features(100), 3)
    sink = io.BytesIO()
    pq.write_table(pa.table(dict(zip(models.NAMES, rows.T, strict=True))), sink)
    text = ",".join(models.NAMES) + "\n" + "\n".join(",".join(map(str, row)) for row in rows.tolist())
    bodies: dict[str, Any] = {
        "application/json": {"dataframe_split": {"columns": models.NAMES, "data": rows.tolist()}},
        "text/csv": text.encode(),
        PARQUET: sink.getvalue(),
        "entities": {"entities": {"customer_id": list(range(300))}},
        "openinference": {
            "id": "mine",
            "inputs": [
                {"name": name, "shape": [100], "datatype": "FP64", "data": rows[:, place].tolist()}
                for place, name in enumerate(models.NAMES)
            ],
        },
    }
    model = models.binary_model()
    expected = model.predict_proba(rows)[:, 1]
    if kind == "entities":
        expected = model.predict_proba(np.array([[float(key), -float(key)] for key in range(300)]))[:, 1]

    async def scenario() -> None:
        await bench.settle(route(bench.version(1, model), champion=1))
        assert bench.answering.reading.pids == []
        if kind == "openinference":
            answer = await bench.post("/v2/models/churn/infer", bodies[kind])
            assert answer.body["id"] == "mine"
            found = answer.body["outputs"][0]["data"]
        else:
            sent = "application/json" if kind == "entities" else kind
            answer = await bench.post(PATH, bodies[kind], content_type=sent)
            found = answer.body["predictions"]
        np.testing.assert_allclose(found, expected)
        assert len(bench.answering.reading.pids) == 1
        bad = await bench.post(PATH, {"dataframe_records": [{"purchases": 1.0}] * 1_000})
        assert (bad.status, bad.body["error"]["where"]) == (400, "dataframe_records[0].spend")

    run(scenario())


def test_another_version_that_takes_over_reads_the_body_anew(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        versions = (bench.version(1, models.binary_model()), bench.version(2, models.raising_model()))
        await bench.settle(route(*versions, champion=1, challenger=2, weight_percent=100))
        body = parquet(**{name: [1.0, 2.0] for name in models.NAMES})
        answer = await bench.post(PATH, body, content_type=PARQUET)
        assert (answer.status, answer.body["versions"]) == (200, [1, 1])

    run(scenario())


def test_a_request_without_time_does_not_wait_for_its_body(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        body = parquet(**{name: [1.0, 2.0] for name in models.NAMES})
        headers = {"content_type": PARQUET, "x_request_timeout": "0.001"}  # a process takes longer to start
        assert (await bench.post(PATH, body, **headers)).status == 504

    run(scenario())
