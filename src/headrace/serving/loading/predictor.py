"""One loaded version that answers: rows in, checked answers out, with every failure of the model told as one."""

import statistics
import time
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import Overloaded
from headrace.serving.forms.inputs import Inputs, Outputs, infinite, nulls, rows_of
from headrace.serving.forms.json_forms import Forms
from headrace.serving.forms.signature import NUMBERS, Kind, Signature
from headrace.serving.loading.loader import LoadedModel, Loader
from headrace.serving.nouns import ServedVersion

INLINE_LIMIT_S = 0.000_3
"""A prediction that takes longer is handed to a thread, where those that wait are answered together."""
INLINE_ROWS = 64
WARM_UP_CALLS = 5
INVALID_OUTPUTS = frozenset({"WrongShape", "NotFinite", "WrongType"})
"""Kinds of fault where the model answered, and what it answered is nonsense."""
_SAMPLES: dict[str, Any] = {"string": "", "binary": b"", "datetime": np.datetime64(0, "us")}


class Fault(Exception):
    """A version failed on its input.

    Attributes:
        kind: class of the error that the model raised, or what was wrong with its answer; never the input.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Predictor:
    """A version ready to answer. Predicting only reads the model, so several threads may do it at once.

    Args:
        version: what it is.
        model: the loaded model.
    """

    def __init__(self, version: ServedVersion, model: LoadedModel) -> None:
        self.version = version
        self.signature = model.signature
        self.names = model.signature.names
        self.texts = frozenset(column.name for column in model.signature.columns if column.type not in NUMBERS)
        """Columns that are not numbers."""
        self.forms = Forms(model.signature, version.fields)
        self._predict = model.predict
        columns = model.signature.columns
        tensors = model.signature.kind is Kind.TENSORS
        self._required = np.array(
            [tensors or columns[place].required for place in range(len(self.names))], dtype=bool
        )
        self.runtime = model.runtime
        """What answers, such as `skops`, or `onnx` for a faster form."""
        self._hosted = model.hosted
        self.await_ready = model.await_ready
        """Waits so many seconds at most for a model whose process is being started again."""
        self.sample: Outputs | None = None
        """What it answered to one row of zeros; None when it could not."""
        self.row_s = self._warm_up()
        """Median seconds of an answer to one row."""

    def inline(self, rows: int) -> bool:
        """Whether predicting so many rows is short enough for the event loop."""
        return not self._hosted and self.row_s < INLINE_LIMIT_S and rows <= INLINE_ROWS

    def predict(self, inputs: Inputs, params: dict[str, Any] | None = None) -> Outputs:
        """An answer for each row.

        Args:
            inputs: the rows.
            params: checked by the signature; None for a model that takes none.

        Raises:
            Fault: the model raised, or did not answer with one value (or one list of them) a row, all finite.
            Overloaded: its process is being started again; nothing was asked.
        """
        try:
            answers = self._predict(inputs) if params is None else self._predict(inputs, params)
            if isinstance(answers, dict):
                return {name: _checked(np.asarray(column), rows_of(inputs)) for name, column in answers.items()}
            return _checked(np.asarray(answers), rows_of(inputs))
        except (Fault, Overloaded):
            raise
        except Exception as error:  # whatever a model raises is its fault
            raise Fault(type(error).__name__) from error

    def unfit(self, inputs: Inputs) -> list[int]:
        """Rows that the signature does not promise to take: if the model fails on them, it is not its fault.

        They have a null where it promises none, or a number without an end, which no JSON can say.
        """
        return np.flatnonzero((self._missing(inputs) | infinite(inputs, self.names)).any(axis=1)).tolist()

    def unfit_in(self, inputs: Inputs, place: int) -> tuple[str, str]:
        """Name of the first column in which a row is unfit, and what it has there."""
        missing = self._missing(inputs)[place]
        column = int(np.flatnonzero(missing | infinite(inputs, self.names)[place])[0])
        return self.names[column], "null" if missing[column] else "an infinite number"

    def _missing(self, inputs: Inputs) -> npt.NDArray[np.bool_]:
        return nulls(inputs, self.names) & self._required

    def _warm_up(self) -> float:
        """Median seconds of a one-row call. The sample may lie outside what a model accepts: faults are let be."""
        sample = _sample(self.signature)
        durations_s = []
        for _ in range(WARM_UP_CALLS):
            started = time.perf_counter()
            with suppress(Fault, Overloaded):
                self.sample = self.predict(sample)
            durations_s.append(time.perf_counter() - started)
        return statistics.median(durations_s)


def load_predictor(loader: Loader, version: ServedVersion) -> Predictor:
    """Load and warm up a version.

    Raises:
        HeadraceError: it cannot be served; the message says why.
    """
    return Predictor(version, loader.load(version))


def _checked(answers: Any, rows: int) -> Any:
    if answers.ndim not in {1, 2} or len(answers) != rows:
        raise Fault("WrongShape")
    if answers.dtype.kind in "fc" and not np.isfinite(answers).all():
        raise Fault("NotFinite")
    if answers.dtype.kind not in "fiubUO" or (answers.dtype.kind == "O" and None in answers.ravel().tolist()):
        raise Fault("WrongType")
    return answers


def _sample(signature: Signature) -> Inputs:
    """One row of zeros and empty texts."""
    if signature.kind is Kind.MATRIX:
        return np.zeros((1, len(signature.names)))
    if signature.kind is Kind.TENSORS:
        return {
            part.name: np.zeros((1, *(max(size, 1) for size in part.shape[1:])), dtype=part.dtype)
            for part in signature.tensors
        }
    return {
        column.name: np.array(
            [_SAMPLES.get(column.type, 0)], dtype=object if column.type in {"string", "binary"} else None
        )
        for column in signature.columns
    }
