"""A model host, seen from outside: a process of its own that loads one model and answers what it is asked.

It is how a worker, which loads no models, scores rows; and how a gateway answers with a model that is not of a safe
format, or whose libraries are not those of the gateway.
"""

import fcntl
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from headrace.errors import (
    HeadraceError,
    InternalError,
    InvalidInput,
    MissingExtra,
    ModelFault,
    NotServed,
    PolicyRefused,
    TooLarge,
)
from headrace.kernel.settings import foreign_environment
from headrace.serving.inputs import Array, Inputs, Outputs, rows_of
from headrace.serving.runtimes import start, wire
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Recipe

START_TIMEOUT_S = 120.0
SCORE_TIMEOUT_S = 120.0
PIECE_BYTES = 1 << 20
READ_BYTES = 1 << 16
COMPLAINTS_LIMIT_BYTES = 1 << 20
_TOLD: tuple[type[HeadraceError], ...] = (
    InternalError,
    MissingExtra,
    NotServed,
    PolicyRefused,
    TooLarge,
    ModelFault,
)
"""The errors that a host may answer with; a stranger's code must not make others."""
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")}
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True)
class HostOrder:
    """What a host is started for.

    Attributes:
        files: the model's files, each verified by the host on the bytes that it loads; or a directory of one's own.
        recipe: how they are loaded.
        python: the interpreter of the environment that has the model's libraries.
        code: folders of the directory with modules of the model's author.
        explains: whether it explains the model, at a lower priority than those that predict.
    """

    files: ModelFiles
    recipe: Recipe
    python: Path = field(default_factory=lambda: Path(sys.executable))
    code: tuple[str, ...] = ()
    explains: bool = False

    def message(self) -> dict[str, Any]:
        """The first message to the host."""
        return {
            "directory": str(self.files.directory.absolute()),
            "digests": self.files.digests,
            "recipe": self.recipe.to_json(),
            "code": self.code,
            "explains": self.explains,
        }


class HostProcess:
    """One process; used by one thread at a time.

    Args:
        order: the model.
        start_timeout_s: seconds for starting and loading.

    Raises:
        ModelFault: the process died or did not answer in time.
        HeadraceError: what loading says.
    """

    def __init__(self, order: HostOrder, *, start_timeout_s: float = START_TIMEOUT_S) -> None:
        self._where = str(order.files.directory)
        self._complaints = _appending_file()
        self._own = tempfile.TemporaryDirectory(prefix="headrace-host-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [str(order.python), "-I", str(Path(start.__file__).absolute()), str(os.getpid())],
            env=foreign_environment() | _ONE_THREAD | _QUIET | {"TMPDIR": self._own.name},
            cwd=self._own.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
        )
        self.ended = False
        self._read_ahead = bytearray()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        try:
            self.ask(order.message(), None, timeout_s=start_timeout_s)
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ask(
        self, header: dict[str, Any], values: Inputs | None, *, timeout_s: float
    ) -> tuple[dict[str, Any], Outputs | None]:
        """Send one message and wait for its answer.

        Raises:
            ModelFault: the model raised, or the process died or did not answer in time, and is ended.
            HeadraceError: what loading says.
        """
        if self.ended:
            raise ModelFault("the model host is not running", where=self._where)
        give_up_s = time.monotonic() + timeout_s
        pieces = wire.encode(header, values)
        try:
            self._write(pieces, give_up_s)
            answer, found = wire.decode(lambda size: self._read(size, give_up_s))
        except BaseException:
            self.end()  # in the middle of a message there is no going on
            raise
        _keep_short(self._complaints)
        if "code" in answer:
            raise _told(answer, self._where)
        return answer, found

    def stop(self) -> None:
        """Stop the process from another thread than that which asks, whose question fails by it."""
        self._process.kill()

    def end(self) -> None:
        """End the process; it holds nothing that would have to be saved."""
        if self.ended:
            return
        self.ended = True
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what it did not read is of no use to anybody
                    pipe.close()
        self._complaints.close()
        self._own.cleanup()

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

    def _read(self, size: int, give_up_s: float) -> bytes:
        """The next bytes; what has come beyond them is kept for the next time."""
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        while len(self._read_ahead) < size:
            try:
                part = os.read(source, min(max(size - len(self._read_ahead), READ_BYTES), PIECE_BYTES))
            except BlockingIOError:
                self._wait(source, select.POLLIN, give_up_s)
                continue
            if not part:
                raise self._died()
            self._read_ahead += part
        with memoryview(self._read_ahead) as ahead:
            found = bytes(ahead[:size])
        del self._read_ahead[:size]
        return found

    def _wait(self, pipe: int, event: int, give_up_s: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, give_up_s - time.monotonic()) * 1000):
            raise ModelFault("the model host did not answer in time", where=self._where)

    def _died(self) -> ModelFault:
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return ModelFault(
            f"the model host died ({how}): {_last_line(self._complaints)}",
            where=self._where,
            fix="The model crashed its process, or ran out of memory; try it with fewer rows.",
        )


