"""The Open Inference Protocol at the gateway, end to end in process: JSON, bytes, and what is refused."""

import asyncio
import json
import struct
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serving import models
from tests.serving.conftest import Answered, Bench, route

from headrace.errors import SchemaMismatch, TooLarge
from headrace.protocols.openinference import tables, wire
from headrace.protocols.openinference.reading import read_aside
from headrace.serving.forms.filled import FILLED, filled_fields
from headrace.serving.forms.signature import Column, Signature, Tensor
from headrace.serving.gateway.reading import LARGE_BYTES, Reading
from headrace.serving.loading.loader import LoadedModel
from headrace.serving.loading.predictor import Predictor
from headrace.serving.nouns import ServedVersion
from headrace.serving.runtimes.loaders import prepare_thread

Run = Callable[[Coroutine[Any, Any, None]], None]

INFER = "/v2/models/churn/infer"
ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.log.start()
    yield made
    made.log.close()
    made.loaders.shutdown()


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, None]], None]:
    def go(scenario: Coroutine[Any, Any, None]) -> None:
        prepare_thread()
        asyncio.run(scenario)

    return go


async def serve(bench: Bench, estimator: Any) -> None:
    await bench.settle(route(bench.version(1, estimator, lookup=False), champion=1))


def matrix(values: Any = None, **changes: Any) -> dict[str, Any]:
    data = ROWS.tolist() if values is None else values
    return {"inputs": [{"name": "rows", "shape": [3, 2], "datatype": "FP64", "data": data} | changes]}


async def infer(bench: Bench, body: Any, tensors: bytes = b"", path: str = INFER) -> Answered:
    text = json.dumps(body).encode()
    headers = {"inference-header-content-length": str(len(text))} if tensors else {}
    return await bench.request("POST", path, text + tensors, headers)


def test_one_tensor_of_rows_flat_or_nested(bench: Bench, run: Run) -> None:
    estimator = models.binary_model()

    async def scenario() -> None:
        await serve(bench, estimator)
        for data in (ROWS.tolist(), ROWS.ravel().tolist()):
            answer = await infer(bench, matrix(data) | {"id": "call-7"})
            assert answer.status == 200
            assert (answer.body["id"], answer.body["model_name"], answer.body["model_version"]) == (
                "call-7",
                "churn",
                "1",
            )
            (output,) = answer.body["outputs"]
            assert (output["name"], output["shape"], output["datatype"]) == ("output-0", [3], "FP64")
            assert output["data"] == pytest.approx(estimator.predict_proba(ROWS)[:, 1].tolist())

    run(scenario())
    assert len(bench.logged()) == 6


def test_a_tensor_for_each_column_in_any_order(bench: Bench, run: Run) -> None:
    estimator = models.binary_model()

    async def scenario() -> None:
        await serve(bench, estimator)
        for shape in ([3], [3, 1]):
            columns = [
                {"name": "spend", "shape": shape, "datatype": "FP32", "data": ROWS[:, 1].tolist()},
                {"name": "purchases", "shape": shape, "datatype": "INT64", "data": [1, 3, 5]},
            ]
            answer = await infer(bench, {"inputs": columns})
            assert answer.body["outputs"][0]["data"] == pytest.approx(estimator.predict_proba(ROWS)[:, 1].tolist())

    run(scenario())


def test_tensors_come_and_go_as_bytes(bench: Bench, run: Run) -> None:
    estimator = models.three_class_model()

    async def scenario() -> None:
        await serve(bench, estimator)
        content = ROWS.astype("<f4").tobytes()
        given: dict[str, Any] = {"name": "rows", "shape": [3, 2], "datatype": "FP32"}
        given["parameters"] = {"binary_data_size": len(content)}
        body = {"inputs": [given], "parameters": {"binary_data_output": True}}
        answer = await infer(bench, body, content)
        assert answer.status == 200
        length = int(answer.headers["inference-header-content-length"])
        assert answer.headers["content-type"] == "application/octet-stream"
        whole = bench_bytes(answer)
        (output,) = json.loads(whole[:length])["outputs"]
        assert output["parameters"]["binary_data_size"] == len(whole) - length
        found = np.frombuffer(whole[length:], "<f8").reshape(output["shape"])
        np.testing.assert_allclose(found, estimator.predict_proba(ROWS))

    run(scenario())


