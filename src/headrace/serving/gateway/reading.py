"""Reads bodies in processes beside the gateway: files, which may be bombs, and all that is large.

A library that reads files may end its process, or fill all memory, on a body that somebody made for that; and a
large JSON is decoded in one go, during which the interpreter does nothing else. So both happen where nobody else
waits. A process is started for the first such body, has a bound on its memory and on its time for each, and is
replaced when it dies or has grown.
"""

import asyncio
import math
import os
import queue
import signal
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import structlog

from headrace.errors import (
    DeadlineExceeded,
    HeadraceError,
    InternalError,
    InvalidInput,
    ModelFault,
    Overloaded,
    SchemaMismatch,
    TooLarge,
    Unavailable,
)
from headrace.kernel.settings import foreign_environment
from headrace.serving.forms.inputs import Inputs, Outputs
from headrace.serving.gateway import body_reader
from headrace.serving.loading.piped import ONE_THREAD, Died, Late, Overlong, PipedProcess

log = structlog.get_logger()

LARGE_BYTES = 128 << 10
"""A body above this is read in another process, whatever it is: so long the event loop must not stand still."""
VALUES_HERE = LARGE_BYTES // 2
"""A body that holds more is read there, too: as many as a large one has, where each takes a byte and a comma."""
PROCESSES = 2
TIMEOUT_S = 10.0
"""For one body, and for a place where it can be read."""
START_TIMEOUT_S = 30.0
ANSWER_BYTES = 384 << 20
"""Of what a body is read into: `parquet_forms.UNPACKED_LIMIT_BYTES`, and where each text ends."""
HELD_BYTES = 512 << 20
"""Of what all bodies were read into that are still under way: small files may hold much."""
PROGRAM = ("-m", body_reader.__name__)
_TOLD: tuple[type[HeadraceError], ...] = (InvalidInput, SchemaMismatch, TooLarge)
_ENDED_BY_OTHERS = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
"""Arrow's other pools take a gigabyte of addresses before they need any."""


Found = TypeVar("Found")


class Reading:
    """Reads bodies.

    Args:
        processes: how many at once.
        timeout_s: for one body.
    """

    def __init__(self, *, processes: int = PROCESSES, timeout_s: float = TIMEOUT_S) -> None:
        self._threads = ThreadPoolExecutor(processes, "reading")
        self._timeout_s = timeout_s
        self._room = _Room(processes)
        self._lock = threading.RLock()  # what is released may be while the same thread holds it
        self.held_bytes = 0
        """Of rows that were read and are still held."""
        self._end = weakref.finalize(self, self._room.close)

    async def aside(self, read: Callable[[], Found], deadline_s: float = math.inf) -> Found:
        """Call what waits for `read`, and so would hold up the event loop.

        Args:
            read: what is called.
            deadline_s: by the event loop's clock.

        Raises:
            DeadlineExceeded: it was not done by then.
        """
        try:
            async with asyncio.timeout_at(None if deadline_s == math.inf else deadline_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, read)
        except TimeoutError:
            raise DeadlineExceeded(
                "the body was not read in the time that the request had",
                where="body",
                fix="Give it more time with the header X-Request-Timeout, or send fewer rows.",
            ) from None

    def read(self, reader: str, about: Any, body: bytes) -> tuple[dict[str, Any], Outputs | None]:
        """What a body holds, read in another process; not for the event loop's thread.

        Args:
            reader: the function that reads it, as `module:name`; see `body_reader.Read`.
            about: what it is told beside the body, as JSON has it.
            body: the body.

        Raises:
            InvalidInput: what the function says; or it ended its process.
            TooLarge: it takes more time or memory than there is for one.
            Unavailable: there is no process that could read it, or others ended it.
        """
        assert not _is_on_event_loop(), "a body was to be read on the event loop: everybody would wait for it"
        seat = self._room.take(self._timeout_s)
        try:
            answer, found = seat.process().ask(
                {"reader": reader, "about": about}, np.frombuffer(body, np.uint8), timeout_s=self._timeout_s
            )
            if answer.get("spent"):
                seat.end()
        except (Died, Late, Overlong, ModelFault) as problem:
            seat.end()
            how = (
                problem.how if isinstance(problem, Died) else ""
            )  # and not its last words, which may quote the body
            log.warning("a body ended the process that read it", problem=type(problem).__name__, how=how)
            raise _refused(problem, self._timeout_s) from None
        finally:
            self._room.give_back(seat)
        if "code" in answer:
            raise _told(answer)
        return answer["known"], found

    def hold(self, rows: Inputs, size_bytes: int) -> None:
        """Count rows that were read for as long as somebody holds them.

        Raises:
            Overloaded: there are too many already.
        """
        with self._lock:
            if self.held_bytes + size_bytes > HELD_BYTES:
                raise _full()
            self.held_bytes += size_bytes
        anchor = next(iter(rows.values()), None) if isinstance(rows, dict) else rows
        if anchor is not None:
            weakref.finalize(anchor, self._release, size_bytes).atexit = False
        else:
            self._release(size_bytes)

    def _release(self, size_bytes: int) -> None:
        with self._lock:
            self.held_bytes -= size_bytes

    @property
    def pids(self) -> list[int]:
        """Of the processes that wait for a body."""
        return self._room.pids

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._end()