class ModelHost:
    """A model in a process of its own for as long as a context lasts; used from one thread.

    Args:
        order: the model.
        start_timeout_s: seconds for starting and loading.
        timeout_s: seconds for one call.

    Raises:
        ModelFault: on entering or asking, when the host dies or does not answer in time.
        HeadraceError: on entering, what loading says: a file is damaged, a library is missing.
    """

    def __init__(
        self,
        order: HostOrder,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        timeout_s: float = SCORE_TIMEOUT_S,
    ) -> None:
        self._order = order
        self._start_timeout_s = start_timeout_s
        self._timeout_s = timeout_s
        self._process: HostProcess | None = None
        self.names = order.recipe.names
        """The model's input columns, in order."""

    def __enter__(self) -> Self:
        """Start the host and wait until it has loaded the model."""
        self._process = HostProcess(self._order, start_timeout_s=self._start_timeout_s)
        return self

    def __exit__(self, *_: object) -> None:
        """End the host."""
        if self._process is not None:
            self._process.end()

    def predict(self, inputs: Inputs, params: dict[str, Any] | None = None) -> Outputs:
        """The model's answers, as the model gives them.

        Raises:
            ModelFault: the model raised, died, or took too long.
        """
        _, found = self._ask({"ask": "predict", "params": params}, inputs)
        if found is None:
            raise ModelFault("the model did not answer", where=str(self._order.files.directory))
        return found

    def median_s(self, inputs: Inputs, *, calls: int, within_s: float) -> float:
        """Median seconds of a call, measured inside the host; at most `calls` of them, in about `within_s`.

        Raises:
            ModelFault: the model raised, died, or took too long.
        """
        answer, _ = self._ask({"ask": "time", "calls": calls, "within_s": within_s}, inputs)
        return float(answer["median_s"])

    def convert(self) -> tuple[dict[str, tuple[bytes, dict[str, Any]]], dict[str, str]]:
        """The model as ONNX graphs by name, with what there is to know of each; and why others could not be made.

        Raises:
            NotServed: there is no conversion for this kind of model, or the converters are not installed.
            ModelFault: the host died or took too long.
        """
        answer, graphs = self._ask({"ask": "convert"}, None)
        known = answer["known"]
        found = graphs if isinstance(graphs, dict) else {}
        return {name: (found[name].tobytes(), known[name]) for name in known}, answer["refused"]

    def score(self, features: Array, names: Sequence[str] | None = None) -> Array:
        """Finite numbers for rows of numbers, as gates and checks need them.

        Args:
            features: shape (rows, columns), NaN for null.
            names: of the columns; they are put into the model's order. None: they are in that order.

        Returns:
            Shape (rows,), or (rows, classes) for more than two classes.

        Raises:
            InvalidInput: a column of the model is missing.
            ModelFault: the model raised, answered nonsense, died, or took too long.
        """
        rows = np.ascontiguousarray(self._ordered(np.asarray(features, dtype=np.float64), names))
        if not len(rows):
            return np.empty(0)
        try:
            answers = np.asarray(self.predict(rows), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ModelFault("the model did not answer with numbers", where=self._place) from error
        if len(answers) != rows_of(rows) or not np.isfinite(answers).all():
            raise ModelFault("the model did not answer with finite values", where=self._place)
        return answers

    def time_rows(self, features: Array, names: Sequence[str] | None = None) -> Array:
        """How many seconds the model takes for each row alone, measured in the host, so without the way to it.

        Args:
            features: shape (rows, columns), NaN for null.
            names: of the columns, as in `score`.

        Raises:
            InvalidInput: a column of the model is missing.
            ModelFault: the model raised, died, or took too long for all rows together.
        """
        rows = np.ascontiguousarray(self._ordered(np.asarray(features, dtype=np.float64), names))
        _, durations_s = self._ask({"ask": "time rows"}, rows)
        return np.asarray(durations_s, dtype=np.float64)

    def require_alive(self) -> None:
        """Raise when the process has ended.

        Raises:
            ModelFault: it has.
        """
        if self._process is None or self._process.ended:
            raise ModelFault("the model host is not running", where=self._place)

    @property
    def _place(self) -> str:
        return str(self._order.files.directory)

    def _ask(self, header: dict[str, Any], values: Inputs | None) -> tuple[dict[str, Any], Outputs | None]:
        if self._process is None:
            raise ModelFault("the model host is not running", where=self._place)
        return self._process.ask(header, values, timeout_s=self._timeout_s)

    def _ordered(self, features: Array, names: Sequence[str] | None) -> Array:
        given = self.names if names is None else tuple(names)
        missing = [name for name in self.names if name not in given]
        if missing or features.ndim != 2 or features.shape[1] != len(given):
            raise InvalidInput(
                "the features do not fit the model", where=", ".join(missing) or f"shape {features.shape}"
            )
        if given == self.names:
            return features
        return features[:, [given.index(name) for name in self.names]]


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


def _told(answer: dict[str, Any], where: str) -> HeadraceError:
    """The error that a host answered with."""
    kind = next((kind for kind in _TOLD if kind.code == answer["code"]), ModelFault)
    place, fix = answer.get("where"), answer.get("fix")
    return kind(
        str(answer.get("message", ""))[:2_000],
        where=str(place)[:500] if place else where,
        fix=str(fix)[:500] if fix else None,
    )


def _appending_file() -> IO[bytes]:
    """A file that two processes write to, and that may be made shorter while they do."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the host
    fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
    return file


def _keep_short(complaints: IO[bytes]) -> None:
    """A model may print at every question, for months."""
    if os.fstat(complaints.fileno()).st_size > COMPLAINTS_LIMIT_BYTES:
        os.ftruncate(complaints.fileno(), 0)


def _last_line(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = complaints.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:500] if lines else "it said nothing"
