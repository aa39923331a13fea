"""A shadow answers copies of requests, for nobody: what it answers is counted, compared, logged and thrown away.

Nothing of it is on the path of an answer. A request leaves a note in a bounded queue once it has been answered; one
note at a time is taken up, and the model is asked on a thread of its own. What a full queue cannot take is counted,
and then counts for neither version, so that both are judged on the same requests.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import msgspec
import structlog

from headrace.errors import HeadraceError, Unavailable
from headrace.serving.assignment import Assignment, Counted, bucket, challenger_buckets
from headrace.serving.forms.inputs import row_answers
from headrace.serving.gateway.asking import Part, answer, part_of
from headrace.serving.gateway.counters import Counters, Seen
from headrace.serving.loading.predictor import INVALID_OUTPUTS, Predictor
from headrace.serving.nouns import Arm, Compared, Route

log = structlog.get_logger()

CAPACITY = 1_000
"""Rows that wait for the shadow at most."""
REFUSED = "Refused"
"""Kind of fault where the shadow does not take what the champion took."""


class Note(msgspec.Struct, kw_only=True):
    """A request that was answered, and what the shadow is asked."""

    counted: Counted
    predictor: Predictor
    rows: int
    unit: str | None
    """What the caller sticks to a version by; None for rows of entities, and where there is none."""
    entities: Sequence[Any] | None
    """Entities of the rows, each a unit."""
    prepare: Callable[[Predictor], Part]
    """Makes what the shadow is asked; raises what the caller would be told."""
    answers: list[Any] | None
    """What the champion answered to each row; None when it failed."""
    keep: Callable[[Part], None]
    """Logs what the shadow answered."""


class Shadowing:
    """The shadows of one gateway; used from its event loop.

    Args:
        counters: counts what the shadows answer.
        pool: asks the models; one thread, so that shadows never take more than that.
        capacity: rows that wait at most.
    """

    def __init__(self, counters: Counters, pool: Executor, *, capacity: int = CAPACITY) -> None:
        self._counters = counters
        self._pool = pool
        self._capacity = capacity
        self._waiting: deque[Note] = deque()
        self._rows = 0
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        """Requests that were not copied because the queue was full."""

    def takes(self, route: Route, unit: str, rows: int, *, large: bool = False) -> bool:
        """Whether a request is to be copied.

        Args:
            route: of its model.
            unit: who or what it asks for.
            rows: of it.
            large: whether its body takes too long for the event loop, where a copy is read.

        What has no room, or is large, is counted as dropped.
        """
        if route.shadow is None:
            return False
        if bucket(f"{route.salt}/shadow", route.model, unit) >= challenger_buckets(route.shadow_percent):
            return False
        if large or self._rows + rows > self._capacity:
            self.dropped += 1
            return False
        return True

    def put(self, note: Note) -> None:
        """Leave a note; never waits."""
        self._waiting.append(note)
        self._rows += note.rows
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def finish(self) -> None:
        """Take up what waits; for the end of a process, and tests."""
        if self._task is not None:
            await self._task

    async def _work(self) -> None:
        while self._waiting:
            note = self._waiting.popleft()
            try:
                await self._take_up(note)
            except Exception:  # a defect here must not end the shadow, and is nobody's answer
                log.exception("a shadow could not be asked", model=note.counted.model)
            finally:
                self._rows -= note.rows

    async def _take_up(self, note: Note) -> None:
        try:
            part = note.prepare(note.predictor)
        except Unavailable:
            self.dropped += 1
            return
        except HeadraceError:  # production took it
            seen = Seen(0, note.rows, faults=note.rows)
            for unit in note.entities or [note.unit]:
                self._counters.count(note.counted, unit=None if unit is None else str(unit), seen=seen)
                seen = Seen(0, 0, faults=1)
            return
        started = time.perf_counter_ns()
        await asyncio.get_running_loop().run_in_executor(self._pool, answer, part)
        part.latency_us = (time.perf_counter_ns() - started) // 1000
        if part.away is not None:
            self.dropped += 1
            return
        note.keep(part)
        mine = None if part.outputs is None else row_answers(part.outputs)
        for unit, places in _units(note, part):
            seen = _seen(part, places)
            first = self._counters.count(note.counted, unit=unit, seen=seen)
            if first and mine is not None and note.answers is not None:
                self._counters.compare(note.counted, compare(mine[places[0]], note.answers[places[0]]))


def _units(note: Note, part: Part) -> list[tuple[str | None, Sequence[int]]]:
    unfit = set(part.unfit)
    if note.entities is None:
        places = [place for place in range(part.size) if place not in unfit]
        return [(note.unit, places)] if places else []
    return [(str(value), [place]) for place, value in enumerate(note.entities) if place not in unfit]


def _seen(part: Part, places: Sequence[int]) -> Seen:
    kinds = [part.faults[place] for place in places if place in part.faults]
    invalid = sum(kind in INVALID_OUTPUTS for kind in kinds)
    return Seen(part.latency_us, len(places), faults=len(kinds), invalid=invalid)


def shadow_part(predictor: Predictor, number: int, inputs: Any, percent: float) -> Part:
    """What a shadow is asked."""
    return part_of(predictor, Assignment(number, Arm.SHADOW, percent / 100), inputs)


def compare(shadow: Any, champion: Any) -> Compared:
    """A shadow's answer to a row beside the champion's."""
    decided, before = _decision(shadow), _decision(champion)
    flipped = int(decided is not None and before is not None and decided != before)
    if not (_is_number(shadow) and _is_number(champion)):
        return Compared(units=1, flipped=flipped)
    new, old = float(shadow), float(champion)
    return Compared(
        units=1,
        flipped=flipped,
        numbers=1,
        shadow_sum=new,
        champion_sum=old,
        shadow_squares=new * new,
        champion_squares=old * old,
        products=new * old,
        distance_sum=abs(new - old),
        distance_squares=(new - old) ** 2,
    )


def _decision(answer: Any) -> Any:
    """The class that an answer stands for; numbers that are no probability stand for none."""
    if isinstance(answer, list):
        return max(range(len(answer)), key=answer.__getitem__) if all(map(_is_number, answer)) else answer
    if isinstance(answer, float):
        return answer >= 0.5 if 0.0 <= answer <= 1.0 else None
    return answer


def _is_number(answer: Any) -> bool:
    return isinstance(answer, int | float) and not isinstance(answer, bool)
