"""The inside of a model host: loads one model, then answers until its input ends, so that it outlives nobody."""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from headrace.errors import HeadraceError, ModelFault
from headrace.serving.forms.inputs import Inputs, rows_of
from headrace.serving.runtimes import wire
from headrace.serving.runtimes.child import converse, piped
from headrace.serving.runtimes.conversion import convert
from headrace.serving.runtimes.explained import subject_of
from headrace.serving.runtimes.explaining import Explainer
from headrace.serving.runtimes.files import ModelFiles, require_inside
from headrace.serving.runtimes.loaders import load_here, prepare_thread
from headrace.serving.runtimes.recipe import Predict, Recipe, recipe_from_json

MESSAGE_LENGTH = 2_000
BEHIND = 10
"""How far whoever explains stands behind those who predict, where they want the same core."""


def serve(source: IO[bytes], target: IO[bytes]) -> None:
    """Load what the first message names, say so, then answer message by message until the input ends.

    Args:
        source: messages come from here.
        target: answers go there.
    """
    host: _Host | None = None

    def answer_to(header: dict[str, Any], values: Inputs | None) -> list[bytes | memoryview]:
        nonlocal host
        if host is not None:
            return _answered(host.answer_to(header, values))
        host = _Host(header)
        return _answered(host.load)

    converse(source, target, answer_to)


class _Host:
    """One model and what may be asked of it."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._files = ModelFiles(Path(order["directory"]), order["digests"])
        self._recipe: Recipe = recipe_from_json(order["recipe"])
        self._predict: Predict | None = None
        self._explainer: Explainer | None = None
        self._explains = bool(order.get("explains"))
        self._code: list[str] = order["code"]

    def load(self) -> list[bytes | memoryview]:
        if self._code:  # modules are imported by path, so from a copy that was verified
            copy = self._files.copy_to(Path(tempfile.mkdtemp(prefix="headrace-code-")))
            for folder in self._code:
                require_inside(folder)
                sys.path.insert(0, str(copy / folder))
        if self._explains:
            os.nice(BEHIND)
            self._explainer = Explainer(subject_of(self._files, self._recipe), self._recipe)
            self._predict = self._explainer.predict
        else:
            self._predict = load_here(self._files, self._recipe)
        prepare_thread(imported=True)
        return wire.encode({})

    def answer_to(self, header: dict[str, Any], values: Inputs | None) -> Callable[[], list[bytes | memoryview]]:
        asked = {
            "predict": self._predicted,
            "time": self._timed,
            "time rows": self._timed_rows,
            "convert": self._converted,
            "background": self._compared,
            "explain": self._explained,
        }[header["ask"]]
        return lambda: asked(header, values)

    def _predicted(self, header: dict[str, Any], values: Any) -> list[bytes | memoryview]:
        return wire.encode({}, self._ask(values, header.get("params")))

    def _timed(self, header: dict[str, Any], values: Any) -> list[bytes | memoryview]:
        """Median seconds of a call, over as many calls as were asked for or as fit into the time given."""
        durations_s: list[float] = []
        until_s = time.perf_counter() + float(header["within_s"])
        while len(durations_s) < int(header["calls"]) and time.perf_counter() < until_s:
            started_s = time.perf_counter()
            self._ask(values, None)
            durations_s.append(time.perf_counter() - started_s)
        return wire.encode({"median_s": statistics.median(durations_s), "rows": rows_of(values)})

    def _timed_rows(self, _header: dict[str, Any], values: Any) -> list[bytes | memoryview]:
        """Seconds of a call for each row alone."""
        durations_s = np.empty(len(values))
        for place in range(len(values)):
            started_s = time.perf_counter()
            self._ask(values[place : place + 1], None)
            durations_s[place] = time.perf_counter() - started_s
        return wire.encode({}, durations_s)

    def _converted(self, _header: dict[str, Any], _values: Any) -> list[bytes | memoryview]:
        made, refused = convert(self._files, self._recipe)
        graphs = {name: np.frombuffer(graph, dtype=np.uint8) for name, (graph, _) in made.items()}
        known = {name: options for name, (_, options) in made.items()}
        return wire.encode({"known": known, "refused": refused}, graphs)

    def _compared(self, _header: dict[str, Any], values: Any) -> list[bytes | memoryview]:
        self._explaining().compare_with(values)
        return wire.encode({})

    def _explained(self, header: dict[str, Any], values: Any) -> list[bytes | memoryview]:
        known, arrays = self._explaining().explain(
            values,
            header.get("params"),
            output=header["output"],
            within_s=float(header["within_s"]),
            told=bool(header.get("told")),
        )
        return wire.encode(known, arrays or None)

    def _explaining(self) -> Explainer:
        if self._explainer is None:
            raise ModelFault("the model was not loaded to be explained")
        return self._explainer

    def _ask(self, values: Any, params: dict[str, Any] | None) -> Any:
        if self._predict is None:
            raise ModelFault("the model is not loaded")
        return self._predict(values, params)


def _answered(answer: Callable[[], list[bytes | memoryview]]) -> list[bytes | memoryview]:
    """The boundary around the model: whatever it raises is told, and the host goes on."""
    try:
        return answer()
    except HeadraceError as problem:
        return wire.encode(
            {"code": problem.code, "message": problem.message, "where": problem.where, "fix": problem.fix}
        )
    except Exception as error:  # noqa: BLE001 - whatever a model raises
        return wire.encode(_fault(error))


def _fault(error: BaseException) -> dict[str, Any]:
    message = f"the model raised {type(error).__name__}: {error}"[:MESSAGE_LENGTH]
    return {"code": ModelFault.code, "message": message, "where": None, "fix": None}


def main() -> None:
    """Be a host: messages on standard input and output, and everything that a model prints among the errors."""
    parser = argparse.ArgumentParser(prog="headrace-model-host", description="Answer with one model.")
    parser.add_argument("parent", type=int, help="process id of who starts it; the host ends with it")
    serve(*piped(parser.parse_args().parent))
