"""Explains predictions beside their way: in a process of its own for each model, behind a short line.

A model is explained in its registered form, in a process that stands behind those that predict, so that a
prediction never waits for an explanation: they share neither an interpreter nor a line. A process is started when a
version is first explained, and ends with the version, when others need the room, or after some quiet minutes.
"""

import asyncio
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from headrace.errors import DeadlineExceeded, HeadraceError, InvalidInput, ModelFault, NotServed, Overloaded
from headrace.serving.forms.inputs import Inputs, Outputs, rows_of, take
from headrace.serving.gateway.background import NO_BACKGROUND, background_of
from headrace.serving.gateway.effort import Effort
from headrace.serving.loading.host import START_TIMEOUT_S, HostProcess
from headrace.serving.loading.loader import Arrangement
from headrace.serving.loading.parity import compare
from headrace.serving.loading.predictor import Predictor
from headrace.serving.nouns import ServedVersion

MODELS = 4
"""So many are held ready to be explained."""
WAITING = 8
"""Requests that wait for one model at most."""
IDLE_S = 600.0
LONGEST_S = 30.0
"""Of one explanation, whatever time its request has: others wait behind it."""
SHARE = 0.8
"""Of a request's time that sampling may take; the rest is for the way there and back."""
PREPARATION_S = 2.0
"""So long the explanation may take by which a process prepares itself, that of its model's own way not counted."""
LONGEST_RETRY_S = 60


class Explained(NamedTuple):
    """What the answers to some rows are made of; one item a row in each array.

    Attributes:
        labels: of the model's classes or outputs.
        chosen: place of the label that is explained.
        base: where the contributions start from.
        contributions: shape (rows, features).
        errors: standard errors of them; None where they are exact.
        scale: on which they add up.
        method: how they were computed.
        native: what the registered form answers, where that differs from what was served.
    """

    labels: list[Any]
    chosen: Any
    base: Any
    contributions: Any
    errors: Any
    scale: str
    method: dict[str, Any]
    native: dict[int, Any]


class Explaining:
    """Explains; used from one event loop.

    Args:
        arrange: how a version's registered form is loaded.
        models: how many are held ready.
        waiting: requests that wait for one of them at most.
        idle_s: how long a process waits for the next question.
    """

    def __init__(
        self,
        arrange: Callable[[ServedVersion], Arrangement],
        *,
        models: int = MODELS,
        waiting: int = WAITING,
        idle_s: float = IDLE_S,
    ) -> None:
        self._arrange = arrange
        self._models = models
        self._waiting = waiting
        self._idle_s = idle_s
        self._lanes: weakref.WeakKeyDictionary[Predictor, _Lane] = weakref.WeakKeyDictionary()
        self._coming: weakref.WeakKeyDictionary[Predictor, int] = weakref.WeakKeyDictionary()

    @contextmanager
    def place(self, predictor: Predictor) -> Iterator[None]:
        """A place in the line for a request that is being answered, so that none is that would not be explained.

        Raises:
            Overloaded: the line is full.
        """
        self._require_room(predictor)
        self._coming[predictor] = self._coming.get(predictor, 0) + 1
        try:
            yield
        finally:
            self._coming[predictor] -= 1

    def _require_room(self, predictor: Predictor) -> None:
        lane, coming = self._lanes.get(predictor), self._coming.get(predictor, 0)
        waiting = coming + (0 if lane is None else lane.waiting)
        if waiting >= self._waiting:
            wait_s = 0.0 if lane is None else lane.effort.expected_s(lane.rows + coming, waiting)
            raise _turned_away(predictor, wait_s)
        if lane is None and self._full() and not self._idle():
            raise _turned_away(predictor, 1.0)

    async def explain(
        self,
        predictor: Predictor,
        inputs: Inputs,
        outputs: Outputs,
        *,
        params: dict[str, Any] | None,
        output: str | None,
        deadline_s: float,
    ) -> Explained:
        """What the answers of a version are made of.

        Args:
            predictor: the version.
            inputs: the rows.
            outputs: what was answered to them.
            params: of the request.
            output: label of the class or output that is explained; None leaves it to the model.
            deadline_s: by the event loop's clock.

        Raises:
            Overloaded: the line is full.
            DeadlineExceeded: it was not done in time.
            InvalidInput: there is no such output.
            NotServed: the model cannot be explained; the message says why and what to do.
            ModelFault: the model failed.
        """
        self._require_room(predictor)
        lane = self._lane(predictor)
        loop = asyncio.get_running_loop()
        rows = rows_of(inputs)
        until_s = time.monotonic() + deadline_s - loop.time()
        lane.enter(rows)
        caller = _Caller(until_s)
        asked = lane.thread.submit(lane.explain, inputs, outputs, params, output, caller)

        def left(_: object) -> None:
            with suppress(RuntimeError):  # the event loop has ended meanwhile
                loop.call_soon_threadsafe(lane.leave, rows, loop, self._idle_s)

        asked.add_done_callback(left)  # the thread may go on for a moment after its caller has gone
        try:
            async with asyncio.timeout_at(deadline_s):
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            raise _late(predictor) from None
        except asyncio.CancelledError:
            lane.abandon(caller)
            raise

    def close(self) -> None:
        """End all processes."""
        for lane in list(self._lanes.values()):
            lane.close()

    @property
    def pids(self) -> list[int]:
        """Of the processes that run."""
        return [lane.host.process.pid for lane in self._lanes.values() if lane.host.process is not None]

    def _lane(self, predictor: Predictor) -> "_Lane":
        lane = self._lanes.get(predictor)
        if lane is None:
            if self._full():
                oldest = min(self._idle(), key=lambda each: self._lanes[each].used_s)
                self._lanes.pop(oldest).close()
            lane = self._lanes[predictor] = _Lane(predictor, self._arrange)
        return lane

    def _full(self) -> bool:
        return len(self._lanes) >= self._models

    def _idle(self) -> list[Predictor]:
        return [predictor for predictor, lane in self._lanes.items() if not lane.waiting]


