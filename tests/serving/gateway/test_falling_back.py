"""Who answers when a version cannot, end to end in process: real models, real log, no sockets."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import numpy as np
import pytest
from tests.serving import models
from tests.serving.conftest import Bench, route

from headrace.errors import Overloaded
from headrace.serving.gateway.asking import Asking, Part
from headrace.serving.gateway.circuits import FAULTS_TO_OPEN
from headrace.serving.loading import predictor
from headrace.serving.loading.predictor import Predictor
from headrace.serving.nouns import Arm, Purpose, Signal

Run = Callable[[Coroutine[Any, Any, None]], None]

PATH = "/models/churn/invocations"
BAD = {"dataframe_records": [{"purchases": 5.0, "spend": 2.0}]}
GOOD = {"dataframe_records": [{"purchases": 1.0, "spend": 0.0}]}


async def serve(bench: Bench, **given: Any) -> None:
    """Version 1 always answers, version 2 only to zeros and ones."""
    one = bench.version(1, models.binary_model(), lookup=False)
    two = bench.version(2, models.raising_model(), lookup=False)
    await bench.settle(route(one, two, **given))


def test_the_version_before_takes_over_from_a_champion_that_fails(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await serve(bench, champion=2, previous=1)
        good = await bench.post(PATH, GOOD)
        assert (good.body["versions"], "fallbacks" in good.body) == ([2], False)
        answer = await bench.post(PATH, BAD)
        assert (answer.status, answer.body["versions"], answer.body["fallbacks"]) == (200, [1], ["previous"])
        assert answer.headers["x-headrace-fallback"] == "previous"
        expected = models.binary_model().predict_proba(np.array([[5.0, 2.0]]))[:, 1]
        assert answer.body["predictions"] == pytest.approx(expected.tolist())
        first, failed, stood_in = bench.logged()
        assert (first.version, first.arm) == (2, Arm.CHAMPION)
        assert (failed.version, failed.fault, failed.output) == (2, "ValueError", None)
        assert failed.prediction_id not in answer.body["prediction_ids"]
        assert (stood_in.version, stood_in.arm, stood_in.fault) == (1, Arm.FALLBACK, None)
        assert [stood_in.prediction_id] == answer.body["prediction_ids"]
        counted = {(counts.version, counts.step): counts for counts in bench.counters.totals()}
        assert (counted[2, 0].requests, counted[2, 0].faults) == (2, 1)
        assert (counted[1, None].requests, counted[1, None].faults) == (1, 0)  # no evidence in a release
        assert bench.measures.fallbacks == {("churn", 2, "previous"): 1}

    run(scenario())


def test_the_declared_answer_is_given_when_no_version_answers(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await serve(bench, champion=2, default=0.25)
        rows = {"dataframe_records": GOOD["dataframe_records"] + BAD["dataframe_records"]}
        answer = await bench.post(PATH, rows)
        assert answer.status == 200
        assert answer.body["predictions"] == [0.25, 0.25]
        assert answer.body["versions"] == [None, None]
        assert answer.body["fallbacks"] == ["default", "default"]
        assert answer.headers["x-headrace-fallback"] == "default"
        records = bench.logged()
        assert [(each.arm, each.output) for each in records[-2:]] == [(Arm.DEFAULT, 0.25)] * 2
        assert [each.prediction_id for each in records[-2:]] == answer.body["prediction_ids"]
        (counts,) = bench.counters.totals()
        assert (counts.requests, counts.faults) == (2, 1)

    run(scenario())


def test_the_open_inference_protocol_marks_it_too(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await serve(bench, champion=2, default=0.25)
        tensors = [
            {"name": name, "shape": [1], "datatype": "FP64", "data": [5.0]} for name in ("purchases", "spend")
        ]
        answer = await bench.post("/v2/models/churn/infer", {"inputs": tensors})
        assert answer.status == 200, answer.body
        assert answer.headers["x-headrace-fallback"] == "default"
        assert answer.body["parameters"]["fallback"] == "default"
        assert answer.body["model_version"] == ""
        assert answer.body["outputs"][0]["data"] == [0.25]

    run(scenario())


def test_only_rows_of_the_version_that_failed_are_answered_by_another(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = bench.version(1, models.binary_model()), bench.version(2, models.raising_model())
        await bench.settle(route(one, two, champion=1, challenger=2, weight_percent=50))
        answer = await bench.post(PATH, {"entities": {"customer_id": list(range(10, 30))}})
        assert answer.status == 200
        keys = np.arange(10.0, 30.0)
        expected = models.binary_model().predict_proba(np.stack([keys, -keys], axis=1))[:, 1]
        assert answer.body["predictions"] == pytest.approx(expected.tolist())
        assert set(answer.body["fallbacks"]) == {None, "champion"}
        replaced = answer.body["fallbacks"].count("champion")
        assert bench.measures.fallbacks == {("churn", 2, "champion"): replaced}
        live = [record for record in bench.logged() if record.purpose is Purpose.LIVE]
        answered = [record for record in live if record.fault is None]
        assert len(answered) == len({record.prediction_id for record in answered}) == 20
        assert sum(record.arm is Arm.FALLBACK for record in answered) == replaced

    run(scenario())


def test_rows_beside_one_that_a_challenger_fails_on_stay_on_its_arm(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = bench.version(1, models.binary_model()), bench.version(2, models.raising_model())
        await bench.settle(route(one, two, champion=1, challenger=2, weight_percent=100))
        keys = [30, 0, 40]  # the challenger answers only the second
        answer = await bench.post(PATH, {"entities": {"customer_id": keys}})
        assert answer.body["fallbacks"] == ["champion"] * 3
        mine = {each.prediction_id: each for each in bench.logged() if each.arm is Arm.CHALLENGER}
        told = [mine[f"{each}~1"] for each in answer.body["prediction_ids"]]
        assert len(mine) == len({each.unit for each in told}) == 3
        assert [each.purpose for each in told] == [Purpose.LIVE, Purpose.REPLACED, Purpose.LIVE]
        assert [each.fault is None for each in told] == [False, True, False]
        assert [each.entity for each in told] == [{"customer_id": key} for key in keys]
        assert [each.output for each in told] == [None] * 3

    run(scenario())


def test_when_all_fail_it_is_the_fault_of_the_one_that_should_have_answered(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        two, three = (bench.version(number, models.raising_model(), lookup=False) for number in (2, 3))
        await bench.settle(route(two, three, champion=2, previous=3))
        answer = await bench.post(PATH, BAD)
        assert (answer.status, answer.body["error"]["where"]) == (500, "version/churn/2")
        assert {(record.version, record.fault) for record in bench.logged()} == {
            (2, "ValueError"), (3, "ValueError"),
        }  # fmt: skip

    run(scenario())


@pytest.mark.parametrize("body", [{"dataframe_records": [{"purchases": 1.0}]}, {"dataframe_records": []}, b"{"])
def test_what_the_caller_got_wrong_stays_the_callers(bench: Bench, run: Run, body: Any) -> None:
    async def scenario() -> None:
        await serve(bench, champion=2, previous=1, default=0.25)
        assert (await bench.post(PATH, body)).status == 400

    run(scenario())


def test_who_names_a_version_gets_that_one_or_an_error(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await serve(bench, champion=2, previous=1, default=0.25)
        assert (await bench.post("/models/churn/versions/2/invocations", BAD)).status == 500

    run(scenario())


def test_a_champion_that_always_fails_is_not_asked_until_a_probe_is_due(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await serve(bench, champion=2, previous=1)
        for _ in range(FAULTS_TO_OPEN + 3):
            answer = await bench.post(PATH, BAD)
            assert (answer.status, answer.body["versions"]) == (200, [1])
        counted = {counts.version: counts for counts in bench.counters.totals()}
        assert counted[2].requests == FAULTS_TO_OPEN
        assert bench.circuits.opened == 1
        for state in bench.circuits._states.values():
            state.next_probe_s = 0.0  # as if the pause were over
        assert (await bench.post(PATH, GOOD)).body["versions"] == [2]
        assert bench.circuits.open() == ()
        assert (await bench.post(PATH, GOOD)).body["versions"] == [2]

    run(scenario())


class Hanging:
    """Makes every prediction of a version wait."""

    def __init__(self) -> None:
        self.go = threading.Event()


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    """Version 2 hangs once it is loaded, until the test ends."""
    made = Hanging()
    predict = Predictor.predict

    def wait(self: Predictor, *given: Any) -> Any:
        if self.version.number == 2 and hasattr(self, "row_s"):
            made.go.wait(20)
        return predict(self, *given)

    monkeypatch.setattr(Predictor, "predict", wait)
    monkeypatch.setattr(predictor, "INLINE_LIMIT_S", 0.0)
    yield made
    made.go.set()


def test_a_model_that_hangs_is_504_for_its_caller_and_nothing_for_others(
    bench: Bench, run: Run, hanging: Hanging
) -> None:
    async def scenario() -> None:
        await serve(bench, champion=2)
        late = await bench.post(PATH, GOOD, x_request_timeout="0.05")
        assert (late.status, late.body["error"]["code"]) == (504, "DEADLINE_EXCEEDED")
        assert late.body["error_code"] == "DEADLINE_EXCEEDED"
        assert bench.counters.totals() == ()  # the caller had no patience; that is no fault of the version
        other = await bench.post("/models/churn/versions/1/invocations", GOOD)
        assert other.status == 200
        hanging.go.set()

    run(scenario())


def test_the_gateways_own_deadline_counts_against_the_version(bench: Bench, run: Run, hanging: Hanging) -> None:
    async def scenario() -> None:
        bench.answering._timeout_s = 0.05
        await serve(bench, champion=2)
        assert (await bench.post(PATH, GOOD)).status == 504
        (counts,) = bench.counters.totals()
        assert (counts.version, counts.requests, counts.faults) == (2, 1, 1)
        (record,) = bench.logged()
        assert (record.fault, record.output) == ("DeadlineExceeded", None)
        hanging.go.set()

    run(scenario())


def test_another_version_takes_over_in_time_from_one_that_hangs(bench: Bench, run: Run, hanging: Hanging) -> None:
    async def scenario() -> None:
        await serve(bench, champion=2, previous=1)
        answer = await bench.post(PATH, GOOD, x_request_timeout="2")
        assert (answer.status, answer.body["fallbacks"]) == (200, ["previous"])
        await asyncio.sleep(0)
        hanging.go.set()

    run(scenario())


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "soon", "1e9", ""])
def test_a_timeout_is_a_number_of_seconds(bench: Bench, run: Run, timeout: str) -> None:
    async def scenario() -> None:
        await serve(bench, champion=1)
        refused = await bench.post(PATH, GOOD, x_request_timeout=timeout)
        assert (refused.status, refused.body["error"]["where"]) == (400, "X-Request-Timeout")

    run(scenario())


def test_what_the_champion_answers_in_a_challengers_place_counts_as_the_challengers_fallback(
    bench: Bench, run: Run
) -> None:
    async def scenario() -> None:
        await serve(bench, champion=1, challenger=2, weight_percent=100)
        answer = await bench.post(PATH, BAD)
        assert (answer.status, answer.body["versions"]) == (200, [1])
        counted = {(counts.version, counts.step): counts for counts in bench.counters.totals()}
        challenger = counted[2, 0]
        assert (challenger.faults, challenger.fallbacks, challenger.failed_units) == (1, 1, 1)
        assert challenger.fallback_units == 1
        assert (1, 0) not in counted  # and as nothing of the champion's in this rollout

    run(scenario())


def turned_away(part: Part, deadline_s: float) -> Coroutine[Any, Any, None]:
    raise Overloaded("no room", where="version")


@pytest.mark.parametrize("hurried", [False, True])
def test_who_has_no_room_is_told_alike_of_both_arms_and_not_by_who_is_in_a_hurry(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch, *, hurried: bool
) -> None:
    """Only a challenger has somebody who takes over: it must not look worse for that."""

    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(), lookup=False)
        await bench.settle(route(one, two, champion=1, challenger=2, weight_percent=50))
        monkeypatch.setattr(Asking, "ask", lambda _self, part, deadline_s: turned_away(part, deadline_s))
        many = {"dataframe_records": GOOD["dataframe_records"] * 65}
        given = {"x_request_timeout": "5"} if hurried else {}
        for unit in range(20):
            assert (await bench.post(PATH, many, x_unit=f"u{unit}", **given)).status == 503
        counted = {each.version: each for each in bench.counters.totals() if each.step is not None}
        if hurried:
            assert counted == {}
            return
        signalled = {version: {each.signal for each in counts.signalled} for version, counts in counted.items()}
        assert signalled == {1: {Signal.FALLBACKS}, 2: {Signal.FALLBACKS}}
        assert sum(len(counts.signalled) for counts in counted.values()) == 20
        assert [counts.requests for counts in counted.values()] == [0, 0]  # none was even asked

    run(scenario())


@pytest.mark.parametrize("hurried", [False, True])
def test_a_unit_is_logged_on_the_arm_that_had_no_room_for_it(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch, *, hurried: bool
) -> None:
    """Else a test of two arms would lose the units that a slow one keeps waiting, and only those."""
    ask = Asking.ask

    def asked(self: Asking, part: Part, deadline_s: float) -> Coroutine[Any, Any, None]:
        return turned_away(part, deadline_s) if part.assignment.number == 2 else ask(self, part, deadline_s)

    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(), lookup=False)
        await bench.settle(route(one, two, champion=1, challenger=2, weight_percent=50))
        monkeypatch.setattr(Asking, "ask", asked)
        many = {"dataframe_records": GOOD["dataframe_records"] * 65}
        given = {"x_request_timeout": "5"} if hurried else {}
        for unit in range(20):
            assert (await bench.post(PATH, many, x_unit=f"u{unit}", **given)).status == 200
        records = bench.logged()
        mine = [each for each in records if each.arm is Arm.CHALLENGER]
        assert {(each.purpose, each.fault, each.output) for each in mine} == {(Purpose.REPLACED, None, None)}
        assert all(each.prediction_id.endswith("~1") for each in mine)
        units = {arm: {each.unit for each in records if each.arm is arm} for arm in (Arm.CHALLENGER, Arm.CHAMPION)}
        assert len(units[Arm.CHALLENGER]) + len(units[Arm.CHAMPION]) == 20
        assert units[Arm.CHALLENGER]

    run(scenario())


def test_a_unit_that_nobody_had_room_for_is_logged_on_its_arm(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else under overload the log would show the challenger's units only, and an unequal split."""

    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(), lookup=False)
        await bench.settle(route(one, two, champion=1, challenger=2, weight_percent=50))
        monkeypatch.setattr(Asking, "ask", lambda _, part, deadline_s: turned_away(part, deadline_s))
        many = {"dataframe_records": GOOD["dataframe_records"] * 65}
        for unit in range(20):
            assert (await bench.post(PATH, many, x_unit=f"u{unit}")).status == 503
        records = [each for each in bench.logged() if each.arm in {Arm.CHALLENGER, Arm.CHAMPION}]
        assert {(each.purpose, each.fault, each.output) for each in records} == {(Purpose.REPLACED, None, None)}
        units = {arm: {each.unit for each in records if each.arm is arm} for arm in (Arm.CHALLENGER, Arm.CHAMPION)}
        assert len(units[Arm.CHALLENGER]) + len(units[Arm.CHAMPION]) == 20
        assert all(units.values())
        assert len({each.prediction_id for each in records}) == len(records)

    run(scenario())
