"""The journal: on the disk before the answer, delivered in order once control is there, whoever died in between."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serving.conftest import BUSINESS, WALL, Bench, until

from headrace.errors import InvalidInput, NotAuthenticated, Unavailable
from headrace.serving.feedback_nouns import Feedback, Submitted, Taken
from headrace.serving.gateway import feedback_journal
from headrace.serving.gateway.answering import Moment
from headrace.serving.gateway.app import Gateway
from headrace.serving.gateway.doors import Incoming
from headrace.serving.gateway.feedback_door import FeedbackDoor
from headrace.serving.gateway.feedback_journal import FeedbackJournal
from headrace.serving.log.segments import CLOSED, OPEN

Run = Callable[[Coroutine[Any, Any, None]], None]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def item(number: int) -> Submitted:
    said = Feedback(prediction_id=f"prd_{number}", value=number)
    return Submitted(feedback=said, business_at=NOW, received_at=NOW, by="ana")


class Control:
    """Takes what is delivered, when it is there."""

    def __init__(self) -> None:
        self.taken: list[Submitted] = []
        self.away: Exception | None = None
        self.tried = 0

    def __call__(self, items: Sequence[Submitted]) -> None:
        self.tried += 1
        if self.away is not None:
            raise self.away
        self.taken.extend(items)

    @property
    def numbers(self) -> list[Any]:
        return [one.feedback.value for one in self.taken]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_journal, "LOOK_S", 0.01)
    monkeypatch.setattr(feedback_journal, "LONGEST_PAUSE_S", 0.02)


@pytest.fixture
def control() -> Control:
    return Control()


def files(root: Path, suffix: str = "") -> list[Path]:
    return [path for path in root.glob(f"*/*{suffix}") if path.is_file()]


def test_what_is_taken_is_delivered_in_order_and_removed(tmp_path: Path, control: Control, run: Run) -> None:
    journal = FeedbackJournal(tmp_path, "gateway-1", control)

    async def scenario() -> None:
        for number in range(20):
            await journal.take([item(number)])
        await until(lambda: len(control.taken) == 20)

    journal.start()
    run(scenario())
    journal.close()
    assert control.numbers == list(range(20))
    assert files(tmp_path) == []


def test_it_is_on_the_disk_before_the_answer(tmp_path: Path, control: Control, run: Run) -> None:
    control.away = Unavailable("away")
    journal = FeedbackJournal(tmp_path, "gateway-1", control)

    async def scenario() -> None:
        await journal.take([item(1), item(2)])
        lines = b"".join(path.read_bytes() for path in files(tmp_path)).splitlines()
        assert [msgspec.json.decode(line, type=Submitted) for line in lines] == [item(1), item(2)]

    journal.start()
    run(scenario())
    journal.close()


@pytest.mark.parametrize("away", [Unavailable("away"), NotAuthenticated("who?")])
def test_what_control_cannot_take_now_waits_for_it(
    tmp_path: Path, control: Control, run: Run, away: Exception
) -> None:
    control.away = away
    journal = FeedbackJournal(tmp_path, "gateway-1", control)

    async def scenario() -> None:
        await journal.take([item(1)])
        await until(lambda: control.tried >= 3)
        assert control.taken == []
        control.away = None
        await until(lambda: control.taken == [item(1)])

    journal.start()
    run(scenario())
    journal.close()


def test_what_control_refuses_for_good_is_set_aside_and_holds_up_nobody(
    tmp_path: Path, control: Control, run: Run
) -> None:
    control.away = InvalidInput("no")
    journal = FeedbackJournal(tmp_path, "gateway-1", control)

    async def scenario() -> None:
        await journal.take([item(1)])
        await until(lambda: bool(files(tmp_path, feedback_journal.REFUSED)))
        control.away = None
        await journal.take([item(2)])
        await until(lambda: control.numbers == [2])

    journal.start()
    run(scenario())
    journal.close()


def test_what_a_killed_gateway_left_is_delivered_by_any_other(tmp_path: Path, control: Control, run: Run) -> None:
    """Its torn last line was never answered for; a file that somebody still writes is left alone."""
    dead = tmp_path / "gateway-9"
    dead.mkdir()
    lines = msgspec.json.Encoder().encode_lines([item(1), item(2)])
    (dead / f"0001{OPEN}").write_bytes(lines[:-10])
    (dead / f"0002{CLOSED}").write_bytes(msgspec.json.Encoder().encode_lines([item(3)]))
    alive = FeedbackJournal(tmp_path, "gateway-2", control)
    other = FeedbackJournal(tmp_path, "gateway-1", control)

    async def scenario() -> None:
        alive._append(msgspec.json.Encoder().encode_lines([item(4)]))
        await until(lambda: len(control.taken) >= 2)
        assert control.numbers == [1, 3]
        assert len(files(tmp_path, OPEN)) == 1

    other.start()
    run(scenario())
    other.close()
    alive._close_file()


def test_a_delivery_that_died_half_way_is_repeated(
    tmp_path: Path, control: Control, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_journal, "DELIVERY_ITEMS", 2)
    journal = FeedbackJournal(tmp_path, "gateway-1", control)
    journal._append(msgspec.json.Encoder().encode_lines([item(number) for number in range(5)]))
    journal._close_file()

    def fail_at_the_second(items: Sequence[Submitted]) -> None:
        if len(control.taken) == 2:
            raise Unavailable("died")
        control(items)

    with pytest.raises(Unavailable):
        FeedbackJournal(tmp_path, "gateway-1", fail_at_the_second)._bring_all()
    assert control.numbers == [0, 1]
    journal._bring_all()
    assert control.numbers == [0, 1, 0, 1, 2, 3, 4]
    assert files(tmp_path) == []


def test_more_than_may_wait_is_refused_before_it_is_kept(tmp_path: Path, control: Control, run: Run) -> None:
    control.away = Unavailable("away")
    journal = FeedbackJournal(tmp_path, "gateway-1", control, capacity_bytes=1_000)

    async def scenario() -> None:
        await journal.take([item(1)])
        with pytest.raises(Unavailable):
            await journal.take([item(number) for number in range(20)])
        control.away = None
        await until(lambda: bool(control.taken) and not files(tmp_path))
        await journal.take([item(1)])

    journal.start()
    run(scenario())
    journal.close()


def test_what_others_have_brought_waits_no_more(tmp_path: Path, control: Control, run: Run) -> None:
    """Gateways bring one another's files; whose they were has room again."""
    control.away = Unavailable("away")
    journal = FeedbackJournal(tmp_path, "gateway-1", control, capacity_bytes=1_000)
    other = FeedbackJournal(tmp_path, "gateway-2", lambda _: None)

    def is_brought() -> bool:
        other._bring_all()
        return not files(tmp_path)

    async def scenario() -> None:
        for _ in range(20):
            await journal.take([item(1), item(2)])
            await until(is_brought)
            await until(lambda: journal._kept_bytes == 0)

    journal.start()
    run(scenario())
    journal.close()


