"""The gateway's door, end to end in process: real models, real log, no sockets."""

import asyncio
import io
import threading
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serving import models
from tests.serving.conftest import BUSINESS, Bench, Exchange, Scope, route

from headrace.serving.forms.json_forms import FORMS
from headrace.serving.gateway import app as gateway
from headrace.serving.gateway.bodies import Bodies
from headrace.serving.gateway.intake import Intake
from headrace.serving.gateway.invocations import Invocations
from headrace.serving.log.segments import CLOSED, read_blocks
from headrace.serving.nouns import Arm, FieldPolicy, Purpose

Run = Callable[[Coroutine[Any, Any, None]], None]

PATH = "/models/churn/invocations"
ROW = {"purchases": 1.0, "spend": 2.0}


def test_an_entity_is_looked_up_answered_counted_and_logged(bench: Bench, run: Run) -> None:
    estimator = models.binary_model()

    async def scenario() -> None:
        await bench.settle(route(bench.version(1, estimator), champion=1))
        answer = await bench.post(PATH, {"entities": {"customer_id": [3, 4]}}, x_request_id="req-9")
        assert answer.status == 200
        assert answer.headers["x-request-id"] == "req-9"
        expected = estimator.predict_proba(np.array([[3.0, -3.0], [4.0, -4.0]]))[:, 1]
        assert answer.body["predictions"] == pytest.approx(expected.tolist())
        assert answer.body["versions"] == [1, 1]
        (counts,) = bench.counters.totals()
        assert (counts.release_id, counts.step, counts.version) == ("rel_1", 0, 1)
        assert (counts.requests, len(counts.named or ()), counts.faults) == (2, 2, 0)
        first, second = bench.logged()
        assert [first.prediction_id, second.prediction_id] == answer.body["prediction_ids"]
        assert first.entity == {"customer_id": 3}
        assert first.names == models.NAMES
        assert second.features == (4.0, -4.0)
        assert first.output == pytest.approx(expected[0])
        assert (first.business_at, first.arm, first.propensity) == (BUSINESS, Arm.CHAMPION, 1.0)

    run(scenario())


def test_a_clock_that_moves_as_a_request_begins_leaves_no_prediction_behind(bench: Bench, run: Run) -> None:
    """The log says how far it is complete; nothing earlier may be added to it afterwards."""
    said: list[datetime] = []

    def the_log_looks_with_a_clock_that_has_moved_on() -> None:
        bench.clock_was_read = lambda: None
        bench.business = BUSINESS + timedelta(days=31)
        bench.log._cycle()
        assert bench.log.logged_until is not None
        said.append(bench.log.logged_until)

    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        bench.clock_was_read = the_log_looks_with_a_clock_that_has_moved_on
        assert (await bench.post(PATH, {"entities": {"customer_id": [3]}})).status == 200

    run(scenario())
    (record,) = bench.logged()
    assert said == [BUSINESS]
    assert record.business_at >= said[0]


@pytest.mark.parametrize("form", ["dataframe_records", "dataframe_split", "inputs", "v2", "csv"])
def test_every_door_follows_the_models_policy_for_fields(bench: Bench, run: Run, form: str) -> None:
    """An unknown field and a missing one, by form: refused where nobody says otherwise."""
    names, values = ["purchases", "other"], [1.0, 9.0]
    path, kind = PATH, "application/json"
    body: Any = {form: [dict(zip(names, values, strict=True))]}
    if form == "dataframe_split":
        body = {form: {"columns": names, "data": [values]}}
    elif form == "v2":
        path = "/v2/models/churn/infer"
        body = {
            "inputs": [
                {"name": name, "shape": [1, 1], "datatype": "FP64", "data": [value]}
                for name, value in zip(names, values, strict=True)
            ]
        }
    elif form == "csv":
        kind, body = "text/csv", b"purchases,other\n1.0,9.0\n"
    lenient = FieldPolicy(unknown="ignore", missing="null")

    async def scenario() -> None:
        version = bench.version(1, models.forest(), lookup=False)
        await bench.settle(route(version, champion=1))
        assert (await bench.post(path, body, content_type=kind)).status == 400
        changed = msgspec.structs.replace(version, fields=lenient)
        await bench.settle(route(changed, champion=1, sequence=2))
        assert (await bench.post(path, body, content_type=kind)).status == 200

    run(scenario())
    (record,) = bench.logged()
    assert record.names == models.NAMES
    assert record.features[0] == 1.0
    assert record.features[1] is None or record.features[1] != record.features[1]
    (segment,) = (bench.root / "predictions").rglob(f"*{CLOSED}")
    assert [block.filled for block in read_blocks(segment) if block is not None] == [[["spend"]]]


