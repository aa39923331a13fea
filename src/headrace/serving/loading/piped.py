"""A process that answers messages over its pipes, each in its time; it may die, hang, or answer too much.

What it is for, `host` and `reading` know.
"""

import fcntl
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from headrace.serving.forms.inputs import Inputs, Outputs
from headrace.serving.runtimes import wire

PIECE_BYTES = 1 << 20
READ_BYTES = 1 << 16
COMPLAINTS_LIMIT_BYTES = 1 << 20
LAST_COMPLAINT_BYTES = 4_000
LOOK_AT_PROCESS_S = 0.25
"""So often whoever waits looks whether the process lives: a child of it may hold its pipes open."""
ENDING_S = 1.0
"""So long a process that has closed its pipes may take to end by itself."""
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")}


class Died(Exception):
    """The process has ended by itself.

    Attributes:
        number: of the signal that ended it; None for none.
        how: in words.
        said: the last that it complained of.
    """

    def __init__(self, code: int | None, said: str) -> None:
        self.number = -code if code is not None and code < 0 else None
        if code is None:
            self.how = "it closed its pipes"
        else:
            self.how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        self.said = said
        super().__init__(f"{self.how}: {said}")


class Late(Exception):
    """The process did not answer in time, and is ended."""


class Overlong(Exception):
    """The answer is longer than any should be; the process is ended."""


class PipedProcess:
    """One process; used by one thread at a time.

    Args:
        command: what it runs.
        environment: all that it sees of the environment.
        folder: where it runs.
        limit_bytes: of an answer; None leaves it to `wire`.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, limit_bytes: int | None = None
    ) -> None:
        self._limit_bytes = limit_bytes
        self._complaints = _appending_file()
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
        )
        self.ended = False
        """Whether it can be asked no more."""
        self.death: Died | None = None
        """How it ended, where it did so by itself."""
        self._read_ahead = bytearray()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            _widen(pipe.fileno())

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ask(
        self, header: dict[str, Any], values: Inputs | None, *, timeout_s: float, limit_bytes: int | None = None
    ) -> tuple[dict[str, Any], Outputs | None]:
        """Send one message and wait for its answer. After an error the process is ended.

        Args:
            header: of the message.
            values: arrays that go with it.
            timeout_s: seconds for the answer.
            limit_bytes: of this answer; None leaves it to the process's own limit.

        Raises:
            Died: the process did.
            Late: it did not answer in time.
            Overlong: its answer has no end.
            ModelFault: what it answered is no message.
        """
        give_up_s = time.monotonic() + timeout_s
        pieces = wire.encode(header, values)
        left = self._limit_bytes if limit_bytes is None else limit_bytes

        def read(size: int) -> bytes | bytearray:
            nonlocal left
            if left is not None:
                left -= size
                if left < 0:
                    raise Overlong
            return self._read(size, give_up_s)

        try:
            self._write(pieces, give_up_s)
            answer = wire.decode(read)
        except BaseException:
            self.end()  # in the middle of a message there is no going on
            raise
        _keep_short(self._complaints)
        return answer

    def has_died(self) -> bool:
        """Whether the process has ended by itself, as it may between two questions. Costs next to nothing."""
        if not self.ended and self._process.poll() is not None:
            self._died()
            self.end()
        return self.ended

    def stop(self) -> None:
        """Stop the process from another thread than that which asks, whose question fails by it."""
        if self._process.poll() is None:
            self._kill()

    def end(self) -> None:
        """End the process and what it has started; it holds nothing that would have to be saved."""
        if self.ended:
            return
        self.ended = True
        self._kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what it did not read is of no use to anybody
                    pipe.close()
        self._complaints.close()

    def _kill(self) -> None:
        """The process leads a group of its own, which keeps its number as long as anybody is left in it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _write(self, pieces: Iterable[bytes | memoryview], give_up_s: float) -> None:
        assert self._process.stdin is not None
        target = self._process.stdin.fileno()
        for piece in _joined(pieces):
            left = memoryview(piece)
            while left:
                try:
                    left = left[os.write(target, left[:PIECE_BYTES]) :]
                except BlockingIOError:
                    self._wait(target, select.POLLOUT, give_up_s)
                except BrokenPipeError as error:
                    raise self._died() from error

    def _read(self, size: int, give_up_s: float) -> bytes | bytearray:
        """The next bytes; what has come beyond them is kept for the next time."""
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        ahead = self._read_ahead
        while len(ahead) < size:
            try:
                part = os.read(source, min(max(size - len(ahead), READ_BYTES), PIECE_BYTES))
            except BlockingIOError:
                self._wait(source, select.POLLIN, give_up_s)
                continue
            if not part:
                raise self._died()
            ahead += part
        if len(ahead) == size:  # all of a large array, as a rule, which need not be copied
            self._read_ahead = bytearray()
            return ahead
        with memoryview(ahead) as viewed:
            found = bytes(viewed[:size])
        del ahead[:size]
        return found

    def _wait(self, pipe: int, event: int, give_up_s: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        while True:
            left_s = max(0.0, give_up_s - time.monotonic())
            if poll.poll(min(left_s, LOOK_AT_PROCESS_S) * 1000):
                return
            if self._process.poll() is not None:
                if poll.poll(0):  # what it has said before
                    return
                raise self._died()
            if left_s <= LOOK_AT_PROCESS_S:
                raise Late

    def _died(self) -> Died:
        code: int | None = None
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(ENDING_S)
        self.death = Died(code, _last_line(self._complaints))
        return self.death


def _joined(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Small pieces together, since each write costs more than they do."""
    small: list[bytes | memoryview] = []
    for piece in pieces:
        if len(piece) < PIECE_BYTES:
            small.append(piece)
        else:
            yield b"".join(small)
            small = []
            yield piece
    yield b"".join(small)


def _widen(pipe: int) -> None:
    """A wider pipe takes large arrays in fewer turns; where there is none to be had, it works as it is."""
    with suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIECE_BYTES)


def _appending_file() -> IO[bytes]:
    """A file that two processes write to, and that may be made shorter while they do."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
    fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
    return file


def _keep_short(complaints: IO[bytes]) -> None:
    """A model may print at every question, for months."""
    if os.fstat(complaints.fileno()).st_size > COMPLAINTS_LIMIT_BYTES:
        os.ftruncate(complaints.fileno(), 0)


def _last_line(complaints: IO[bytes]) -> str:
    size = os.fstat(complaints.fileno()).st_size  # a model may have printed gigabytes
    said = os.pread(complaints.fileno(), LAST_COMPLAINT_BYTES, max(0, size - LAST_COMPLAINT_BYTES))
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:500] if lines else "it said nothing"