def announced(content: bytes, count: int, datatype: str, shape: list[int]) -> bytes:
    """The JSON before so many tensors that each have the same bytes."""
    size = {"binary_data_size": len(content)}
    inputs = [
        {"name": f"t{place}", "shape": shape, "datatype": datatype, "parameters": size} for place in range(count)
    ]
    return json.dumps({"inputs": inputs}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("datatype", "shape", "content", "count", "beside"),
    [
        ("BYTES", [1_000, 50], b"\0" * 4 * 50_000, 1, True),
        ("BOOL", [150], b"\1" * 150, 1_000, True),
        ("FP64", [10_000, 2], b"\0" * 16 * 10_000, 1, False),
    ],
)
def test_only_what_takes_long_is_read_beside_the_gateway(
    bench: Bench, run: Run, datatype: str, shape: list[int], content: bytes, count: int, beside: bool
) -> None:
    """However little of it is JSON."""
    text = announced(content, count, datatype, shape)
    assert len(text) <= LARGE_BYTES < len(text) + count * len(content)

    async def scenario() -> None:
        await serve(bench, models.binary_model())
        headers = {"inference-header-content-length": str(len(text))}
        answer = await bench.request("POST", INFER, text + content * count, headers)
        assert answer.status == (400 if beside else 200), answer.body  # the model takes other tensors
        assert bool(bench.answering.reading.pids) is beside

    run(scenario())
    bench.answering.reading.close()


@pytest.mark.parametrize("datatype", ["FP64", "BYTES"])
def test_a_large_request_does_not_wait_longer_than_it_says(bench: Bench, run: Run, datatype: str) -> None:
    """Other callers' bodies have every place where it could be read."""
    text = announced(b"\0" * 160_000, 1, "BYTES", [10_000, 4])
    body = text + b"\0" * 160_000
    headers = {"inference-header-content-length": str(len(text)), "x-request-timeout": "0.2"}
    if datatype == "FP64":
        body, headers = json.dumps(matrix([1.25] * 40_000)).encode(), {"x-request-timeout": "0.2"}

    async def scenario() -> None:
        await serve(bench, models.binary_model())
        room = bench.answering.reading._room
        taken = [room.take(1), room.take(1)]
        try:
            answer = await bench.request("POST", INFER, body, headers)
        finally:
            for seat in taken:
                room.give_back(seat)
        assert answer.status == 504

    run(scenario())
    bench.answering.reading.close()


def test_texts_read_beside_the_gateway_are_those_read_here() -> None:
    texts = ["a", "", "é", "a" * 70_000] * 2
    content = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
    text = announced(content, 1, "BYTES", [4, 2])
    reading = Reading()
    try:
        request, tensors = read_aside(reading, text + content, str(len(text)))
    finally:
        reading.close()
    assert tensors["t0"].tolist() == wire.decode(text + content, str(len(text)))[1]["t0"].tolist()
    assert tensors["t0"].tolist() == np.array(texts, dtype=object).reshape(4, 2).tolist()
    assert request.inputs == ()


def test_a_request_has_not_endless_tensors() -> None:
    with pytest.raises(TooLarge, match="tensors"):
        wire.decode(announced(b"", wire.TENSORS_LIMIT + 1, "BOOL", [0]), None)


def bench_bytes(answer: Answered) -> bytes:
    assert isinstance(answer.body, bytes)
    return answer.body


@pytest.mark.parametrize("shapes", [{"rows": [1, 2]}, {"x": [1], "y": [1]}])
def test_bytes_cannot_say_that_a_field_was_filled_in(shapes: dict[str, list[int]]) -> None:
    served = ServedVersion(model="churn", number=1, digest="", files=())
    columns = [Column(name=name, type="double") for name in ("x", "y")]
    predictor = Predictor(served, LoadedModel(Signature(columns), lambda rows, params=None: np.zeros(1)))
    tensors = struct.pack("<2d", FILLED, 1.5)
    inputs = [
        {"name": name, "shape": shape, "datatype": "FP64", "parameters": {"binary_data_size": 8 * shape[-1]}}
        for name, shape in shapes.items()
    ]
    text = json.dumps({"inputs": inputs}).encode()
    rows: Any = tables.to_inputs(predictor, wire.decode(text + tensors, str(len(text)))[1])
    assert (np.isnan(rows).tolist(), rows[0, 1]) == ([[True, False]], 1.5)
    assert filled_fields(rows, ("x", "y")) == [[]]


