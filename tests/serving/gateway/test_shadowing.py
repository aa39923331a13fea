"""A shadow answers copies of requests for nobody: it never slows, changes or fails what the champion answers."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving import models
from tests.serving.conftest import Bench, route
from tests.serving.gateway.test_parquet_forms import parquet

from headrace.serving.gateway.body_forms import PARQUET, read_aside
from headrace.serving.gateway.counters import Counters
from headrace.serving.gateway.shadowing import Shadowing, compare
from headrace.serving.nouns import Arm, Compared, Purpose, Route, ServedVersion, VersionCounts

Run = Callable[[Coroutine[Any, Any, None]], None]

PATH = "/models/churn/invocations"
ROW = {"purchases": 1.0, "spend": 2.0}


def shadowed(one: ServedVersion, two: ServedVersion, percent: float = 100.0) -> Route:
    return msgspec.structs.replace(route(one, two, champion=1), shadow=2, shadow_percent=percent)


def of_step(bench: Bench) -> dict[int, VersionCounts]:
    return {counts.version: counts for counts in bench.counters.totals() if counts.step is not None}


def test_both_are_counted_on_the_same_requests_compared_and_logged(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(flip=True), lookup=False)
        await bench.settle(shadowed(one, two))
        for unit in ("ana", "ana", "ben"):
            answer = await bench.post(PATH, {"dataframe_records": [ROW, ROW]}, x_unit=unit)
            assert answer.body["versions"] == [1, 1]
        await bench.shadowing.finish()
        counts = of_step(bench)
        assert {number: (each.requests, len(each.named or ())) for number, each in counts.items()} == {
            1: (6, 2),
            2: (6, 2),
        }
        compared = counts[2].compared
        assert compared is not None
        assert (compared.units, compared.flipped, compared.numbers) == (2, 2, 2)
        (mean,) = {round(compared.shadow_sum + compared.champion_sum, 6)}
        assert mean == pytest.approx(2.0, abs=1e-3)  # two units, and a flipped model answers one minus
        assert counts[1].compared is None

    run(scenario())
    copies = [record for record in bench.logged() if record.purpose is Purpose.SHADOW]
    assert len(copies) == 6
    assert {(record.version, record.arm) for record in copies} == {(2, Arm.SHADOW)}
    originals = {record.prediction_id for record in bench.logged()} - {record.prediction_id for record in copies}
    assert {record.prediction_id.removesuffix(".shadow") for record in copies} == originals


def test_what_the_champion_had_no_time_for_is_not_asked_of_the_shadow(bench: Bench, run: Run) -> None:
    """Or whoever is in a hurry would let the shadow alone be seen to fail."""

    async def scenario() -> None:
        one = bench.version(1, models.raising_model(), lookup=False)
        two = bench.version(2, models.raising_model(), lookup=False)
        await bench.settle(shadowed(one, two))
        many = {"dataframe_records": [{"purchases": 7.0, "spend": 7.0}] * 65}  # both fail, and not at once
        for unit in range(5):
            answer = await bench.post(PATH, many, x_unit=f"u{unit}", x_request_timeout="0.000001")
            assert answer.status in {503, 504}
            await bench.shadowing.finish()
        assert of_step(bench) == {}
        assert (await bench.post(PATH, many, x_unit="calm")).status == 500
        await bench.shadowing.finish()
        assert {number: counts.faults for number, counts in of_step(bench).items()} == {1: 65, 2: 65}

    run(scenario())


def test_entities_are_units_and_looked_up_for_the_shadow_too(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = bench.version(1, models.binary_model()), bench.version(2, models.binary_model())
        await bench.settle(shadowed(one, two))
        await bench.post(PATH, {"entities": {"customer_id": [3, 4]}})
        await bench.shadowing.finish()
        compared = of_step(bench)[2].compared
        assert compared is not None
        assert (compared.units, compared.flipped, compared.distance_sum) == (2, 0, 0.0)

    run(scenario())


def test_a_shadow_that_fails_fails_nobody(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.raising_model(), lookup=False)
        await bench.settle(shadowed(one, two))
        bad = {"purchases": 77.5, "spend": 1.0}
        assert (await bench.post(PATH, {"dataframe_records": [bad]}, x_unit="ana")).status == 200
        await bench.shadowing.finish()
        counts = of_step(bench)
        assert (counts[1].faults, counts[2].faults) == (0, 1)
        assert len(counts[2].signalled) == 1
        assert counts[2].compared is None

    run(scenario())


def test_a_champion_that_fails_is_counted_beside_its_shadow(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one = bench.version(1, models.raising_model(), lookup=False)
        two = bench.version(2, models.binary_model(), lookup=False)
        await bench.settle(shadowed(one, two))
        bad = {"purchases": 77.5, "spend": 1.0}
        assert (await bench.post(PATH, {"dataframe_records": [bad]})).status == 500
        await bench.shadowing.finish()
        counts = of_step(bench)
        assert (counts[1].failed_units, counts[2].failed_units) == (1, 0)

    run(scenario())


def test_what_is_not_copied_counts_for_neither(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(), lookup=False)
        await bench.settle(shadowed(one, two, percent=30.0))
        for unit in range(200):
            await bench.post(PATH, {"dataframe_records": [ROW]}, x_unit=str(unit))
        await bench.shadowing.finish()
        counts = of_step(bench)
        assert counts[1].requests == counts[2].requests
        assert 30 < counts[1].requests < 90
        assert sum(each.requests for each in bench.counters.totals() if each.version == 1) == 200
        assert bench.shadowing.dropped == 0

    run(scenario())


def test_a_full_queue_drops_and_counts_and_holds_up_no_answer(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(), lookup=False)
        await bench.settle(shadowed(one, two))
        bench.shadowing._capacity = 5
        busy = threading.Event()
        bench.loaders.submit(busy.wait, 60)  # the shadow's thread, however quick it is
        posts = [bench.post(PATH, {"dataframe_records": [ROW]}) for _ in range(50)]
        answers = await asyncio.gather(*posts)
        busy.set()
        assert {answer.status for answer in answers} == {200}
        await bench.shadowing.finish()
        counts = of_step(bench)
        assert counts[1].requests == counts[2].requests == 50 - bench.shadowing.dropped
        assert bench.shadowing.dropped > 0
        await bench.post(PATH, {"dataframe_records": [ROW]})  # and there is room again
        await bench.shadowing.finish()
        assert of_step(bench)[2].requests == counts[2].requests + 1

    run(scenario())


def test_requests_for_a_named_version_and_checks_have_no_copy(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(), lookup=False)
        await bench.settle(shadowed(one, two))
        await bench.post("/models/churn/versions/2/invocations", {"dataframe_records": [ROW]})
        await bench.shadowing.finish()
        assert of_step(bench) == {}

    run(scenario())


def test_a_small_file_is_never_read_on_the_event_loop(bench: Bench, run: Run) -> None:
    """It is read beside the gateway, where a copy would have everybody wait for a place."""

    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(), lookup=False)
        await bench.settle(shadowed(one, two))
        body = parquet(purchases=[1.0], spend=[2.0])
        answer = await bench.post(PATH, body, content_type=PARQUET)
        await bench.shadowing.finish()
        assert (answer.status, answer.body["versions"]) == (200, [1])
        assert bench.shadowing.dropped == 1
        assert of_step(bench) == {}  # nor does it count for either
        with pytest.raises(AssertionError, match="event loop"):
            read_aside(bench.answering.reading, PARQUET, body, bench.answering.predictor("churn", 2).forms)

    run(scenario())


def test_a_defect_in_a_note_ends_no_shadow(bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(), lookup=False)
        await bench.settle(shadowed(one, two))
        with monkeypatch.context() as patched:
            patched.setattr(Counters, "compare", lambda *_: 1 / 0)
            await bench.post(PATH, {"dataframe_records": [ROW]})
            await bench.shadowing.finish()
        await bench.post(PATH, {"dataframe_records": [ROW]})
        await bench.shadowing.finish()
        compared = of_step(bench)[2].compared
        assert compared is not None
        assert compared.units == 1

    run(scenario())


@pytest.mark.parametrize(
    ("shadow", "champion", "flipped", "numbers"),
    [
        (0.4, 0.6, 1, 1),
        (0.6, 0.7, 0, 1),
        (3.5, 9.0, 0, 1),  # no probabilities: nothing is decided
        (1, 2, 1, 1),
        ("a", "a", 0, 0),
        ("a", "b", 1, 0),
        ([0.1, 0.9], [0.2, 0.8], 0, 0),
        ([0.9, 0.1], [0.2, 0.8], 1, 0),
        ({"y": 1}, {"y": 2}, 1, 0),
    ],
)
def test_answers_beside_each_other(shadow: Any, champion: Any, flipped: int, numbers: int) -> None:
    found = compare(shadow, champion)
    assert (found.units, found.flipped, found.numbers) == (1, flipped, numbers)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=20))
def test_sums_add_up_however_they_are_put_together(pairs: list[tuple[float, float]]) -> None:
    found = Compared()
    for shadow, champion in pairs:
        found = found.plus(compare(shadow, champion))
    assert found.units == found.numbers == len(pairs)
    assert found.distance_sum == pytest.approx(sum(abs(new - old) for new, old in pairs))
    assert found.products == pytest.approx(sum(new * old for new, old in pairs))


def test_nothing_waits_where_there_is_no_shadow() -> None:
    shadowing = Shadowing(Counters(), None)  # type: ignore[arg-type]
    assert not shadowing.takes(route(champion=1), "ana", 1)
    assert shadowing.dropped == 0
