"""Asks a version for its answers, and finds out whose fault a failure is.

While a slow version answers, whoever asks next waits in line; when it is done, one call answers all who wait. So
nobody waits for a batch to fill, and a model whose call costs more than its rows answers far more rows a second.
A quick version answers on the event loop; of it, those who ask within one turn of the loop are answered together.

A line is bounded. Who would wait in it longer than the request has time is turned away at once, so that a line that
cannot keep up answers those whom it can; whoever's time is over leaves it unanswered. Each version has a thread of
its own, so one that hangs holds up nobody else.
"""

import asyncio
import math
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.errors import DeadlineExceeded, Overloaded
from headrace.serving.assignment import Assignment
from headrace.serving.forms.inputs import Inputs, Outputs, join, kinds, rows_of, split, take
from headrace.serving.forms.json_forms import EntityValue
from headrace.serving.gateway.effort import Effort
from headrace.serving.loading.predictor import Fault, Predictor

ISOLATED_ROWS = 1_000
"""Up to so many rows are asked again one by one to find those that a version fails on."""
TOGETHER_ROWS = 4_096
"""Rows in one call, more when a single request has more."""
LINE_ROWS = 50_000
"""Rows that wait for one version at most."""
ALL_ROWS = 200_000
"""Rows that wait for all versions together at most."""
DEFAULT = "default"
"""What answers when no version does."""
RESTART_PATIENCE_S = 10.0
"""So long whoever asks while a process is being started again waits for it; callers keep their time."""
LONGEST_RETRY_S = 60
"""Nobody is told to stay away for longer."""


class Part(msgspec.Struct):
    """The rows of a request that one version answers."""

    predictor: Predictor
    assignment: Assignment
    inputs: Inputs
    size: int
    """How many rows."""
    params: dict[str, Any] | None = None
    """What the caller gave beside the rows."""
    places: list[int] | None = None
    """Their places in the request; None for all of its rows."""
    entities: list[EntityValue] | None = None
    outputs: Outputs | None = None
    """None when the version failed."""
    faults: dict[int, str] = {}
    """Kind of fault by index into the rows."""
    unfit: list[int] = []
    """Indexes of the rows that the version could not answer, and need not by its signature."""
    latency_us: int = 0
    away: Overloaded | None = None
    """Why the version was not asked: its process was being started again for longer than anybody waits."""
    begun: bool = False
    """Whether the version was asked, and not only waited for, as it is while its process is started again."""
    fallback: str | None = None
    """`champion`, `previous` or `default`: what answers in the place of the version that should have."""


