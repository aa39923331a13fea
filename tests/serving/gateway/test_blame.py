"""Whose fault it is that a request has no answer, and what is counted against a version."""

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from tests.serving import models
from tests.serving.conftest import Bench, EveryKeyIsItsFeatures, route

from headrace.serving.nouns import Signal

Run = Callable[[Coroutine[Any, Any, None]], None]

PATH = "/models/churn/invocations"
ROW = {"purchases": 1.0, "spend": 2.0}


def test_a_fault_is_the_versions_named_and_counted(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        version = bench.version(5, models.raising_model(), lookup=False)
        await bench.settle(route(version, challenger=5))
        good, bad = {"purchases": 0.0, "spend": 1.0}, {"purchases": 77.5, "spend": 1.0}
        assert (await bench.post(PATH, {"dataframe_records": [good]}, x_unit="ana")).status == 200
        answer = await bench.post(PATH, {"dataframe_records": [good, bad, good]}, x_unit="ben")
        assert answer.status == 500
        assert answer.body["error"]["code"] == "MODEL_FAULT"
        assert "version 5" in answer.body["error"]["message"]
        assert "row 1" in answer.body["error"]["message"]
        assert "77.5" not in str(answer.body)
        (counts,) = bench.counters.totals()
        assert (counts.requests, counts.faults, len(counts.named or ())) == (4, 1, 2)
        assert [unit.signal for unit in counts.signalled] == [Signal.FAULTS]
        answered, faulted = bench.logged()
        assert (answered.fault, faulted.fault) == (None, "ValueError")
        assert faulted.output is None
        assert faulted.features == (77.5, 1.0)

    run(scenario())


def test_a_null_that_the_signature_does_not_promise_to_take_is_the_callers(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        strict = bench.version(1, models.binary_model(), lookup=False)  # logistic regression answers NaN with NaN
        await bench.settle(route(strict, champion=1))
        for records, place in [([ROW | {"spend": None}], 0), ([ROW] * 1_500 + [ROW | {"spend": None}], 1_500)]:
            refused = await bench.post(PATH, {"dataframe_records": records})
            assert (refused.status, refused.body["error"]["code"]) == (400, "SCHEMA_MISMATCH")
            assert refused.body["error"]["where"] == f"dataframe_records[{place}].spend"
        assert bench.counters.totals() == ()

    run(scenario())


def test_a_null_that_the_signature_promises_to_take_is_the_versions(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        careless = bench.version(1, models.binary_model(), lookup=False, required=False)
        await bench.settle(route(careless, champion=1))
        answer = await bench.post(PATH, {"dataframe_records": [ROW, ROW | {"spend": None}]})
        assert (answer.status, answer.body["error"]["code"]) == (500, "MODEL_FAULT")
        (counts,) = bench.counters.totals()
        assert (counts.requests, counts.faults) == (2, 1)

    run(scenario())


def test_an_infinite_number_that_the_model_cannot_take_is_the_callers(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model(), lookup=False), champion=1))
        for text in (b"purchases,spend\n1,2\ninf,-inf\n", b"purchases,spend\n-inf,inf\n"):
            refused = await bench.post(PATH, text, content_type="text/csv")
            assert (refused.status, refused.body["error"]["code"]) == (400, "SCHEMA_MISMATCH")
            assert "infinite" in refused.body["error"]["message"]
        assert bench.counters.totals() == ()

    run(scenario())


def test_a_model_that_can_take_null_answers_whatever_its_signature_says(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.forest(), lookup=False), champion=1))
        answer = await bench.post(PATH, {"dataframe_records": [ROW | {"spend": None}]})
        assert answer.status == 200

    run(scenario())


def test_nulls_do_not_hide_a_versions_own_faults(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.raising_model(), lookup=False), champion=1))
        good, bad = {"purchases": 1.0, "spend": 1.0}, {"purchases": 5.0, "spend": 1.0}
        records = [good, good | {"spend": None}, bad]
        answer = await bench.post(PATH, {"dataframe_records": records})
        assert (answer.status, answer.body["error"]["code"]) == (500, "MODEL_FAULT")
        (counts,) = bench.counters.totals()
        assert (counts.requests, counts.faults) == (2, 1)

    run(scenario())


def test_an_unknown_entity_is_not_the_versions_fault(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_known(*_: object) -> np.ndarray:
        return np.full((1, 2), np.nan)

    monkeypatch.setattr(EveryKeyIsItsFeatures, "read", nothing_known)

    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.binary_model()), champion=1))
        refused = await bench.post(PATH, {"entities": {"customer_id": [999]}})
        assert (refused.status, refused.body["error"]["where"]) == (400, "entities.customer_id[0]")
        assert bench.counters.totals() == ()

    run(scenario())


def test_faults_of_the_challenger_leave_the_champions_rows_unblamed(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = bench.version(1, models.binary_model()), bench.version(2, models.raising_model())
        await bench.settle(route(one, two, champion=1, challenger=2, weight_percent=50))
        answer = await bench.post(PATH, {"entities": {"customer_id": list(range(10, 30))}})
        assert answer.status == 200
        in_step = {counts.version: counts for counts in bench.counters.totals() if counts.step is not None}
        assert in_step[1].faults == 0
        assert in_step[2].faults == in_step[2].requests
        assert in_step[1].requests + in_step[2].requests == 20
        faulty = [record for record in bench.logged() if record.fault is not None]
        assert {record.version for record in faulty} == {2}
        assert len(faulty) == in_step[2].requests

    run(scenario())