def test_records_are_checked_and_answered(bench: Bench, run: Run) -> None:
    estimator = models.three_class_model()

    async def scenario() -> None:
        await bench.settle(route(bench.version(1, estimator, lookup=False), champion=1))
        answer = await bench.post(PATH, {"dataframe_records": [ROW]}, x_unit="ana")
        assert answer.status == 200
        np.testing.assert_allclose(answer.body["predictions"], estimator.predict_proba([[1.0, 2.0]]))
        for row, where in [
            ({"purchases": 1}, "spend"),
            (ROW | {"city": "Rome"}, "city"),
            (ROW | {"spend": "x"}, "spend"),
        ]:
            refused = await bench.post(PATH, {"dataframe_records": [ROW, row]})
            assert refused.status == 400
            assert refused.body["error"]["code"] == "SCHEMA_MISMATCH"
            assert refused.body["error"]["where"] == f"dataframe_records[1].{where}"
        (counts,) = bench.counters.totals()
        assert counts.requests == 1  # what the caller got wrong is nobody's request

    run(scenario())


BAD_BODIES: list[tuple[Any, int]] = [
    (b"", 400),
    (b"{", 400),
    (b"[]", 400),
    (b"\xff\xfe", 400),
    (b'{"a":' * 100_000, 400),
    ({}, 400),
    ({"entities": {"customer_id": [1]}, "dataframe_records": [ROW]}, 400),
    ({"entities": {}}, 400),
    ({"entities": {"customer_id": [1], "shop": [2]}}, 400),
    ({"entities": {"customer_id": []}}, 400),
    ({"entities": {"shop": [1]}}, 400),
    ({"entities": {"customer_id": [1.5]}}, 400),
    ({"entities": {"customer_id": [None]}}, 400),
    ({"dataframe_records": []}, 400),
    ({"dataframe_records": [1]}, 400),
    ({"dataframe_records": {"purchases": [1]}}, 400),
    (b'{"dataframe_records":[{"purchases":1e999,"spend":1}]}', 400),
    (b'{"dataframe_records":[{"purchases":NaN,"spend":1}]}', 400),
    ({"instances": [[1, 2]]}, 400),
    ({"inputs": {"purchases": [1], "spend": [1, 2]}}, 400),
    ({"inputs": {"purchases": [1], "spend": [1]}, "params": {"k": 1}}, 400),
    ({"dataframe_split": {"columns": ["purchases", "spend"], "data": [[1, "x"]]}}, 400),
    (b'{"dataframe_split":{"columns":["purchases","spend"],"data":[[1,1e999]]}}', 400),
    (b'{"dataframe_split":{"columns":["purchases","spend"],"data":[[1,2]', 400),
    (b'{"dataframe_records":[{"purchases":"\xff","spend":1}]}', 400),
    ({"entities": {"customer_id": list(range(10_001))}}, 413),
]


@pytest.mark.parametrize(("body", "status"), BAD_BODIES)
def test_bad_bodies_are_the_callers(bench: Bench, run: Run, body: Any, status: int) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        answer = await bench.post(PATH, body)
        assert answer.status == status
        assert set(answer.body["error"]) == {"code", "message", "where", "fix"}
        assert answer.body["error_code"] == "BAD_REQUEST"
        assert bench.counters.totals() == ()

    run(scenario())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["entities", "dataframe_records", "customer_id", "spend"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    )
)
def test_no_body_makes_it_our_fault(bench: Bench, body: Any) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        assert (await bench.post(PATH, body)).status in {200, 400}

    asyncio.run(scenario())


