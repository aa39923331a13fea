"""One loaded version that answers: rows in, checked answers out, with every failure of the model told as one."""

import statistics
import time
from contextlib import suppress

import numpy as np

from headrace.serving.inputs import Array
from headrace.serving.loading import LoadedModel, Loader
from headrace.serving.nouns import ServedVersion

INLINE_LIMIT_S = 0.005
"""A prediction that takes longer is handed to a thread, so that other requests are not held up."""
INLINE_ROWS = 64
WARM_UP_CALLS = 5

Answer = float | list[float]


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
        self._predict = model.predict
        self._required = np.array([column.required for column in model.signature.columns], dtype=bool)
        self._row_s = self._warm_up()
        self._hosted = model.hosted
        self.runtime = model.runtime

    def inline(self, rows: int) -> bool:
        """Whether predicting so many rows is short enough for the event loop."""
        return not self._hosted and self._row_s < INLINE_LIMIT_S and rows <= INLINE_ROWS

    def predict(self, features: Array) -> list[Answer]:
        """Answers for features of shape (rows, columns), NaN for null.

        Raises:
            Fault: the model raised, or did not answer with one finite value (or one list of them) a row.
        """
        try:
            answers = np.asarray(self._predict(features), dtype=np.float64)
        except Exception as error:  # whatever a model raises is its fault
            raise Fault(type(error).__name__) from error
        if answers.ndim not in {1, 2} or len(answers) != len(features):
            raise Fault("WrongShape")
        if not np.isfinite(answers).all():
            raise Fault("NotFinite")
        return answers.tolist()

    def unfit(self, features: Array) -> list[int]:
        """Rows with a null where the signature promises none: if the model fails on them, it is not its fault."""
        return [int(row) for row in np.flatnonzero(np.isnan(features[:, self._required]).any(axis=1))]

    def null_in(self, row: Array) -> str:
        """Name of the first required column in which a row, shape (columns,), has a null."""
        return self.names[int(np.flatnonzero(np.isnan(row) & self._required)[0])]

    def _warm_up(self) -> float:
        """Median seconds of a one-row call. Zeros may lie outside what a model accepts, so faults are let be."""
        row = np.zeros((1, len(self.names)))
        durations_s = []
        for _ in range(WARM_UP_CALLS):
            started = time.perf_counter()
            with suppress(Fault):
                self.predict(row)
            durations_s.append(time.perf_counter() - started)
        return statistics.median(durations_s)


def load_predictor(loader: Loader, version: ServedVersion) -> Predictor:
    """Load and warm up a version.

    Raises:
        HeadraceError: it cannot be served; the message says why.
    """
    return Predictor(version, loader.load(version))