class _Host:
    """The process of a lane, which others may end."""

    def __init__(self) -> None:
        self.process: HostProcess | None = None

    def end(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.end()


class _Caller:
    """Who waits for an explanation, and until when, by the monotonic clock."""

    def __init__(self, until_s: float) -> None:
        self.until_s = until_s
        self.gone = False


class _Lane:
    """One version's line, its thread and its process."""

    def __init__(self, predictor: Predictor, arrange: Callable[[ServedVersion], Arrangement]) -> None:
        self.host = _Host()
        self.thread = ThreadPoolExecutor(1, "explainer")
        self.effort = Effort()
        self.waiting = 0
        self.rows = 0
        self.used_s = time.monotonic()
        self._arrange = arrange
        self._version = predictor.version
        self._converted = predictor.runtime == "onnx" and predictor.version.loading.converted is not None
        self._timer: asyncio.TimerHandle | None = None
        self._lock = threading.Lock()
        self._caller: _Caller | None = None  # whose question the thread is at
        self._stopped = False
        self._end = weakref.finalize(self, _end, self.host, self.thread)

    def enter(self, rows: int) -> None:
        self.waiting += 1
        self.rows += rows
        if self._timer is not None:
            self._timer.cancel()

    def leave(self, rows: int, loop: asyncio.AbstractEventLoop, idle_s: float) -> None:
        """One is done; when nobody asks for a while, the process ends."""
        self.waiting -= 1
        self.rows -= rows
        self.used_s = time.monotonic()
        if not self.waiting:
            self._timer = loop.call_later(idle_s, _rest, self.host, self.thread)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._end()

    def abandon(self, caller: _Caller) -> None:
        """Nobody waits for this any more: what is computed for it would only hold up the others."""
        caller.gone = True
        with self._lock:
            if self._caller is caller and self.host.process is not None:
                self.host.process.stop()
                self._stopped = True

    @contextmanager
    def _for(self, caller: _Caller) -> Iterator[None]:
        """The thread is at the question of this caller, who may have it stopped."""
        with self._lock:
            self._caller = caller
        try:
            yield
        finally:
            with self._lock:
                self._caller = None
                stopped, self._stopped = self._stopped, False
            if stopped:
                self.host.end()

    def explain(
        self, inputs: Inputs, outputs: Outputs, params: dict[str, Any] | None, output: str | None, caller: _Caller
    ) -> Explained:
        """On the lane's thread."""
        if time.monotonic() >= caller.until_s:  # whoever asked has gone
            raise _late_version(self._version)
        process = self.host.process
        if process is None or process.ended:
            process = self.host.process = self._start(inputs)
        with self._for(caller):
            return self._ask(process, inputs, outputs, params, output, caller)

    def _ask(
        self,
        process: HostProcess,
        inputs: Inputs,
        outputs: Outputs,
        params: dict[str, Any] | None,
        output: str | None,
        caller: _Caller,
    ) -> Explained:
        began_s = time.monotonic()
        until_s = min(caller.until_s, began_s + LONGEST_S)
        left_s = until_s - began_s
        if left_s <= 0 or caller.gone:
            raise _late_version(self._version)
        header = {
            "ask": "explain",
            "params": params,
            "output": output,
            "within_s": SHARE * left_s,
            "told": self._converted,
        }
        try:
            known, arrays = process.ask(header, inputs, timeout_s=left_s)
            told: Outputs | None = arrays.pop("told", None) if isinstance(arrays, dict) else None
            if self._converted and told is None:
                told = self._asked_again(process, inputs, params, until_s)
        except ModelFault:
            if process.ended and time.monotonic() >= until_s:
                raise _late_version(self._version) from None
            raise
        found = self._checked(known, arrays, rows_of(inputs), _differing(told, outputs))
        self.effort.learn(rows_of(inputs), time.monotonic() - began_s)
        return found

    def _start(self, inputs: Inputs) -> HostProcess:
        """A process that is prepared, however little time its first caller has: the next ones find it ready."""
        arrangement = self._arrange(self._version)
        background = background_of(arrangement.order.files, arrangement.signature)
        process = HostProcess(replace(arrangement.order, explains=True), start_timeout_s=START_TIMEOUT_S)
        try:
            if background is not None:
                process.ask({"ask": "background"}, background, timeout_s=START_TIMEOUT_S)
            self._prepare(process, take(inputs if background is None else background, [0]))
        except BaseException:
            process.end()
            raise
        return process

    def _prepare(self, process: HostProcess, row: Inputs) -> None:
        """Have one row explained, which makes what all explanations use; what it says is said again to callers."""
        header = {"ask": "explain", "params": None, "output": None, "within_s": PREPARATION_S}
        try:
            process.ask(header, row, timeout_s=START_TIMEOUT_S)
        except HeadraceError:
            if process.ended:
                raise

    def _asked_again(
        self, process: HostProcess, inputs: Inputs, params: dict[str, Any] | None, until_s: float
    ) -> Outputs | None:
        """What the registered form answers to callers."""
        header = {"ask": "predict", "params": params}
        return process.ask(header, inputs, timeout_s=max(0.01, until_s - time.monotonic()))[1]

    def _checked(
        self, known: dict[str, Any], arrays: Outputs | None, rows: int, native: dict[int, Any]
    ) -> Explained:
        """What a host sends is a stranger's."""
        where = f"version/{self._version.model}/{self._version.number}"
        refused = known.get("refused")
        if refused == "background":
            raise NotServed(
                "the version has no rows that its answers can be compared with", where=where, fix=NO_BACKGROUND
            )
        if refused == "time":
            raise _late_version(self._version)
        if refused == "output":
            labels = ", ".join(str(label) for label in list(known.get("labels", ()))[:20])[:400]
            raise InvalidInput("the model has no such output", where="output", fix=f"Name one of: {labels}.")
        try:
            assert isinstance(arrays, dict)
            contributions = np.asarray(arrays["contributions"], dtype=np.float64)
            errors = arrays.get("errors")
            found = Explained(
                labels=list(known["labels"]),
                chosen=[int(place) for place in arrays["chosen"]],
                base=np.asarray(arrays["base"], dtype=np.float64),
                contributions=contributions,
                errors=None if errors is None else np.asarray(errors, dtype=np.float64),
                scale=str(known["scale"]),
                method=dict(known["method"]),
                native=native,
            )
            fits = (
                contributions.ndim == 2 and contributions.shape[0] == len(found.base) == len(found.chosen) == rows
            )
            fits = fits and (found.errors is None or found.errors.shape == contributions.shape)
            fits = fits and all(0 <= place < len(found.labels) for place in found.chosen)
        except (AssertionError, KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise ModelFault("the model was not explained by what fits its rows", where=where)
        if not (np.isfinite(found.contributions).all() and np.isfinite(found.base).all()):
            raise ModelFault(
                "an answer that is compared with is not finite",
                where=where,
                fix="Log the model with an input example that it can answer.",
            )
        return found


def _differing(native: Outputs | None, outputs: Outputs) -> dict[int, Any]:
    """What the registered form answers, by row, where the faster one that is served answered otherwise."""
    if native is None or isinstance(native, dict) or isinstance(outputs, dict):
        return {}
    if np.shape(native)[:1] != np.shape(outputs)[:1]:
        return {}
    differing = {}
    for row in range(len(native)):
        found = compare(native[row : row + 1], outputs[row : row + 1], classes=False)
        if found.beyond or found.flips:
            differing[row] = native[row].tolist()
    return differing


def _end(host: _Host, thread: ThreadPoolExecutor) -> None:
    thread.shutdown(wait=False, cancel_futures=True)
    host.end()


def _rest(host: _Host, thread: ThreadPoolExecutor) -> None:
    """The thread ends the process, so that it is not asking just then."""
    with suppress(RuntimeError):  # it was ended before
        thread.submit(host.end)


def _turned_away(predictor: Predictor, wait_s: float) -> Overloaded:
    version = predictor.version
    refusal = Overloaded(
        "more explanations are asked for than can be given in time",
        where=f"version/{version.model}/{version.number}",
        fix="Ask again after Retry-After seconds; predictions are not held up by this.",
    )
    refusal.retry_after_s = min(LONGEST_RETRY_S, max(1, math.ceil(wait_s)))
    return refusal


def _late(predictor: Predictor) -> DeadlineExceeded:
    return _late_version(predictor.version)


def _late_version(version: ServedVersion) -> DeadlineExceeded:
    return DeadlineExceeded(
        "the answers were not explained in the time that the request had",
        where=f"version/{version.model}/{version.number}",
        fix=f"Send fewer rows, or give it more time with X-Request-Timeout: up to {LONGEST_S:g} s are used.",
    )
