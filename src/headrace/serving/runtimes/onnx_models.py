"""ONNX graphs on ONNX Runtime: what was logged as one, and what we converted to one.

A graph holds operators and numbers and no code of its author's. A small one runs faster on one thread.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from headrace.errors import InternalError, NotServed
from headrace.serving.forms.inputs import Inputs, Outputs, rows_of
from headrace.serving.runtimes import frames
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Predict, Recipe, library

CONVERTED = "converted"
"""The option that holds what we know of a graph that we made; without it the graph answers as MLflow would."""
TIE = 6
"""Digits after which two probabilities are equal, so that ties fall as they do in the model's own arithmetic."""

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


class Answers(dict[str, Any]):
    """Tensors by the name of their output, which MLflow answers with as they are and not row by row."""


def load(files: ModelFiles, recipe: Recipe) -> Predict:
    """A session for the graph.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
        NotServed: its inputs are not those of the signature.
        InternalError: the graph is damaged.
    """
    session = open_session(files, recipe)
    known = recipe.options.get(CONVERTED)
    if known is not None:
        return converted(session, recipe, known)
    inputs = session.get_inputs()
    outputs = [output.name for output in session.get_outputs()]
    _require_inputs(inputs, recipe)

    def predict(rows: Inputs, _params: dict[str, Any] | None) -> Outputs:
        found = session.run(outputs, _feeds(inputs, rows, recipe))
        if recipe.columns:
            return _as_frame(dict(zip(outputs, found, strict=True)), rows_of(rows))
        return Answers(zip(outputs, map(np.asarray, found), strict=True))

    return predict


def converted(session: Any, recipe: Recipe, known: dict[str, Any]) -> Predict:
    """Answers like the model that the graph was made of.

    Args:
        session: of the graph, with one input: the matrix.
        recipe: its columns.
        known: `output`, which output to ask for; `take`, what to take of it, one of `TAKE`; `classes`, the labels
            of a classifier, None for other models.
    """
    (taken,) = session.get_inputs()
    dtype, name, outputs = _DTYPES[taken.type], taken.name, [known["output"]]
    take = TAKE[known["take"]]
    classes = None if known["classes"] is None else labels_of(known["classes"])

    def predict(rows: Inputs, _params: dict[str, Any] | None) -> Outputs:
        matrix = frames.to_matrix(rows, recipe)
        (found,) = session.run(outputs, {name: matrix.astype(dtype, copy=False)})
        answers: Outputs = take(found, classes)
        return answers

    return predict


TAKE: dict[str, Callable[[Any, Any], Any]] = {
    "all": lambda found, _classes: np.asarray(found),
    "flat": lambda found, _classes: found.reshape(len(found)),
    "second": lambda found, _classes: found[:, 1],
    "likeliest": lambda found, classes: classes[np.argmax(np.round(found, TIE), axis=1)],
}
"""What a converted graph's answer is, by name."""


def open_session(files: ModelFiles, recipe: Recipe) -> Any:
    """A session on one thread, of the bytes that were verified."""
    onnxruntime = library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    available = set(onnxruntime.get_available_providers())
    providers = [name for name in recipe.options.get("providers", ()) if name in available]
    content = files.read(recipe.file)
    try:
        if recipe.options.get("external"):
            with tempfile.TemporaryDirectory(prefix="headrace-onnx-") as folder:
                path = files.copy_to(Path(folder)) / recipe.file
                return onnxruntime.InferenceSession(str(path), options, providers or ["CPUExecutionProvider"])
        return onnxruntime.InferenceSession(content, options, providers or ["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise InternalError(
            f"the model could not be read ({type(error).__name__}): {error}"[:400],
            where=recipe.file,
            fix="Log it again; if ONNX Runtime does not know its opset, with an older one.",
        ) from error


def _require_inputs(inputs: Any, recipe: Recipe) -> None:
    wanted = recipe.names if recipe.columns else tuple(recipe.options.get("tensors", ()))
    one = len(inputs) == 1 and (bool(recipe.columns) or wanted in {("",), (inputs[0].name,)})
    if not one and not {part.name for part in inputs} <= set(wanted):
        raise NotServed(
            "the graph's inputs are not those of the signature: " + ", ".join(part.name for part in inputs)[:300],
            where="MLmodel.signature.inputs",
            fix="Log the model with a signature that names the graph's inputs.",
        )
    for part in inputs:
        if part.type not in _DTYPES:
            raise NotServed(f"the graph's input {part.name} is a {part.type}, which is not served", where=part.name)


def _feeds(inputs: Any, rows: Inputs, recipe: Recipe) -> dict[str, Any]:
    """What the session takes: one matrix, or one tensor for each input."""
    if len(inputs) == 1 and recipe.columns:
        (part,) = inputs
        if frames.all_numbers(recipe):
            matrix = frames.to_matrix(rows, recipe)
        else:
            assert isinstance(rows, dict)
            matrix = np.column_stack([np.asarray(rows[name], dtype=object) for name in recipe.names])
        return {part.name: np.ascontiguousarray(matrix, dtype=_DTYPES[part.type])}
    if len(inputs) == 1 and isinstance(rows, dict):
        (part,) = inputs
        return {part.name: np.ascontiguousarray(next(iter(rows.values())), dtype=_DTYPES[part.type])}
    columns = rows if isinstance(rows, dict) else {name: rows[:, at] for at, name in enumerate(recipe.names)}
    return {part.name: _shaped(columns[part.name], part) for part in inputs}


def _shaped(values: Any, part: Any) -> Any:
    """A column as the graph's input has it: often of shape (rows, 1)."""
    array: Any = np.ascontiguousarray(values, dtype=_DTYPES[part.type])
    return array.reshape(-1, 1) if array.ndim == 1 and len(part.shape) == 2 else array


def _as_frame(found: dict[str, Any], rows: int) -> Outputs:
    """MLflow's frame: each output flattened, where that gives one value a row."""
    answers: dict[str, Any] = {}
    for name, value in found.items():
        array: Any = frames.objects(value) if isinstance(value, list) else np.asarray(value)
        answers[name] = array.reshape(-1) if array.size == rows else array
    return answers


def labels_of(classes: list[Any]) -> Any:
    """A classifier's labels as an array; texts stay objects."""
    return frames.objects(classes) if any(isinstance(label, str) for label in classes) else np.asarray(classes)