def test_a_write_that_failed_takes_no_room(
    tmp_path: Path, control: Control, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = FeedbackJournal(tmp_path, "gateway-1", control, capacity_bytes=1_000)

    def full(_: Path) -> None:
        raise OSError(28, "full")

    async def scenario() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(feedback_journal, "_begin", full)
            for _ in range(20):
                with pytest.raises(Unavailable, match="disk"):
                    await journal.take([item(1)])
        await journal.take([item(2)])

    journal.start()
    run(scenario())
    journal.close()
    assert control.numbers == [2]


def test_a_caller_who_goes_just_as_it_is_written_harms_nobody(tmp_path: Path, control: Control, run: Run) -> None:
    journal = FeedbackJournal(tmp_path, "gateway-1", control)

    class Goes(Future[None]):
        """Is left between the question whether it was and the answer."""

        def cancelled(self) -> bool:
            was = super().cancelled()
            self.cancel()
            return was

    async def scenario() -> None:
        with journal._handed_in:
            journal._waiting.append((msgspec.json.Encoder().encode_lines([item(1)]), Goes()))
        await journal.take([item(2)])

    journal.start()
    run(scenario())
    journal.close()
    assert control.numbers == [1, 2]


def test_a_disk_that_takes_nothing_is_told(
    tmp_path: Path, control: Control, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = FeedbackJournal(tmp_path, "gateway-1", control)

    def full(_: int) -> None:
        raise OSError(28, "full")

    async def scenario() -> None:
        monkeypatch.setattr(os, "fdatasync", full)
        with pytest.raises(Unavailable, match="disk"):
            await journal.take([item(1)])
        monkeypatch.undo()
        await journal.take([item(2)])
        await until(lambda: 2 in control.numbers)

    journal.start()
    run(scenario())
    journal.close()


class Kept:
    """A journal that keeps everything in memory."""

    def __init__(self) -> None:
        self.items: list[Submitted] = []

    async def take(self, items: Sequence[Submitted]) -> None:
        self.items.extend(items)


@pytest.fixture
def kept(bench: Bench) -> Kept:
    journal = Kept()
    door = FeedbackDoor(journal, lambda: Moment(at=WALL, business_at=BUSINESS, control_away=True))
    bench.gateway = Gateway(
        [door],
        ready=lambda: True,
        state=lambda: Taken(accepted=0),
        admit=lambda token: token or "local",
        hosts=None,
        version="1.2.3",
    )
    return journal


def test_the_door_answers_for_what_is_kept_and_notes_who_said_it(bench: Bench, kept: Kept, run: Run) -> None:
    async def scenario() -> None:
        one = await bench.post("/feedback", {"prediction_id": "prd_1", "value": 1}, authorization="Bearer ana")
        assert (one.status, one.body["accepted"]) == (202, 1)
        two = [{"prediction_id": "prd_2", "value": 0.5}, {"prediction_id": "prd_3", "value": "x"}]
        assert (await bench.post("/feedback", two)).body["accepted"] == 2

    run(scenario())
    assert [(one.feedback.prediction_id, one.by) for one in kept.items] == [
        ("prd_1", "ana"),
        ("prd_2", "local"),
        ("prd_3", "local"),
    ]
    assert {(one.business_at, one.received_at) for one in kept.items} == {(BUSINESS, WALL)}


def test_one_bad_item_keeps_none(bench: Bench, kept: Kept, run: Run) -> None:
    async def scenario() -> None:
        answer = await bench.post("/feedback", [{"prediction_id": "a", "value": 1}, {"prediction_id": "b"}])
        assert answer.status == 400
        assert answer.body["error"]["where"] == "[1]"
        wrong = await bench.request("POST", "/feedback", b"a,b", {"content-type": "text/csv"})
        assert wrong.status == 415
        assert (await bench.get("/feedback")).status == 404

    run(scenario())
    assert kept.items == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "prediction_id": JSON | st.just("prd_1"),
        "value": JSON,
        "name": JSON | st.just("label"),
        "at": JSON | st.datetimes().map(lambda at: at.isoformat() + "Z"),
        "metadata": JSON,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=ITEM | st.lists(ITEM, max_size=3) | JSON | st.binary(max_size=80))
def test_no_body_is_the_gateways_fault(kept: Kept, body: Any) -> None:
    """What is accepted can be read back from the journal as it was said."""
    door = FeedbackDoor(kept, lambda: Moment(at=WALL, business_at=BUSINESS, control_away=True))
    kept.items.clear()
    content = body if isinstance(body, bytes) else _lenient(body)
    handler = door.find("POST", "/feedback")
    assert handler is not None
    headers: dict[str, str] = {}
    with suppress(InvalidInput):  # anything else fails the test
        asyncio.run(_awaited(handler(Incoming(headers, content, "", caller="ana"))))  # type: ignore[arg-type]
    for one in kept.items:
        assert msgspec.json.decode(msgspec.json.encode(one), type=Submitted) == one
        assert len(one.feedback.digest) == 64


async def _awaited(answer: Any) -> None:
    await answer


def _lenient(body: Any) -> bytes:
    import json

    return json.dumps(body).encode("utf-8", "surrogatepass")
