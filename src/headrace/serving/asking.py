"""Asks a version for its answers, and finds out whose fault a failure is.

While a slow version answers, whoever asks next waits in line; when it is done, one call answers all who wait. So
nobody waits for a batch to fill, and a model whose call costs more than its rows answers far more rows a second.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.serving.assignment import Assignment
from headrace.serving.forms import EntityValue
from headrace.serving.inputs import Inputs, Outputs, join, rows_of, split, take
from headrace.serving.predictor import Fault, Predictor

ISOLATED_ROWS = 1_000
"""Up to so many rows are asked again one by one to find those that a version fails on."""
TOGETHER_ROWS = 4_096
"""Rows in one call, more when a single request has more."""


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


class Asking:
    """Answers parts; used from one event loop.

    Args:
        pool: predicts what would hold up the event loop.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._lines: WeakKeyDictionary[Predictor, _Line] = WeakKeyDictionary()

    async def ask(self, part: Part) -> None:
        """Fill in a part's answers, or its faults."""
        started = time.perf_counter_ns()
        if part.predictor.inline(part.size):
            answer(part)
        else:
            line = self._lines.get(part.predictor)
            if line is None:
                line = self._lines[part.predictor] = _Line(self._pool)
            await line.ask(part)
        part.latency_us = (time.perf_counter_ns() - started) // 1000


class _Line:
    """Those who wait for one version."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._waiting: deque[tuple[Part, asyncio.Future[None]]] = deque()
        self._busy = False

    async def ask(self, part: Part) -> None:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((part, answered))
        if not self._busy:
            self._next()
        await answered

    def _next(self) -> None:
        """Hand all who wait to a thread."""
        taken = [self._waiting.popleft()]
        rows = taken[0][0].size
        while self._waiting and rows + self._waiting[0][0].size <= TOGETHER_ROWS:
            taken.append(self._waiting.popleft())
            rows += taken[-1][0].size
        self._busy = True
        asked = asyncio.get_running_loop().run_in_executor(self._pool, answer_together, [part for part, _ in taken])
        asked.add_done_callback(lambda done: self._done(taken, done))

    def _done(self, taken: list[tuple[Part, "asyncio.Future[None]"]], done: "asyncio.Future[None]") -> None:
        self._busy = False
        if self._waiting:
            self._next()
        defect = None if done.cancelled() else done.exception()
        for _, answered in taken:
            if answered.done():
                continue
            if defect is not None:
                answered.set_exception(defect)
            elif done.cancelled():
                answered.cancel()
            else:
                answered.set_result(None)


def answer_together(parts: Sequence[Part]) -> None:
    """Answer several requests by one call; when the version fails on that, each for itself."""
    if len(parts) > 1 and not any(part.params for part in parts):
        try:
            outputs = parts[0].predictor.predict(join([part.inputs for part in parts]))
        except Fault:
            pass
        else:
            for part, piece in zip(parts, split(outputs, [part.size for part in parts]), strict=True):
                part.outputs = piece
            return
    for part in parts:
        answer(part)


def answer(part: Part) -> None:
    """Answer a part; when the version fails on it, find the rows that it fails on and whose fault they are."""
    try:
        part.outputs = part.predictor.predict(part.inputs, part.params)
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
        else:
            return {}
    kinds = {}
    if 1 < len(fit) <= ISOLATED_ROWS:
        for index in fit.tolist():
            try:
                part.predictor.predict(take(part.inputs, [index]), part.params)
            except Fault as alone:
                kinds[index] = alone.kind
    return kinds or dict.fromkeys(fit.tolist(), kind)


def part_of(predictor: Predictor, assignment: Assignment, inputs: Inputs) -> Part:
    """All rows of a request for one version."""
    return Part(predictor, assignment, inputs, rows_of(inputs))