class Asking:
    """Answers parts; used from one event loop.

    Args:
        prepare: called on each thread that predicts, before it does.
        line_rows: rows that wait for one version at most.
        all_rows: rows that wait for all versions together at most.
        crowded: whether others ask at the same time. Then even a quick version, which answers on the event loop,
            answers all that ask it in one turn of the loop by one call; else nobody waits for a turn to end.
    """

    def __init__(
        self,
        prepare: Callable[[], None] = lambda: None,
        *,
        line_rows: int = LINE_ROWS,
        all_rows: int = ALL_ROWS,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._prepare = prepare
        self._crowded = crowded
        self._gathered: dict[Predictor, _Gathered] = {}
        self._room = _Room(line_rows, all_rows)
        self._lines: weakref.WeakKeyDictionary[Predictor, _Line] = weakref.WeakKeyDictionary()

    @property
    def rows_waiting(self) -> int:
        """Rows that wait in all lines."""
        return self._room.taken

    async def ask(self, part: Part, deadline_s: float = math.inf) -> None:
        """Fill in a part's answers, or its faults.

        Args:
            part: what is asked.
            deadline_s: by the event loop's clock.

        Raises:
            Overloaded: it would not be answered in time; nothing was asked.
            DeadlineExceeded: it was not; `part.begun` says whether the version was asked.
        """
        started = time.perf_counter_ns()
        if part.predictor.inline(part.size):
            if self._crowded():
                await self._gather(part)
            else:
                answer(part)
            part.latency_us = (time.perf_counter_ns() - started) // 1000
            return
        line = self._lines.get(part.predictor)
        if line is None:
            line = self._lines[part.predictor] = _Line(self._prepare, self._room)
        try:
            await line.ask(part, deadline_s)
        finally:
            part.latency_us = (time.perf_counter_ns() - started) // 1000
        if part.away is not None:
            part.begun = False
            raise part.away

    def _gather(self, part: Part) -> "asyncio.Future[None]":
        """Have a quick version answer in the next turn of the event loop, with all that ask it in this one."""
        loop = asyncio.get_running_loop()
        predictor = part.predictor
        gathered = self._gathered.get(predictor)
        if gathered is None or not predictor.inline(gathered.rows + part.size):
            gathered = self._gathered[predictor] = _Gathered([], 0)
            loop.call_soon(self._answer_gathered, predictor, gathered)
        waiting = _Waiting(part, loop.create_future())
        gathered.waiting.append(waiting)
        gathered.rows += part.size
        return waiting.answered

    def _answer_gathered(self, predictor: Predictor, gathered: "_Gathered") -> None:
        if self._gathered.get(predictor) is gathered:
            del self._gathered[predictor]
        parts = [waiting.part for waiting in gathered.waiting]
        defect: Exception | None = None
        try:
            answer_together(parts)
        except Exception as error:  # noqa: BLE001 - a defect of ours; whoever waits is told
            defect = error
        _tell(gathered.waiting, defect)


@dataclass(slots=True)
class _Room:
    """How many rows may wait, and do."""

    line_rows: int
    all_rows: int
    taken: int = 0


class _Waiting:
    """One request that waits or is being answered."""

    __slots__ = ("answered", "part", "taken", "timer")

    def __init__(self, part: Part, answered: "asyncio.Future[None]") -> None:
        self.part = part
        self.answered = answered
        self.taken = False
        """Whether the thread has it, and the line no more."""
        self.timer: asyncio.TimerHandle | None = None

    def expire(self) -> None:
        if not self.answered.done():
            self.answered.set_exception(_expired(self.part))


@dataclass(slots=True)
class _Gathered:
    """Those who asked a quick version in one turn of the event loop."""

    waiting: list[_Waiting]
    rows: int


class _Line:
    """Those who wait for one version, and the thread that asks it."""

    def __init__(self, prepare: Callable[[], None], room: _Room) -> None:
        self._room = room
        self._waiting: deque[_Waiting] = deque()
        self._rows = 0
        self._effort = Effort()
        self._busy = False
        self._began_s = 0.0
        self._expected_s = 0.0
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        # Daemons: a model that never returns must not keep the process from ending.
        threading.Thread(target=_work, args=(self._orders, prepare), name="predictor", daemon=True).start()
        weakref.finalize(self, self._orders.put, None)

    async def ask(self, part: Part, deadline_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._busy:
            self._require_room(part, loop.time(), deadline_s)
        waiting = _Waiting(part, loop.create_future())
        self._waiting.append(waiting)
        self._change(part.size)
        if deadline_s < math.inf:
            waiting.timer = loop.call_at(deadline_s, waiting.expire)
        if not self._busy:
            self._next(loop)
        try:
            await waiting.answered
        finally:
            if waiting.timer is not None:
                waiting.timer.cancel()
            if not waiting.taken:  # its time is over, or its caller gone: its rows leave the line
                self._waiting.remove(waiting)
                self._change(-part.size)

    def _require_room(self, part: Part, now_s: float, deadline_s: float) -> None:
        wait_s = self._wait_s(now_s, part.size)
        full = self._rows + part.size > self._room.line_rows or self._room.taken + part.size > self._room.all_rows
        if (full and self._waiting) or now_s + wait_s > deadline_s:
            raise _turned_away(part, wait_s)

    def _wait_s(self, now_s: float, rows: int) -> float:
        """How long so many rows would wait for their answer. A call that is late is taken to be so once more."""
        remaining_s = abs(self._began_s + self._expected_s - now_s)
        ahead = self._rows + rows
        return remaining_s + self._effort.expected_s(ahead, calls=-(-ahead // TOGETHER_ROWS))

    def _change(self, rows: int) -> None:
        self._rows += rows
        self._room.taken += rows

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand all who wait to the thread."""
        taken = [self._waiting.popleft()]
        rows = taken[0].part.size
        while self._waiting and rows + self._waiting[0].part.size <= TOGETHER_ROWS:
            taken.append(self._waiting.popleft())
            rows += taken[-1].part.size
        self._change(-rows)
        for waiting in taken:
            waiting.taken = True
        self._busy = True
        self._began_s = loop.time()
        self._expected_s = self._effort.expected_s(rows)

        order = _Order([waiting.part for waiting in taken])

        def done(defect: Exception | None) -> None:
            self._busy = False
            if not order.waited:
                self._effort.learn(rows, loop.time() - self._began_s)
            self._done(taken, defect, loop)

        order.tell = lambda defect: loop.call_soon_threadsafe(done, defect)
        self._orders.put(order)

    def _done(self, taken: list[_Waiting], defect: Exception | None, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting:
            self._next(loop)
        _tell(taken, defect)


def _tell(waiting: Sequence[_Waiting], defect: Exception | None) -> None:
    """Wake those who wait, unless their time is over or their caller gone."""
    for each in waiting:
        if each.answered.done():
            continue
        if defect is not None:
            each.answered.set_exception(defect)
        else:
            each.answered.set_result(None)


@dataclass(slots=True)
class _Order:
    """What the thread is to ask, and whom it tells."""

    parts: list[Part]
    tell: Callable[[Exception | None], object] = lambda _: None
    waited: bool = False
    """Whether the version's process had to be started again first, so that the time says nothing of the rows."""


def _work(orders: "queue.SimpleQueue[_Order | None]", prepare: Callable[[], None]) -> None:
    """What the thread of a line does, until nobody holds the line any more."""
    prepare()
    while (order := orders.get()) is not None:
        defect: Exception | None = None
        try:
            patient_until_s = time.monotonic() + RESTART_PATIENCE_S
            order.waited = _await_process(order.parts[0].predictor, patient_until_s)
            answer_together(order.parts, patient_until_s)
        except Exception as error:  # noqa: BLE001 - a defect of ours; whoever waits is told
            defect = error
        try:
            order.tell(defect)
        except RuntimeError:  # the event loop has ended meanwhile, and everybody with it
            return
        del order, defect  # an idle thread keeps no version alive


def _await_process(predictor: Predictor, until_s: float) -> bool:
    """Whether its process was being started again: who has asked need not come again, and it was no fault."""
    if predictor.await_ready(0.0):
        return False
    predictor.await_ready(max(0.0, until_s - time.monotonic()))
    return True


def _turned_away(part: Part, wait_s: float) -> Overloaded:
    version = part.predictor.version
    refusal = Overloaded(
        "more is asked of the model than it can answer in time",
        where=f"version/{version.model}/{version.number}",
        fix="Ask again after Retry-After seconds, give the request more time, or run more gateways.",
    )
    refusal.retry_after_s = min(LONGEST_RETRY_S, max(1, math.ceil(wait_s)))
    return refusal


def _expired(part: Part) -> DeadlineExceeded:
    version = part.predictor.version
    return DeadlineExceeded(
        "the model did not answer in the time that the request had",
        where=f"version/{version.model}/{version.number}",
        fix="Give it more time with the header X-Request-Timeout, or send fewer rows.",
    )


def answer_together(parts: Sequence[Part], patient_until_s: float | None = None) -> None:
    """Answer several requests by one call; when the version fails on that, each for itself.

    Those whose columns have other types are asked for apart: nobody's answer depends on who asks beside him.

    Args:
        parts: the requests.
        patient_until_s: so long, by the monotonic clock, all together wait for a process that is being started
            again; None begins with the call.
    """
    if patient_until_s is None:
        patient_until_s = time.monotonic() + RESTART_PATIENCE_S
    if len(parts) > 1 and not any(part.params for part in parts):
        alike: dict[tuple[Any, ...], list[Part]] = {}
        for part in parts:
            alike.setdefault(kinds(part.inputs), []).append(part)
        for group in alike.values():
            _answer_alike(group, patient_until_s)
        return
    for part in parts:
        answer(part)


def _answer_alike(parts: Sequence[Part], patient_until_s: float) -> None:
    """Answer by one call; when the version fails on that, each for itself."""
    if len(parts) > 1:
        for part in parts:
            part.begun = True
        try:
            outputs = parts[0].predictor.predict(join([part.inputs for part in parts]))
        except (Fault, Overloaded):
            pass
        else:
            for part, piece in zip(parts, split(outputs, [part.size for part in parts]), strict=True):
                part.outputs = piece
            return
        for part in parts:  # one of them may have ended the model's process, which is no fault on the others' rows
            part.begun = False
    for part in parts:
        if len(parts) > 1:
            part.predictor.await_ready(max(0.0, patient_until_s - time.monotonic()))
        answer(part)


def answer(part: Part) -> None:
    """Answer a part; when the version fails on it, find the rows that it fails on and whose fault they are."""
    part.begun = True
    try:
        part.outputs = part.predictor.predict(part.inputs, part.params)
    except Overloaded as away:
        part.away = away
    except Fault as fault:
        part.unfit = part.predictor.unfit(part.inputs)
        fit = np.setdiff1d(np.arange(part.size), part.unfit)
        part.faults = _faults(part, fit, fault.kind)


def _faults(part: Part, fit: npt.NDArray[np.intp], kind: str) -> dict[int, str]:
    """Kinds of fault by index, of those rows that the signature lets the caller send."""
    if part.unfit:
        try:
            if len(fit):
                part.predictor.predict(take(part.inputs, fit), part.params)
        except Fault as fault:
            kind = fault.kind
        except Overloaded:  # the first call has ended the process
            pass
        else:
            return {}
    kinds = {}
    if 1 < len(fit) <= ISOLATED_ROWS:
        for index in fit.tolist():
            try:
                part.predictor.predict(take(part.inputs, [index]), part.params)
            except Fault as alone:
                kinds[index] = alone.kind
            except Overloaded:  # the process has ended, and no row is to end one after another
                return dict.fromkeys(fit.tolist(), kind)
    return kinds or dict.fromkeys(fit.tolist(), kind)


def part_of(predictor: Predictor, assignment: Assignment, inputs: Inputs) -> Part:
    """All rows of a request for one version."""
    return Part(predictor, assignment, inputs, rows_of(inputs))
