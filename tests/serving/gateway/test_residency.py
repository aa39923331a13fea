"""Switching: a route is in force once its versions are ready, and until then the former one answers."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from tests.serving import models
from tests.serving.conftest import Bench, route, until

from headrace.errors import InternalError, NotServed, PolicyRefused
from headrace.kernel.spelling import NAME_LIMIT, did_you_mean
from headrace.serving.gateway import residency as residency_module
from headrace.serving.gateway.residency import QUESTIONS_KEPT, RETRY_S, Residency
from headrace.serving.loading.predictor import Predictor, load_predictor
from headrace.serving.nouns import Loading, ServedVersion

Run = Callable[[Coroutine[Any, Any, None]], None]


class Loader:
    """Loads versions when it is let, or fails as it is told."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.gate = threading.Event()
        self.gate.set()
        self.failures: dict[int, Exception] = {}
        self.calls: list[int] = []

    def __call__(self, version: ServedVersion) -> Predictor:
        self.calls.append(version.number)
        assert self.gate.wait(10)
        if version.number in self.failures:
            raise self.failures[version.number]
        return load_predictor(self._bench.loader, version)


def residency(bench: Bench, loader: Loader) -> Residency:
    return Residency(loader, bench.loaders, changed=lambda: None)


async def settled(held: Residency) -> None:
    await until(held.settled)


def versions(bench: Bench, *numbers: int) -> list[ServedVersion]:
    return [bench.version(number, models.binary_model(flip=number % 2 == 0)) for number in numbers]