@pytest.mark.parametrize(
    ("datatype", "value", "dtype"),
    [
        ("INT64", 2**32 + 7, "int32"),
        ("UINT64", 2**63 + 5, "int64"),
        ("INT32", -1, "uint8"),
        ("INT64", -1, "uint64"),
        ("FP64", 1e300, "float32"),
    ],
)
def test_a_number_that_the_models_type_does_not_hold_is_refused(datatype: str, value: float, dtype: str) -> None:
    tensor = Tensor(name="t", dtype=dtype, shape=(-1, 1))
    served = ServedVersion(model="churn", number=1, digest="", files=())
    predictor = Predictor(served, LoadedModel(Signature([tensor]), lambda rows, params=None: np.zeros(1)))

    def asked(number: float) -> Any:
        body = {"inputs": [{"name": "t", "shape": [1, 1], "datatype": datatype, "data": [number]}]}
        return tables.to_inputs(predictor, wire.decode(json.dumps(body).encode(), None)[1])

    assert asked(7)["t"].tolist() == [[7]]
    with pytest.raises(SchemaMismatch, match="too large"):
        asked(value)


def test_a_json_number_that_its_own_datatype_does_not_hold_is_refused() -> None:
    body = {"inputs": [{"name": "t", "shape": [1], "datatype": "FP32", "data": [1e300]}]}
    with pytest.raises(SchemaMismatch, match="outside FP32"):
        wire.decode(json.dumps(body).encode(), None)


def test_an_output_may_be_asked_for_and_another_is_refused(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await serve(bench, models.binary_model())
        assert (await infer(bench, matrix() | {"outputs": [{"name": "output-0"}]})).status == 200
        refused = await infer(bench, matrix() | {"outputs": [{"name": "more"}]})
        assert refused.status == 400
        assert "output-0" in refused.body["error"]

    run(scenario())


BAD: list[tuple[Any, bytes]] = [
    ([], b""),
    ({}, b""),
    ({"inputs": []}, b""),
    (matrix(shape=[2, 2]), b""),
    (matrix(shape=[3, -2]), b""),
    (matrix(shape=[]), b""),
    (matrix(shape=[0, 2], data=[]), b""),
    (matrix(shape=[3, 10**30]), b""),
    (matrix(datatype="FP65"), b""),
    (matrix(datatype="BOOL"), b""),
    (matrix(datatype="INT8", data=[1, 2, 3, 4, 5, 300]), b""),
    (matrix(datatype="BYTES", data=["a"] * 6), b""),
    (matrix([[1, 2], [3, "secret"], [5, 6]]), b""),
    (matrix(name="spend"), b""),
    (matrix(shape=[6, 1]), b""),
    ({"inputs": [matrix()["inputs"][0], matrix()["inputs"][0]]}, b""),
    (matrix(parameters={"binary_data_size": 48}), b""),
    (matrix(parameters={"binary_data_size": 48}), b"\0" * 47),
    (matrix(parameters={"binary_data_size": 48}), b"\0" * 49),
    (matrix(parameters={"binary_data_size": -1}), b"\0"),
    (matrix(parameters={"binary_data_size": True}), b"\0"),
    (matrix(), b"\0"),
    (matrix(datatype="BYTES", parameters={"binary_data_size": 8}), struct.pack("<I", 2**32 - 1) + b"abcd"),
]


@pytest.mark.parametrize(("body", "tensors"), BAD)
def test_bad_bodies_are_the_callers(bench: Bench, run: Run, body: Any, tensors: bytes) -> None:
    async def scenario() -> None:
        await serve(bench, models.binary_model())
        answer = await infer(bench, body, tensors)
        assert answer.status in {400, 413}
        assert set(answer.body) == {"error"}
        assert "secret" not in answer.body["error"]
        assert bench.counters.totals() == ()

    run(scenario())


TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["rows", "spend", "purchases", ""]),
        "shape": st.lists(st.integers(-2, 4), max_size=3),
    },
    optional={
        "datatype": st.sampled_from(["FP32", "FP64", "INT8", "BYTES", "BOOL", "x"]),
        "data": st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
            lambda inner: st.lists(inner, max_size=4),
            max_leaves=6,
        ),
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_size", "binary_data"]), st.integers(-1, 20) | st.booleans(), max_size=2
        ),
    },
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tensors=st.lists(TENSOR, max_size=3) | st.binary(max_size=20),
    rest=st.binary(max_size=24),
    length=st.integers(-1, 1),
)
def test_no_body_makes_it_our_fault(bench: Bench, tensors: Any, rest: bytes, length: int) -> None:
    text = tensors if isinstance(tensors, bytes) else json.dumps({"inputs": tensors}).encode()

    async def scenario() -> None:
        await serve(bench, models.binary_model())
        headers = {"inference-header-content-length": str(len(text) + length)}
        answer = await bench.request("POST", INFER, text + rest, headers)
        assert answer.status in {200, 400, 413}

    asyncio.run(scenario())


