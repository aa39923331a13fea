"""A model host: a subprocess that loads one model and scores what it is sent, so that a worker loads none.

Frames on its standard input and output: four bytes of length, that many bytes of JSON header, then the float64
values that the header announces. The host ends when its input does, so it never outlives who started it.
"""

import argparse
import os
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

import msgspec
import numpy as np

from headrace.errors import HeadraceError, InvalidInput, ModelFault, every_error
from headrace.kernel.lifelines import die_with_parent
from headrace.kernel.settings import foreign_environment
from headrace.serving.inputs import Array
from headrace.serving.loading import LoadedModel, load, prepare_thread
from headrace.serving.model_files import ModelFiles

START_TIMEOUT_S = 60.0
SCORE_TIMEOUT_S = 120.0
_LENGTH = struct.Struct(">I")


class _Header(msgspec.Struct):
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    code: str | None = None
    """Code of an error; then there are no values."""
    message: str = ""
    where: str | None = None
    fix: str | None = None
    timed: bool = False
    """The rows are to be answered one by one, and the answer is how many seconds each took."""
    digests: dict[str, str] | None = None
    """What the files must be, sent once at the start; None trusts the directory."""


class ModelHost:
    """A model in a process of its own; use it as a context manager, from one thread.

    Args:
        files: the model's files, each verified by the host on the bytes that it loads; or a directory of one's
            own, in MLflow's format.
        start_timeout_s: seconds for starting and loading.
        timeout_s: seconds for one call of `score`.

    Raises:
        ModelFault: on entering or scoring, when the host dies or does not answer in time.
        HeadraceError: on entering, what loading says: the model is a pickle, its kind is not served.
    """

    def __init__(
        self,
        files: ModelFiles | Path,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        timeout_s: float = SCORE_TIMEOUT_S,
    ) -> None:
        self._files = files if isinstance(files, ModelFiles) else ModelFiles(files)
        self._directory = self._files.directory
        self._start_timeout_s = start_timeout_s
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None
        self.names: tuple[str, ...] = ()
        """The model's input columns, in order."""

    def __enter__(self) -> Self:
        """Start the host and wait until it has loaded the model."""
        self._complaints = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "headrace.serving.host",
                str(self._directory.absolute()),
                str(os.getpid()),
            ],
            env=foreign_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
        )
        try:
            self._send(_Header(digests=self._files.digests), b"")
            header, _ = self._receive(self._start_timeout_s)
        except BaseException:
            self._stop()
            raise
        self.names = header.names
        return self

    def __exit__(self, *_: object) -> None:
        """End the host."""
        self._stop()

    def score(self, features: Array, names: Sequence[str] | None = None) -> Array:
        """The model's answers.

        Args:
            features: shape (rows, columns), NaN for null.
            names: of the columns; they are put into the model's order. None: they are in that order.

        Returns:
            Shape (rows,), or (rows, classes) for more than two classes.

        Raises:
            InvalidInput: a column of the model is missing.
            ModelFault: the model raised, answered nonsense, died, or took too long.
        """
        rows = np.ascontiguousarray(self._ordered(np.asarray(features, dtype="<f8"), names))
        if not len(rows):
            return np.empty(0)
        self._send(_Header(shape=rows.shape), rows.tobytes())
        header, values = self._receive(self._timeout_s)
        answers = np.frombuffer(values, dtype="<f8").reshape(header.shape).copy()
        if len(answers) != len(rows) or not np.isfinite(answers).all():
            raise ModelFault("the model did not answer with finite values", where=str(self._directory))
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
        rows = np.ascontiguousarray(self._ordered(np.asarray(features, dtype="<f8"), names))
        self._send(_Header(shape=rows.shape, timed=True), rows.tobytes())
        header, values = self._receive(self._timeout_s)
        return np.frombuffer(values, dtype="<f8").reshape(header.shape).copy()

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

    def _send(self, header: _Header, values: bytes) -> None:
        try:
            _write(_pipe(self._running().stdin), header, values)
        except (BrokenPipeError, ValueError) as error:
            raise self._died() from error

    def _receive(self, timeout_s: float) -> tuple[_Header, bytes]:
        give_up_s = time.monotonic() + timeout_s
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, give_up_s))
        header = msgspec.json.decode(self._read(length, give_up_s), type=_Header)
        if header.code is not None:
            kind = every_error().get(header.code, ModelFault)
            raise kind(header.message, where=header.where, fix=header.fix)
        return header, self._read(_size_bytes(header), give_up_s)

    def _read(self, size: int, give_up_s: float) -> bytes:
        source = _pipe(self._running().stdout).fileno()
        parts = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            while len(parts) < size:
                if not selector.select(max(0.0, give_up_s - time.monotonic())):
                    self._stop()
                    raise ModelFault("the model host did not answer in time", where=str(self._directory))
                part = os.read(source, size - len(parts))
                if not part:
                    raise self._died()
                parts += part
        return bytes(parts)

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise ModelFault("the model host is not running", where=str(self._directory))
        return self._process

    def _died(self) -> ModelFault:
        code = self._running().wait()
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return ModelFault(
            f"the model host died ({how}): {self._last_complaint()}",
            where=str(self._directory),
            fix="The model crashed its process, or ran out of memory; try it with fewer rows.",
        )

    def _last_complaint(self) -> str:
        if self._complaints is None:
            return ""
        self._complaints.seek(0)
        lines = self._complaints.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:500] if lines else "it said nothing"

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it holds nothing that would have to be saved
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None