def test_the_former_route_answers_until_the_new_version_is_ready(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = versions(bench, 1, 2)
        loader = Loader(bench)
        held = residency(bench, loader)
        held.replace([route(one, champion=1, sequence=1)], 1)
        await settled(held)
        assert held.applied_sequence() == 1
        loader.gate.clear()
        held.set(route(one, two, champion=2, sequence=2), 2)
        await asyncio.sleep(0.05)
        active = held.active("churn")
        assert active is not None
        assert (active.route.champion, held.applied_sequence(), held.settled()) == (1, 1, False)
        loader.gate.set()
        await settled(held)
        active = held.active("churn")
        assert active is not None
        assert (active.route.champion, held.applied_sequence()) == (2, 2)
        assert set(active.predictors) == {1, 2}  # the way back stays loaded

    run(scenario())


def test_versions_that_no_route_names_are_let_go(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = versions(bench, 1, 2)
        held = residency(bench, Loader(bench))
        held.replace([route(one, two, champion=1)], 1)
        await settled(held)
        held.set(route(two, champion=2, sequence=2), 2)
        assert [loaded.number for loaded in held.loaded()] == [2]
        assert held.predictor("churn", 1) is None
        held.remove("churn", 3)
        assert (held.loaded(), held.active("churn"), held.applied_sequence()) == ((), None, 3)

    run(scenario())


def test_a_challenger_that_cannot_be_loaded_is_reported_and_the_champion_stays(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = versions(bench, 1, 2)
        loader = Loader(bench)
        loader.failures[2] = NotServed("it is a pickle")
        held = residency(bench, loader)
        held.replace([route(one, champion=1, sequence=1)], 1)
        await settled(held)
        held.set(route(one, two, champion=1, challenger=2, weight_percent=50, sequence=2), 2)
        await settled(held)
        active = held.active("churn")
        assert active is not None
        assert active.route.sequence == 1
        (failed,) = [loaded for loaded in held.loaded() if loaded.error]
        assert (failed.number, failed.error) == (2, "it is a pickle")

    run(scenario())


def test_a_gateway_that_starts_amid_a_broken_rollout_serves_the_champion(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = versions(bench, 1, 2)
        loader = Loader(bench)
        loader.failures[2] = InternalError("the disk is damaged")
        held = residency(bench, loader)
        held.replace([route(one, two, champion=1, challenger=2, weight_percent=50)], 1)
        await settled(held)
        active = held.active("churn")
        assert active is not None
        assert (active.route.champion, active.route.challenger) == (1, None)

    run(scenario())


def test_what_may_pass_is_tried_again_and_what_cannot_is_not(bench: Bench, run: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr("headrace.serving.gateway.residency.RETRY_S", 0.0)
    assert RETRY_S > 0

    async def scenario() -> None:
        one, two = versions(bench, 1, 2)
        loader = Loader(bench)
        loader.failures = {1: InternalError("no such blob yet"), 2: NotServed("a tensor")}
        held = residency(bench, loader)
        held.replace([route(one, two, champion=1)], 1)
        await settled(held)
        assert held.active("churn") is None
        del loader.failures[1]
        held.retry()
        await until(lambda: held.active("churn") is not None)
        assert loader.calls == [1, 2, 1]

    run(scenario())


def test_a_snapshot_drops_models_that_are_not_in_it(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        (one,) = versions(bench, 1)
        other = bench.version(1, models.binary_model(), model="fraud")
        held = residency(bench, Loader(bench))
        assert not held.settled()
        held.replace([route(one, champion=1), route(other, champion=1, model="fraud")], 2)
        await settled(held)
        assert held.near("Fruad") == "Did you mean fraud?"
        held.replace([route(one, champion=1)], 3)
        assert held.near("Fruad") == ""
        assert held.active("fraud") is None
        assert not held.wants("fraud")
        assert [active.route.model for active in held.all_active()] == ["churn"]

    run(scenario())


def test_who_asks_again_for_what_is_not_served_costs_the_loop_no_second_comparison(
    bench: Bench, run: Run, monkeypatch: Any
) -> None:
    compared: list[str] = []

    def question(name: str, known: Iterable[str]) -> str:
        compared.append(name)
        return did_you_mean(name, known)

    monkeypatch.setattr(residency_module, "did_you_mean", question)

    async def scenario() -> None:
        (one,) = versions(bench, 1)
        other = bench.version(1, models.binary_model(), model="fraud")
        held = residency(bench, Loader(bench))
        held.replace([route(one, champion=1)], 1)
        assert (held.near("frued"), held.near("frued")) == ("", "")
        held.set(route(other, champion=1, model="fraud"), 2)
        assert (held.near("frued"), held.near("frued")) == ("Did you mean fraud?",) * 2
        held.set(route(other, champion=1, model="fraud"), 3)
        assert held.near("frued") == "Did you mean fraud?"
        assert compared == ["frued"] * 2
        for number in range(2 * QUESTIONS_KEPT):
            held.near(f"frued-{number}")
        assert held.near("f" * 10_000) == ""
        assert len(held._near) <= QUESTIONS_KEPT
        assert max(map(len, held._near)) <= NAME_LIMIT
        await settled(held)

    run(scenario())


def test_no_request_fails_while_versions_are_switched(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = versions(bench, 1, 2)
        await bench.settle(route(one, two, champion=1))
        body = {"entities": {"customer_id": [3]}}
        failed: list[int] = []
        answered: set[int] = set()
        done = False

        async def caller() -> None:
            while not done:
                answer = await bench.post("/models/churn/invocations", body)
                if answer.status != 200:
                    failed.append(answer.status)
                else:
                    answered.update(answer.body["versions"])
                await asyncio.sleep(0)

        callers = [asyncio.create_task(caller()) for _ in range(4)]
        for sequence in range(2, 22):
            number = 1 + sequence % 2
            only = (one, two)[number - 1]
            # Every other time the version that comes next has been let go and must be loaded anew.
            kept = (one, two) if sequence % 4 < 2 else (only,)
            bench.residency.set(route(*kept, champion=number, sequence=sequence), sequence)
            await bench.loaded()
            await asyncio.sleep(0.005)
        done = True
        await asyncio.gather(*callers)
        assert failed == []
        assert answered == {1, 2}

    run(scenario())


def test_closing_stops_what_is_being_loaded(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        (one,) = versions(bench, 1)
        loader = Loader(bench)
        loader.gate.clear()
        pool = ThreadPoolExecutor(1)
        held = Residency(loader, pool, changed=lambda: None)
        held.set(route(one, champion=1), 1)
        await asyncio.sleep(0.02)
        held.close()
        await asyncio.sleep(0)
        loader.gate.set()
        pool.shutdown()
        assert held.active("churn") is None

    run(scenario())


def test_a_version_that_may_not_be_loaded_any_more_answers_no_more(bench: Bench, run: Run) -> None:
    async def scenario() -> None:
        one, two = versions(bench, 1, 2)
        allowed = [msgspec.structs.replace(version, loading=Loading(code=True)) for version in (one, two)]
        loader = Loader(bench)
        held = residency(bench, loader)
        held.replace([route(*allowed, champion=1, challenger=2, weight_percent=50)], 1)
        await settled(held)
        loader.failures[2] = PolicyRefused("it runs code")
        held.set(route(allowed[0], two, champion=1, challenger=2, weight_percent=50, sequence=2), 2)
        await settled(held)
        active = held.active("churn")
        assert active is not None
        assert (active.route.champion, active.route.challenger, set(active.predictors)) == (1, None, {1})
        loader.failures[1] = PolicyRefused("it runs code")
        held.set(route(one, champion=1, sequence=3), 3)
        await settled(held)
        assert held.active("churn") is None
        assert {(each.number, each.error) for each in held.loaded()} == {(1, "it runs code")}

    run(scenario())