def test_paths_and_headers_that_are_not_there(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        body = {"entities": {"customer_id": [1]}}
        assert (await bench.post("/models/other/invocations", body)).status == 404
        assert (await bench.post("/models/churn/versions/9/invocations", body)).status == 404
        assert (await bench.get(PATH)).status == 404
        assert (await bench.post(PATH, body, content_type="text/plain")).status == 415
        assert (await bench.post(PATH, body, content_type="application/json; charset=latin-1")).status == 415
        assert (await bench.post(PATH, body, content_type="application/json; charset=UTF-8")).status == 200
        assert (await bench.post(PATH, body, x_headrace_purpose="fun")).status == 400
        assert (await bench.post(PATH, body, x_headrace_purpose="staging")).status == 400
        assert (await bench.post(PATH, body, x_unit="u" * 2_000)).status == 413
        assert (await bench.post(PATH, body, content_length=str(10**9))).status == 413
        assert (await bench.get("/version")).body == b"1.2.3"

    run(scenario())


def test_every_form_of_the_same_row_has_the_same_answer(bench: Bench, run: Run) -> None:
    frame = io.BytesIO()
    pq.write_table(pa.table({name: [value] for name, value in ROW.items()}), frame)

    async def scenario() -> None:
        estimator = models.binary_model()
        await bench.settle(route(bench.version(1, estimator, lookup=False), champion=1))
        expected = estimator.predict_proba([[1.0, 2.0]])[:, 1].tolist()
        columns = {name: [value] for name, value in ROW.items()}
        for body in (
            {"dataframe_records": [ROW]},
            {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())], "index": [0]}},
            {"instances": [ROW]},
            {"inputs": columns},
        ):
            assert (await bench.post(PATH, body)).body["predictions"] == expected
        csv = b"spend,purchases\n2.0,1.0\n"
        assert (await bench.post(PATH, csv, content_type="text/csv")).body["predictions"] == expected
        kind = "application/vnd.apache.parquet"
        answer = await bench.post(PATH, frame.getvalue(), content_type=kind)
        assert answer.body["predictions"] == expected

    run(scenario())


