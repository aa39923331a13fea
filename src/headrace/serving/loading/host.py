"""A model host, seen from outside: a process of its own that loads one model and answers what it is asked.

It is how a worker, which loads no models, scores rows; and how a gateway answers with a model that is not of a safe
format, or whose libraries are not those of the gateway.
"""

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

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
from headrace.serving.forms.inputs import Array, Inputs, Outputs, rows_of
from headrace.serving.loading.piped import ONE_THREAD, Died, Late, Overlong, PipedProcess
from headrace.serving.runtimes import start
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Recipe

START_TIMEOUT_S = 120.0
SCORE_TIMEOUT_S = 120.0
ANSWER_BYTES = 1 << 30
"""Of an answer, whatever was asked."""
FEW_BYTES = 64 << 20
ROW_BYTES = 1 << 20
"""An answer to rows has so many for each, and `FEW_BYTES` beside them."""
NEW_S = 60.0
"""A folder that is younger may not be locked yet."""
_PREFIX = "headrace-hosting-"
_TOLD: tuple[type[HeadraceError], ...] = (
    InternalError,
    MissingExtra,
    NotServed,
    PolicyRefused,
    TooLarge,
    ModelFault,
)
"""The errors that a host may answer with; a stranger's code must not make others."""
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
        self._own = _OwnFolder()
        try:
            self._piped = PipedProcess(
                [str(order.python), "-I", str(Path(start.__file__).absolute()), str(os.getpid())],
                foreign_environment() | ONE_THREAD | _QUIET | {"TMPDIR": str(self._own.path)},
                self._own.path,
            )
        except BaseException:
            self._own.remove()
            raise
        try:
            self.ask(order.message(), None, timeout_s=start_timeout_s)
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._piped.pid

    @property
    def ended(self) -> bool:
        """Whether it can be asked no more."""
        return self._piped.ended

    @property
    def was_killed(self) -> bool:
        """Whether somebody else has ended it, as the system does where memory is short."""
        return self._piped.death is not None and self._piped.death.number == signal.SIGKILL

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
        try:
            limit_bytes = _limit_bytes(values)
            answer, found = self._piped.ask(header, values, timeout_s=timeout_s, limit_bytes=limit_bytes)
        except (Late, Died, Overlong) as problem:
            self.end()
            raise self._fault(problem) from problem
        except BaseException:
            if self._piped.ended:
                self.end()
            raise
        if "code" in answer:
            raise _told(answer, self._where)
        return answer, found

    def has_died(self) -> bool:
        """Whether it can be asked no more, also where it has ended since it was last asked."""
        if not self.ended and self._piped.has_died():
            self.end()
        return self.ended

    def stop(self) -> None:
        """Stop the process from another thread than that which asks, whose question fails by it."""
        self._piped.stop()

    def end(self) -> None:
        """End the process; it holds nothing that would have to be saved."""
        self._piped.end()
        self._own.remove()

    def _fault(self, problem: Late | Died | Overlong) -> ModelFault:
        if isinstance(problem, Overlong):
            return ModelFault(
                "the model answered with more than fits its rows",
                where=self._where,
                fix=f"Answer with at most {ROW_BYTES >> 20} MiB a row and {ANSWER_BYTES >> 30} GiB in all.",
            )
        if isinstance(problem, Late):
            return ModelFault("the model host did not answer in time", where=self._where)
        return ModelFault(
            f"the model host died ({problem.how}): {problem.said}",
            where=self._where,
            fix="The model crashed its process, or ran out of memory; try it with fewer rows.",
        )


class _OwnFolder:
    """A host's folder for what it writes, locked for as long as its owner lives.

    Whoever makes one removes those whose owners were killed and could not. The lock tells them, and not a process
    id, which says nothing where containers share a disk.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.remove = weakref.finalize(self, _remove, self.path, lock)
        now_s = self.path.stat().st_mtime
        for other in self.path.parent.glob(f"{_PREFIX}*"):
            _remove_left(other, now_s)


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _remove_left(folder: Path, now_s: float) -> None:
    """Remove a folder that is nobody's any more; one of another user, or one just being made, is let be."""
    with suppress(OSError):
        if now_s - folder.stat().st_mtime < NEW_S:
            return
        lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its owner lives
            os.close(lock)
        else:
            _remove(folder, lock)


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


def _limit_bytes(values: Inputs | None) -> int:
    """Of the answer: what a stranger's code says is held in the memory of whoever has asked."""
    return ANSWER_BYTES if values is None else min(ANSWER_BYTES, FEW_BYTES + ROW_BYTES * rows_of(values))


def _told(answer: dict[str, Any], where: str) -> HeadraceError:
    """The error that a host answered with."""
    kind = next((kind for kind in _TOLD if kind.code == answer["code"]), ModelFault)
    place, fix = answer.get("where"), answer.get("fix")
    return kind(
        str(answer.get("message", ""))[:2_000],
        where=str(place)[:500] if place else where,
        fix=str(fix)[:500] if fix else None,
    )
