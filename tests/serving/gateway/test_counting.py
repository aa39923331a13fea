"""What a request counts for at a gateway: invalid answers, slow ones, and only what is half of a comparison."""

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from tests.serving import models
from tests.serving.conftest import Bench, route

Run = Callable[[Coroutine[Any, Any, None]], None]

PATH = "/models/churn/invocations"
ROW = {"purchases": 1.0, "spend": 2.0}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # that of the overflow
def test_an_answer_that_is_not_finite_counts_as_invalid_too(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(5, models.regression_model(), lookup=False), challenger=5))
        huge = {"purchases": 1.7e308, "spend": 1.7e308}
        assert (await bench.post(PATH, {"dataframe_records": [ROW, huge]})).status == 500
        (counts,) = bench.counters.totals()
        assert (counts.requests, counts.faults, counts.invalid) == (2, 1, 1)
        assert (counts.failed_units, counts.invalid_units, counts.slow_units) == (1, 1, 0)

    run(scenario())


def test_what_takes_longer_than_the_routes_limit_counts_as_slow_on_both_arms(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        two = bench.version(2, models.binary_model(flip=True), lookup=False)
        for slow_us, slow in ((0, True), (60_000_000, False)):
            wanted = route(one, two, champion=1, challenger=2, weight_percent=50, step=int(slow))
            await bench.settle(msgspec.structs.replace(wanted, slow_us=slow_us))
            for _ in range(20):
                await bench.post(PATH, {"dataframe_records": [ROW]})
        told = {
            (counts.step, counts.version): (counts.units, counts.slow_units) for counts in bench.counters.totals()
        }
        assert len(told) == 4
        for (step, _), (units, slow_units) in told.items():
            assert slow_units == (units if step else 0)

    run(scenario())


def test_what_a_champion_answers_before_its_challenger_is_here_is_no_half_of_a_comparison(
    bench: Bench, run: Run
) -> None:
    async def scenario() -> None:
        one = bench.version(1, models.binary_model(), lookup=False)
        lost = msgspec.structs.replace(one, number=2, files=())
        await bench.settle(route(one, lost, champion=1, challenger=2, weight_percent=50))
        assert (await bench.post(PATH, {"dataframe_records": [ROW]})).status == 200
        (counts,) = bench.counters.totals()
        assert (counts.version, counts.requests, counts.release_id, counts.step) == (1, 1, None, None)

    run(scenario())
