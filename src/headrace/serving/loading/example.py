"""The rows that a model was logged with, in MLflow's `split` form, as numbers."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from headrace.errors import HeadraceError
from headrace.serving.forms.inputs import Array
from headrace.serving.loading.description import Description
from headrace.serving.runtimes.files import ModelFiles

EXAMPLE_LIMIT_BYTES = 16 << 20


class _Split(msgspec.Struct):
    columns: list[str]
    data: list[list[Any]]


def example_rows(files: ModelFiles, description: Description, names: Sequence[str]) -> Array | None:
    """Shape (rows, names), NaN for null; None where there is no example of numbers with these columns."""
    info = description.saved_input_example_info or {}
    path = info.get("artifact_path")
    if not isinstance(path, str) or info.get("type") != "dataframe" or not files.has(path):
        return None
    try:
        content = files.read(path)
        if len(content) > EXAMPLE_LIMIT_BYTES:
            return None
        split = msgspec.json.decode(content, type=_Split)
        places = [split.columns.index(name) for name in names]
        rows = [[_number(row[place]) for place in places] for row in split.data]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    except (HeadraceError, msgspec.MsgspecError, ValueError, TypeError, IndexError, OverflowError):
        return None  # an example is for people; one that cannot be read as rows is none


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