class _Seat:
    """Where a process sits, if there is one."""

    def __init__(self) -> None:
        self._process: PipedProcess | None = None
        self.used = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def process(self) -> PipedProcess:
        """The process; it is started if there is none.

        Raises:
            Unavailable: it could not be.
        """
        self.used = True
        if self._process is None:
            self._process = _start()
        return self._process

    def stop(self) -> None:
        process = self._process
        if process is not None:
            process.stop()

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


class _Room:
    """The seats that are free; the one used last comes first, so that few processes read for few callers."""

    def __init__(self, seats: int) -> None:
        self._free: queue.LifoQueue[_Seat] = queue.LifoQueue()
        self._closed = False
        self._seats = [_Seat() for _ in range(seats)]
        for seat in self._seats:
            self._free.put(seat)

    @property
    def pids(self) -> list[int]:
        return [seat.pid for seat in self._seats if seat.pid is not None]

    def take(self, timeout_s: float) -> _Seat:
        try:
            return self._free.get(timeout=timeout_s)
        except queue.Empty:
            raise _full() from None

    def give_back(self, seat: _Seat) -> None:
        """Free a seat; one whose process has ended gets another first, so that the next caller need not wait."""
        if self._closed:
            seat.end()
        elif seat.used and seat.pid is None:
            threading.Thread(target=self._refill, args=(seat,), name="reading", daemon=True).start()
        else:
            self._free.put(seat)

    def close(self) -> None:
        """End the processes; whoever has one of them in use is told that it was ended."""
        self._closed = True
        with suppress(queue.Empty):
            while True:
                self._free.get_nowait().end()
        for seat in self._seats:
            seat.stop()

    def _refill(self, seat: _Seat) -> None:
        try:
            seat.process()
        except HeadraceError as problem:
            log.warning("a process that reads bodies could not be started", problem=str(problem))
        finally:
            self._free.put(seat)
        if self._closed:
            seat.end()


def _start() -> PipedProcess:
    command = [sys.executable, "-I", *PROGRAM, str(os.getpid())]
    environment = foreign_environment() | ONE_THREAD | _ENVIRONMENT
    process: PipedProcess | None = None
    try:
        process = PipedProcess(command, environment, Path(tempfile.gettempdir()), ANSWER_BYTES)
        process.ask({}, None, timeout_s=START_TIMEOUT_S)
    except (OSError, Died, Late, Overlong, ModelFault) as problem:
        if process is not None:
            process.end()
        raise Unavailable(
            f"no process could be started to read the body ({type(problem).__name__})", where="gateway"
        ) from problem
    return process


def _is_on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _full() -> Overloaded:
    return Overloaded(
        "more bodies are to be read than this gateway has room for",
        where="body",
        fix="Ask again after Retry-After seconds, or run more gateways.",
    )


def _refused(problem: Exception, timeout_s: float) -> HeadraceError:
    match problem:
        case Died() if problem.number in _ENDED_BY_OTHERS:
            return Unavailable("the process that read the body was ended", where="body", fix="Send it again.")
        case Died():
            reason = f"the body cannot be read: it ended the process that tried to ({problem.how})"
            return InvalidInput(reason, where="body", fix="Write the file anew, or send the rows as JSON.")
        case Late():
            reason = f"the body takes more than {timeout_s:g} seconds to read"
            return TooLarge(reason, where="body", fix="Send it in parts.")
        case Overlong():
            return TooLarge("the body unpacks to too much", where="body", fix="Send it in parts.")
    return InvalidInput("the body cannot be read: it damaged the process that tried to", where="body")


def _told(answer: dict[str, Any]) -> HeadraceError:
    """The error that a process answered with."""
    kind: Callable[..., HeadraceError] = next(
        (kind for kind in _TOLD if kind.code == answer["code"]), InternalError
    )
    place, fix = answer.get("where"), answer.get("fix")
    return kind(
        str(answer.get("message", ""))[:2_000],
        where=str(place)[:500] if place else None,
        fix=str(fix)[:500] if fix else None,
    )