def test_what_the_server_and_a_model_say_of_themselves(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        assert (await bench.get("/v2/health/live")).body == {"live": True}
        assert (await bench.get("/v2/health/ready")).status == 503
        await serve(bench, models.three_class_model())
        assert (await bench.get("/v2/health/ready")).body == {"live": True, "ready": True}
        assert "binary_tensor_data" in (await bench.get("/v2/")).body["extensions"]
        about = (await bench.get("/v2/models/churn")).body
        assert about["versions"] == ["1"]
        assert about["inputs"] == [{"name": name, "datatype": "FP64", "shape": [-1, 1]} for name in models.NAMES]
        assert about["outputs"] == [{"name": "output-0", "datatype": "FP64", "shape": [-1, 3]}]
        assert (await bench.get("/v2/models/churn/ready")).body == {"name": "churn", "ready": True}
        assert (await bench.get("/v2/models/churn/versions/1/ready")).status == 200
        for path in ("/v2/models/other", "/v2/models/churn/versions/9", "/v2/models/churn/versions/x/ready"):
            refused = await bench.get(path)
            assert refused.status == 404
            assert set(refused.body) == {"error"}
        index = await bench.request("POST", "/v2/repository/index", b"", {})
        assert index.body == [{"name": "churn", "version": "1", "state": "READY", "reason": ""}]
        assert (await bench.request("POST", "/v2/repository/models/churn/load", b"{}", {})).status == 200
        assert (await bench.request("POST", "/v2/repository/models/other/load", b"{}", {})).status == 404
        assert (await bench.request("POST", "/v2/repository/models/churn/unload", b"{}", {})).status == 403

    run(scenario())


def test_a_path_is_decoded_once(bench: Bench, run: Run) -> None:
    """Granian has decoded it: what looks like an escape now is a part of the model's name."""

    async def scenario() -> None:
        name = "a%41"
        version = bench.version(1, models.binary_model(), model=name, lookup=False)
        await bench.settle(route(version, champion=1, model=name))
        assert (await bench.get(f"/v2/models/{name}/ready")).body == {"name": name, "ready": True}
        assert (await bench.get("/v2/models/aA/ready")).status == 404
        assert (await infer(bench, matrix(), path=f"/v2/models/{name}/infer")).status == 200

    run(scenario())


def test_statistics_count_answers_and_faults(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await serve(bench, models.raising_model())
        good = matrix([[0.0, 1.0]] * 3)
        assert (await infer(bench, good)).status == 200
        assert (await infer(bench, matrix())).status == 500
        for path in ("/v2/models/stats", "/v2/models/churn/stats", "/v2/models/churn/versions/1/stats"):
            (stats,) = (await bench.get(path)).body["model_stats"]
            assert (stats["name"], stats["version"]) == ("churn", "1")
            assert stats["inference_stats"]["success"]["count"] + stats["inference_stats"]["fail"]["count"] == 6
            assert stats["inference_stats"]["fail"]["count"] > 0

    run(scenario())


def test_a_named_version_bypasses_the_rollout(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(flip=True), lookup=False)
        await bench.settle(route(one, two, champion=1))
        pinned = await infer(bench, matrix(), path="/v2/models/churn/versions/2/infer")
        assert pinned.body["model_version"] == "2"
        (counts,) = bench.counters.totals()
        assert (counts.version, counts.release_id) == (2, None)

    run(scenario())