def test_a_named_version_bypasses_the_rollout(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = bench.version(1, models.binary_model()), bench.version(2, models.binary_model(flip=True))
        await bench.settle(route(one, two, champion=1))
        path = "/models/churn/versions/2/invocations"
        answer = await bench.post(path, {"entities": {"customer_id": [3]}}, x_headrace_purpose="staging")
        assert answer.body["versions"] == [2]
        (counts,) = bench.counters.totals()
        assert (counts.release_id, counts.step, counts.requests) == (None, None, 1)
        (record,) = bench.logged()
        assert (record.arm, record.purpose, record.release_id) == (Arm.PINNED, Purpose.STAGING, None)

    run(scenario())


def test_one_version_answers_all_rows_of_a_request_that_names_no_entities(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(flip=True), lookup=False)
        await bench.settle(route(one, two, champion=1, challenger=2, weight_percent=50))
        seen = set()
        for _ in range(40):
            answer = await bench.post(PATH, {"dataframe_records": [ROW, ROW]})
            (number,) = set(answer.body["versions"])
            seen.add(number)
            assert len(set(answer.body["prediction_ids"])) == 2
        assert seen == {1, 2}
        for unit in ("ana", "ben", "cem"):
            answers = [await bench.post(PATH, {"dataframe_records": [ROW]}, x_unit=unit) for _ in range(5)]
            assert len({answer.body["versions"][0] for answer in answers}) == 1
        totals = bench.counters.totals()
        assert sum(counts.units for counts in totals) == 40
        assert sum(len(counts.named or ()) for counts in totals) == 3

    run(scenario())


def test_units_keep_their_arm_and_each_row_has_its_own(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = bench.version(1, models.binary_model()), bench.version(2, models.binary_model(flip=True))
        await bench.settle(route(one, two, champion=1, challenger=2, weight_percent=50))
        body = {"entities": {"customer_id": list(range(40))}}
        first, again = await bench.post(PATH, body), await bench.post(PATH, body)
        assert set(first.body["versions"]) == {1, 2}
        assert first.body["versions"] == again.body["versions"]
        await bench.settle(route(one, two, champion=1, challenger=2, weight_percent=75, sequence=2))
        raised = await bench.post(PATH, body)
        assert all(
            after == 2
            for before, after in zip(first.body["versions"], raised.body["versions"], strict=True)
            if before == 2
        )
        records = bench.logged()
        assert {(record.version, record.propensity) for record in records} == {
            (1, 0.5),
            (2, 0.5),
            (1, 0.25),
            (2, 0.75),
        }

    run(scenario())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # that of the overflow
def test_the_breaker_takes_over_while_control_is_away(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = bench.version(1, models.binary_model()), bench.version(2, models.raising_model())
        await bench.settle(route(one, two, champion=1, challenger=2, weight_percent=100))
        bench.away = True
        marks = []
        for number in range(9, 19):
            answer = await bench.post(PATH, {"entities": {"customer_id": [number]}})
            assert (answer.status, answer.body["versions"]) == (200, [1])
            marks.append(answer.headers.get("x-headrace-fallback"))
        assert marks == ["champion"] * 5 + [None] * 5
        (trip,) = bench.breaker.trips()
        assert (trip.version, trip.consecutive_faults) == (2, 5)

    run(scenario())


def test_health_waits_for_the_routes_and_ends_with_draining(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        refused = await bench.get("/health")
        assert (refused.status, refused.body["error"]["code"]) == (503, "UNAVAILABLE")
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        assert (await bench.get("/health")).status == 200
        assert (await bench.get("/ping")).body == b"\n"
        assert (await bench.get("/api/v1/gateway")).body["champion"] == 1
        bench.gateway.draining = True
        assert (await bench.get("/health")).status == 503
        assert (await bench.post(PATH, {"entities": {"customer_id": [1]}})).status == 200

    run(scenario())


def test_a_body_may_come_in_pieces(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        exchange = Exchange(b'{"entities":', b'{"customer_id":[1]}}')
        scope = Scope("POST", PATH, {"content-type": "application/json"})
        await bench.gateway.__rsgi__(scope, exchange)
        assert exchange.status == 200

    run(scenario())


def test_a_body_that_announces_no_size_is_cut_off_at_the_limit(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "BODY_LIMIT_BYTES", 10)

    async def scenario() -> None:
        exchange = Exchange(b"12345678", b"9012", b"never read")
        await bench.gateway.__rsgi__(Scope("POST", PATH, {"content-type": "application/json"}), exchange)
        assert exchange.status == 413
        assert exchange.read == 2

    run(scenario())


def test_a_gateway_that_is_full_says_when_to_come_again(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        bench.gateway._intake = Intake(requests=0)
        refused = await bench.post(PATH, {"entities": {"customer_id": [3]}})
        assert (refused.status, refused.body["error"]["code"]) == (503, "OVERLOADED")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await bench.get("/health")).status == 200
        bench.gateway._intake = Intake(size_bytes=100_000)
        large = b" " * 100_001 + b'{"entities":{"customer_id":[3]}}'
        refused = await bench.post(PATH, large, content_length=str(len(large)))
        assert refused.status == 503
        assert (await bench.post(PATH, large[10_000:], content_length=str(len(large) - 10_000))).status == 200
        assert (bench.gateway._intake.requests, bench.gateway._intake.size_bytes) == (0, 0)

    run(scenario())


@pytest.mark.parametrize("status", [200, 400, 404])
def test_room_is_given_back_however_a_request_ends(bench: Bench, run: Run, status: int) -> None:
    body = {"entities": {"customer_id": [3] if status != 400 else []}}

    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        path = PATH if status != 404 else "/models/other/invocations"
        assert (await bench.post(path, body)).status == status
        assert bench.gateway._intake.requests == 0

    run(scenario())


@pytest.mark.parametrize("limit", [0, 10, 10**9])
def test_many_answers_are_written_beside_the_event_loop_and_the_same(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr("headrace.serving.gateway.invocations.VALUES_HERE", limit)
    threads: list[str] = []
    respond = Invocations._respond

    def told(*about: Any) -> Any:
        threads.append(threading.current_thread().name)
        return respond(*about)

    monkeypatch.setattr(Invocations, "_respond", told)
    estimator = models.three_class_model()
    rows = models.features(20)

    async def scenario() -> None:
        await bench.settle(route(bench.version(1, estimator, lookup=False), champion=1))
        split = {"columns": models.NAMES, "data": rows.tolist()}
        answer = await bench.post(PATH, {"dataframe_split": split})
        assert answer.status == 200
        np.testing.assert_allclose(answer.body["predictions"], estimator.predict_proba(rows))
        assert (len(answer.body["prediction_ids"]), answer.body["versions"]) == (20, [1] * 20)

    run(scenario())
    assert [name == threading.main_thread().name for name in threads] == [limit > 60]


def test_only_large_bodies_are_read_beside_the_gateway(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        assert (await bench.post(PATH, {"dataframe_records": [ROW]})).status == 200
        assert not bench.answering.reading.pids
        assert (await bench.post(PATH, {"dataframe_records": [ROW] * 10_000})).status == 200
        assert len(bench.answering.reading.pids) == 1
        refused = await bench.post(PATH, {"dataframe_records": [ROW] * 10_000 + [{"spend": 1}]})
        assert (refused.status, refused.body["error"]["where"]) == (400, "dataframe_records[10000].purchases")

    run(scenario())


def test_a_body_that_does_not_come_is_not_waited_for_for_ever(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Exchange):
        async def __call__(self) -> bytes:
            await asyncio.sleep(60)
            return b""

    async def scenario() -> None:
        monkeypatch.setattr(bench.gateway, "_bodies", Bodies(0.02))
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        for size in ("1000000", "20"):
            exchange = Silent()
            headers = {"content-type": "application/json", "content-length": size}
            await bench.gateway.__rsgi__(Scope("POST", PATH, headers), exchange)
            assert exchange.status == 408
            assert (bench.gateway._intake.size_bytes, bench.gateway._intake.requests) == (0, 0)

    run(scenario())


def test_who_ends_asks_callers_to_close_their_connections(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        assert "connection" not in (await bench.post(PATH, {"entities": {"customer_id": [3]}})).headers
        bench.gateway.draining = True
        answer = await bench.post(PATH, {"entities": {"customer_id": [3]}})
        assert (answer.status, answer.headers["connection"]) == (200, "close")

    run(scenario())


MARKER = "zq-marker-7731"


def quoted(told: bytes) -> bool:
    """Whether something that was sent, or a traceback, is in what was told."""
    return any(mark in told for mark in (b"zq-marker", b"7731.77", b"77317731", b"Traceback", b'File "'))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.recursive(
        st.sampled_from([MARKER, f"{MARKER}\n", 77317731, 7731.7731]) | st.none(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*FORMS, "data", "columns", "customer_id", "spend", "purchases", "params"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=6,
    ),
    cut=st.integers(0, 3),
    kind=st.sampled_from(["application/json", "text/csv", "application/vnd.apache.parquet"]),
)
def test_no_error_holds_what_was_sent(bench: Bench, body: Any, cut: int, kind: str) -> None:
    """Neither for what is refused nor for what a model fails on; and no error holds a traceback."""

    async def scenario() -> None:
        if bench.residency.active("churn") is None:
            await bench.settle(route(bench.version(1, models.raising_model(), lookup=False), champion=1))
        content = msgspec.json.encode(body)
        answer = await bench.post(PATH, content[: len(content) - cut], content_type=kind)
        told = msgspec.json.encode(answer.body) + repr(answer.headers).encode()
        if answer.status != 200:
            assert not quoted(told), told
        tensor = {"name": "purchases", "shape": [1], "datatype": "BYTES", "data": body}
        answer = await bench.post("/v2/models/churn/infer", {"inputs": [tensor, tensor]})
        assert answer.status != 200
        told = msgspec.json.encode(answer.body)
        assert not quoted(told), told

    asyncio.run(scenario())