def serve(directory: Path, source: IO[bytes], target: IO[bytes]) -> None:
    """The host's loop: load, say so, then score frame by frame until the input ends."""
    prepare_thread()
    wanted = msgspec.json.decode(source.read(_LENGTH.unpack(source.read(_LENGTH.size))[0]), type=_Header)
    try:
        model = load(ModelFiles(directory, wanted.digests))
    except HeadraceError as problem:
        _write(
            target,
            _Header(code=problem.code, message=problem.message, where=problem.where, fix=problem.fix),
            b"",
        )
        return
    _write(target, _Header(shape=(0,), names=model.signature.names), b"")
    while (start := source.read(_LENGTH.size)) and len(start) == _LENGTH.size:
        header = msgspec.json.decode(source.read(_LENGTH.unpack(start)[0]), type=_Header)
        rows = np.frombuffer(source.read(_size_bytes(header)), dtype="<f8").reshape(header.shape)
        try:
            found = _durations_s(model, rows) if header.timed else model.predict(rows)
            answers = np.ascontiguousarray(found, dtype="<f8")
        except Exception as error:  # noqa: BLE001 - the boundary around the model
            fault = _Header(
                code=ModelFault.code,
                message=f"the model raised {type(error).__name__}: {error}"[:2000],
                where=str(directory),
            )
            _write(target, fault, b"")
        else:
            _write(target, _Header(shape=answers.shape), answers.tobytes())


def _durations_s(model: LoadedModel, rows: Array) -> Array:
    durations_s = np.empty(len(rows))
    for place in range(len(rows)):
        started_s = time.perf_counter()
        model.predict(rows[place : place + 1])
        durations_s[place] = time.perf_counter() - started_s
    return durations_s


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ModelFault("the model host has no pipes")
    return pipe


def _write(target: IO[bytes], header: _Header, values: bytes) -> None:
    encoded = msgspec.json.encode(header)
    target.write(_LENGTH.pack(len(encoded)) + encoded)
    target.write(values)
    target.flush()


def _size_bytes(header: _Header) -> int:
    return 8 * int(np.prod(header.shape, dtype=np.int64)) if header.shape else 0


def _main() -> None:
    parser = argparse.ArgumentParser(prog="headrace.serving.host", description="Score rows with one model.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("parent", type=int, help="process id of who starts it; the host ends with it")
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    frames = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a model prints must not land among the frames
    serve(arguments.directory, sys.stdin.buffer, frames)


if __name__ == "__main__":
    _main()
