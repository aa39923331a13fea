"""Bodies are read in processes beside the gateway; what a body does to one of them harms nobody else."""

import io
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
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
from headrace.serving.gateway.body_forms import PARQUET, read_aside, spreads
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


WIDE = [f"c{place}" for place in range(500)]
SPARSE: dict[str, Any] = {
    "dataframe_records": [{}] * 999 + [{"c1": 2.0}],
    "dataframe_split": {"columns": ["c1"], "data": [[None]] * 999 + [[2.0]]},
    "inputs": {"c1": [None] * 999 + [2.0]},
    "instances": [{}] * 999 + [{"c1": 2.0}],
}


@pytest.mark.parametrize("form", [*SPARSE, "csv", "escaped", "openinference"])
def test_a_small_body_that_holds_much_is_read_beside_the_gateway(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    """Rows of optional columns may be two bytes each."""
    here: list[int] = []
    monkeypatch.setattr("headrace.serving.forms.json_forms.to_inputs", lambda *_: here.append(1))
    monkeypatch.setattr(Forms, "_by_columns", lambda *_: here.append(1))
    body = msgspec.json.encode({form: SPARSE.get(form)})
    kind, path = "application/json", PATH
    if form == "csv":
        body, kind = b"c1\n" + b'""\n' * 999 + b"2\n", "text/csv"
    if form == "escaped":
        body = msgspec.json.encode({"inputs": SPARSE["inputs"]}).replace(b"inputs", b"\\u0069nputs")
    assert len(body) < 20_000

    async def scenario() -> None:
        estimator = make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0), LinearRegression())
        estimator.fit(np.eye(5, len(WIDE)), np.arange(5.0))
        directory = models.write_model(
            tmp_path / "wide", estimator, names=WIDE, types=["double"] * len(WIDE), required=False
        )
        version = models.store_version(bench.blobs, directory, 1)
        await bench.settle(route(version, champion=1))
        if form == "openinference":
            monkeypatch.undo()
            tensor = {"name": "c1", "shape": [1_000], "datatype": "FP64", "data": [0.0] * 999 + [2.0]}
            answer = await bench.post("/v2/models/churn/infer", {"inputs": [tensor]})
            found = answer.body["outputs"][0]["data"]
            assert bench.answering.reading.held_bytes in {0, 8 * 500 * 1_000}
        else:
            answer = await bench.post(path, body, content_type=kind)
            found = answer.body["predictions"]
            assert len(bench.answering.reading.pids) == 1
        assert (answer.status, len(found), here) == (200, 1_000, []), answer.body

    run(scenario())


@pytest.mark.parametrize("form", SPARSE)
def test_one_row_of_many_columns_is_read_here(form: str) -> None:
    forms = Forms(Signature([Column(name=name, type="double", required=False) for name in WIDE]))
    bodies: dict[str, Any] = {
        "dataframe_records": [dict.fromkeys(WIDE, 1.5)],
        "dataframe_split": {"columns": WIDE, "data": [[1.5] * 500]},
        "inputs": {name: [1.5] for name in WIDE},
        "instances": [{"c1": 2.0}],
    }
    body = msgspec.json.encode({form: bodies.get(form)})
    assert not spreads(forms, "application/json", body)
    assert not spreads(forms, "application/json", msgspec.json.format(body))
    required = Forms(Signature([Column(name=name, type="double") for name in WIDE]))
    assert not spreads(required, "application/json", msgspec.json.encode(SPARSE))


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
