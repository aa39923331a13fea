"""Who waits for a slow version is answered together, and nobody pays for another's rows."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from headrace.errors import DeadlineExceeded, Overloaded
from headrace.serving.assignment import Assignment
from headrace.serving.forms.inputs import Array
from headrace.serving.forms.signature import Column, Signature
from headrace.serving.gateway import asking
from headrace.serving.gateway.asking import Asking, Part, part_of
from headrace.serving.gateway.effort import Effort
from headrace.serving.loading import predictor
from headrace.serving.loading.loader import LoadedModel
from headrace.serving.loading.predictor import Predictor
from headrace.serving.nouns import Arm, ServedVersion

SIGNATURE = Signature([Column(name="x", type="double")])
CHAMPION = Assignment(1, Arm.CHAMPION, 1.0)


class Slow:
    """A model that answers when it is told to, doubles what it gets, and cannot take 13."""

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.go = threading.Event()
        self.go.set()
        self.asked = threading.Event()

    def __call__(self, rows: Array, params: dict[str, Any] | None = None) -> Array:
        self.calls.append(rows[:, 0].tolist())
        self.asked.set()
        assert self.go.wait(20)
        if 13.0 in rows:
            raise ValueError
        return rows[:, 0] * (2 if params is None else params["times"])


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def version(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    monkeypatch.setattr(predictor, "INLINE_LIMIT_S", 0.0)  # nothing is quick enough for the event loop
    made = Predictor(
        ServedVersion(model="churn", number=1, digest="", files=()), LoadedModel(signature=SIGNATURE, predict=slow)
    )
    slow.calls.clear()
    return made


def part(version: Predictor, *values: float) -> Part:
    return part_of(version, CHAMPION, np.array([[value] for value in values]))


def answers(asked: Part) -> list[float] | None:
    if asked.outputs is None:
        return None
    assert not isinstance(asked.outputs, dict)
    return [float(value) for value in asked.outputs]


async def while_busy(
    slow: Slow, made: Asking, first: Part, *waiting: Part, meanwhile: Callable[[list[asyncio.Task[None]]], object]
) -> list[asyncio.Task[None]]:
    """Ask for the first part, then, while it is being answered, for the others; all are done afterwards."""
    slow.go.clear()
    slow.asked.clear()
    begun = asyncio.create_task(made.ask(first))
    await asyncio.to_thread(slow.asked.wait, 20)
    tasks = [asyncio.create_task(made.ask(each)) for each in waiting]
    await asyncio.sleep(0)
    meanwhile(tasks)
    slow.go.set()
    await asyncio.gather(begun, *tasks, return_exceptions=True)
    return tasks


def nothing(_: list[asyncio.Task[None]]) -> None:
    pass


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


@pytest.fixture
def quick(slow: Slow, version: Predictor, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """The same version, which now is quick enough for the event loop."""
    monkeypatch.setattr(predictor, "INLINE_LIMIT_S", 1_000.0)
    return version


def ask_in_one_turn(*parts: Part, crowded: bool = True) -> None:
    """Ask for all of them from an event loop before any is answered."""

    async def scenario() -> None:
        made = Asking(crowded=lambda: crowded)
        await asyncio.gather(*(made.ask(each) for each in parts), return_exceptions=True)

    run(scenario())


def test_a_quick_version_answers_all_of_one_turn_by_one_call(slow: Slow, quick: Predictor) -> None:
    first, second, third = part(quick, 1.0), part(quick, 2.0, 3.0), part(quick, 4.0)
    ask_in_one_turn(first, second, third)
    assert [answers(each) for each in (first, second, third)] == [[2.0], [4.0, 6.0], [8.0]]
    assert slow.calls == [[1.0, 2.0, 3.0, 4.0]]
    assert all(each.begun and each.latency_us >= 0 for each in (first, second, third))


def test_a_neighbours_null_makes_no_float_of_a_whole_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "INLINE_LIMIT_S", 1_000.0)
    columns = [Column(name="id", type="long", required=False), Column(name="city", type="string")]
    calls: list[int] = []

    def echo(rows: Any, params: dict[str, Any] | None = None) -> Any:
        calls.append(len(rows["id"]))
        return np.array([str(value) for value in rows["id"].tolist()], dtype=object)

    served = ServedVersion(model="churn", number=1, digest="", files=())
    made = Predictor(served, LoadedModel(signature=Signature(columns), predict=echo))
    calls.clear()

    def row(number: int | None) -> Part:
        rows = made.forms.columns({"id": [number], "city": ["x"]}, "inputs")
        assert isinstance(rows, dict)
        return part_of(made, CHAMPION, rows)

    large, null, small = row(2**53 + 1), row(None), row(7)
    ask_in_one_turn(large, null, small)
    found = [each.outputs for each in (large, null, small)]
    assert [list(each) for each in found if each is not None] == [[str(2**53 + 1)], ["nan"], ["7"]]
    assert sorted(calls) == [1, 2]


def test_while_nobody_else_asks_a_quick_version_answers_at_once(slow: Slow, quick: Predictor) -> None:
    asked = part(quick, 1.0)
    coroutine = Asking(crowded=lambda: False).ask(asked)
    with pytest.raises(StopIteration):  # it did not wait for anything
        coroutine.send(None)
    assert answers(asked) == [2.0]


def test_a_turn_of_many_rows_is_answered_by_several_calls(slow: Slow, quick: Predictor) -> None:
    parts = [part(quick, *[float(number)] * 30) for number in range(5)]
    ask_in_one_turn(*parts)
    assert [answers(each) for each in parts] == [[2.0 * number] * 30 for number in range(5)]
    assert [len(call) for call in slow.calls] == [60, 60, 30]


def test_of_one_turn_a_failure_is_the_fault_of_its_own_request(slow: Slow, quick: Predictor) -> None:
    good, bad = part(quick, 2.0), part(quick, 3.0, 13.0)
    ask_in_one_turn(good, bad)
    assert (answers(good), good.faults) == ([4.0], {})
    assert (answers(bad), bad.faults) == (None, {1: "ValueError"})


def test_of_one_turn_a_caller_that_goes_away_leaves_the_others_their_answers(slow: Slow, quick: Predictor) -> None:
    gone, stays, later = part(quick, 2.0), part(quick, 3.0), part(quick, 4.0)

    async def scenario() -> None:
        made = Asking(crowded=lambda: True)
        tasks = [asyncio.create_task(made.ask(each)) for each in (gone, stays)]
        asyncio.get_running_loop().call_soon(tasks[0].cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert tasks[0].cancelled()
        await made.ask(later)

    run(scenario())
    assert (answers(stays), answers(later)) == ([6.0], [8.0])


def test_a_defect_of_ours_is_told_to_all_of_the_turn(quick: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        made = Asking(crowded=lambda: True)
        monkeypatch.setattr(asking, "answer_together", lambda _parts: 1 / 0)
        told = await asyncio.gather(*(made.ask(part(quick, 1.0)) for _ in range(2)), return_exceptions=True)
        assert [type(each) for each in told] == [ZeroDivisionError] * 2
        monkeypatch.undo()
        monkeypatch.setattr(predictor, "INLINE_LIMIT_S", 1_000.0)
        later = part(quick, 4.0)
        await made.ask(later)
        assert answers(later) == [8.0]

    run(scenario())


def test_who_asks_alone_waits_for_nobody(slow: Slow, version: Predictor) -> None:
    asked = part(version, 1.0, 2.0)
    run(Asking().ask(asked))
    assert answers(asked) == [2.0, 4.0]
    assert slow.calls == [[1.0, 2.0]]


def test_those_who_wait_are_answered_by_one_call_each_with_its_own(slow: Slow, version: Predictor) -> None:
    first, second, third = part(version, 1.0), part(version, 2.0, 3.0), part(version, 4.0)
    run(_discard(while_busy(slow, Asking(), first, second, third, meanwhile=nothing)))
    assert [answers(each) for each in (first, second, third)] == [[2.0], [4.0, 6.0], [8.0]]
    assert slow.calls == [[1.0], [2.0, 3.0, 4.0]]


def test_rows_that_a_version_fails_on_are_the_fault_of_their_own_request(slow: Slow, version: Predictor) -> None:
    first, good, bad = part(version, 1.0), part(version, 2.0), part(version, 3.0, 13.0)
    run(_discard(while_busy(slow, Asking(), first, good, bad, meanwhile=nothing)))
    assert (answers(good), good.faults) == ([4.0], {})
    assert (answers(bad), bad.faults) == (None, {1: "ValueError"})


def test_a_caller_that_goes_away_leaves_the_others_their_answers(slow: Slow, version: Predictor) -> None:
    first, gone, stays, later = (part(version, value) for value in (1.0, 2.0, 3.0, 4.0))

    async def scenario() -> None:
        made = Asking()
        tasks = await while_busy(slow, made, first, gone, stays, meanwhile=lambda tasks: tasks[0].cancel())
        assert tasks[0].cancelled()
        await made.ask(later)  # the line is not stuck

    run(scenario())
    assert (answers(stays), answers(later)) == ([6.0], [8.0])


def test_requests_with_parameters_are_asked_each_for_itself(slow: Slow, version: Predictor) -> None:
    first, plain, tripled = part(version, 1.0), part(version, 2.0), part(version, 3.0)
    tripled.params = {"times": 3}
    run(_discard(while_busy(slow, Asking(), first, plain, tripled, meanwhile=nothing)))
    assert (answers(plain), answers(tripled)) == ([4.0], [9.0])
    assert slow.calls == [[1.0], [2.0], [3.0]]


def test_one_call_has_so_many_rows_and_no_more(
    slow: Slow, version: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TOGETHER_ROWS", 3)
    parts = [part(version, value, value) for value in (1.0, 2.0, 3.0)]
    large = part(version, 4.0, 4.0, 4.0, 4.0)  # a single request is never cut
    run(_discard(while_busy(slow, Asking(), *parts, large, meanwhile=nothing)))
    assert [len(call) for call in slow.calls] == [2, 2, 2, 4]
    assert answers(large) == [8.0] * 4


def test_a_defect_of_ours_is_told_to_all_who_waited_and_the_line_goes_on(
    version: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        made = Asking()
        with monkeypatch.context() as broken:
            broken.setattr(asking, "answer_together", _broken)
            with pytest.raises(RuntimeError, match="defect"):
                await made.ask(part(version, 1.0))
        later = part(version, 2.0)
        await made.ask(later)
        assert answers(later) == [4.0]

    run(scenario())


def _broken(*_: object) -> None:
    raise RuntimeError("defect")


async def _discard(work: Coroutine[Any, Any, Any]) -> None:
    await work


def test_who_has_no_time_left_leaves_the_line_unanswered(slow: Slow, version: Predictor) -> None:
    first, impatient, patient = part(version, 1.0), part(version, 2.0), part(version, 3.0)

    async def scenario() -> None:
        made = Asking()
        now_s = asyncio.get_running_loop().time()
        slow.go.clear()
        begun = asyncio.create_task(made.ask(first))
        await asyncio.to_thread(slow.asked.wait, 20)
        waits = asyncio.create_task(made.ask(patient))
        await asyncio.sleep(0)
        made._lines[version]._effort = Effort()
        with pytest.raises(DeadlineExceeded):
            await made.ask(impatient, now_s + 1.0)
        assert made.rows_waiting == 1
        slow.go.set()
        await asyncio.gather(begun, waits)
        assert made.rows_waiting == 0

    run(scenario())
    assert slow.calls == [[1.0], [3.0]]
    assert (impatient.begun, patient.begun) == (False, True)


def test_a_version_that_hangs_holds_up_neither_its_callers_nor_other_versions(
    slow: Slow, version: Predictor
) -> None:
    other = Predictor(version.version, LoadedModel(signature=SIGNATURE, predict=lambda rows: rows[:, 0]))
    hangs, quick = part(version, 1.0), part(other, 5.0)

    async def scenario() -> None:
        made = Asking()
        slow.go.clear()
        with pytest.raises(DeadlineExceeded):
            await made.ask(hangs, asyncio.get_running_loop().time() + 0.05)
        await made.ask(quick)
        slow.go.set()

    run(scenario())
    assert (hangs.begun, answers(quick)) == (True, [5.0])


def test_a_line_that_is_too_long_turns_away_at_once(slow: Slow, version: Predictor) -> None:
    async def scenario() -> None:
        made = Asking(line_rows=3)
        await made.ask(part(version, 0.0))
        slow.go.clear()
        slow.asked.clear()
        begun = asyncio.create_task(made.ask(part(version, 1.0)))
        await asyncio.to_thread(slow.asked.wait, 20)
        waits = asyncio.create_task(made.ask(part(version, 1.0, 2.0)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await made.ask(part(version, 1.0, 2.0))
        assert refused.value.retry_after_s >= 1
        slow.go.set()
        await asyncio.gather(begun, waits)
        await made.ask(part(version, 1.0, 2.0, 3.0, 4.0))  # alone, a large one is taken

    run(scenario())


def test_who_would_wait_longer_than_there_is_time_is_turned_away(slow: Slow, version: Predictor) -> None:
    asked = part(version, 2.0)

    async def scenario() -> None:
        made = Asking()
        loop = asyncio.get_running_loop()
        slow.go.clear()
        begun = asyncio.create_task(made.ask(part(version, 1.0)))
        await asyncio.to_thread(slow.asked.wait, 20)
        made._lines[version]._effort.learn(1, 10.0)
        with pytest.raises(Overloaded) as refused:
            await made.ask(asked, loop.time() + 9.0)
        assert 10 <= refused.value.retry_after_s <= 60
        waits = asyncio.create_task(made.ask(asked, loop.time() + 30.0))
        await asyncio.sleep(0)
        slow.go.set()
        await asyncio.gather(begun, waits)

    run(scenario())
    assert answers(asked) == [4.0]


def test_a_line_ends_with_its_version(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "INLINE_LIMIT_S", 0.0)
    before = threading.active_count()

    async def scenario() -> None:
        made = Asking()
        version = Predictor(
            ServedVersion(model="churn", number=1, digest="", files=()),
            LoadedModel(signature=SIGNATURE, predict=slow),
        )
        await made.ask(part(version, 1.0))
        gone = weakref.ref(version)
        del version
        for _ in range(200):
            gc.collect()
            if gone() is None and threading.active_count() <= before + 1:  # the one of to_thread may live
                return
            await asyncio.sleep(0.02)
        raise AssertionError(threading.enumerate())

    run(scenario())
