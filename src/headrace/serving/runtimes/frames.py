"""Between our arrays and the frames that some models were trained on, and back from whatever a model answers."""

from functools import lru_cache
from typing import Any

import numpy as np

from headrace.errors import ModelFault
from headrace.serving.forms.inputs import Inputs, Outputs
from headrace.serving.runtimes.recipe import Recipe, library

NUMBERS = frozenset({"double", "float", "long", "integer", "boolean"})
"""MLflow's column types whose values a matrix can hold."""
WHOLE = frozenset({"long", "integer", "boolean"})
"""Those of them that know no null."""
_DTYPES = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32", "boolean": "bool"}


def all_numbers(recipe: Recipe) -> bool:
    """Whether every input column is one of numbers."""
    return all(kind in NUMBERS for _, kind in recipe.columns)


def to_frame(inputs: Inputs, recipe: Recipe) -> Any:
    """A pandas frame with the signature's columns and types; a column of integers with nulls becomes floats.

    Raises:
        MissingExtra: pandas is not installed.
    """
    pandas = library("pandas")
    if not isinstance(inputs, dict) and all(kind == "double" for _, kind in recipe.columns):
        return pandas.DataFrame(inputs, columns=_index(recipe.names))  # one by one they take 20 times as long
    if isinstance(inputs, dict):
        columns = {name: inputs[name] for name in recipe.names}
    else:
        columns = {name: inputs[:, place] for place, name in enumerate(recipe.names)}
    return pandas.DataFrame({name: _typed(columns[name], kind) for name, kind in recipe.columns})


@lru_cache(maxsize=16)
def _index(names: tuple[str, ...]) -> Any:
    return library("pandas").Index(names)


def to_matrix(inputs: Inputs, recipe: Recipe) -> Any:
    """A matrix of shape (rows, columns) in the signature's order; a tensor without a name is one already."""
    if not isinstance(inputs, dict):
        return inputs
    if not recipe.columns:
        return next(iter(inputs.values()))
    return np.column_stack([np.asarray(inputs[name], dtype=np.float64) for name in recipe.names])


def to_outputs(answers: Any) -> Outputs:
    """What a model answered, as arrays: a frame's columns by name, everything else as one array.

    Raises:
        ModelFault: it is nothing of the kind.
    """
    if isinstance(answers, np.ndarray):
        return answers
    if isinstance(answers, dict):
        return {str(name): _array(values) for name, values in answers.items()}
    kind = type(answers).__name__
    if kind == "DataFrame":
        return {str(name): _array(answers[name]) for name in answers.columns}
    if kind == "Series":  # MLflow's scoring server makes a frame of it
        return {"0" if answers.name is None else str(answers.name): _array(answers)}
    if hasattr(answers, "toarray"):  # a sparse matrix
        return np.asarray(answers.toarray())
    if isinstance(answers, (list, tuple)) or hasattr(answers, "to_numpy"):
        return _array(answers)
    raise ModelFault(f"the model answered with a {kind}, which is not an answer for each row")


def _array(values: Any) -> Any:
    """An array; texts, and lists of unlike things, become objects."""
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ndarray):
        return values
    values = list(values)
    if any(isinstance(value, (str, bytes, dict)) or value is None for value in values):
        return objects(values)
    try:
        return np.asarray(values)
    except ValueError:
        return objects(values)


def objects(values: list[Any]) -> np.ndarray[Any, Any]:
    """An array of shape (values,) that holds them as they are."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _typed(values: Any, kind: str) -> Any:
    wanted = _DTYPES.get(kind)
    if wanted is None or values.dtype == object:
        return values
    if wanted[0] in "ib" and values.dtype.kind == "f" and np.isnan(values).any():
        return values
    return values.astype(wanted)
