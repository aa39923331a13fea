"""How a model is loaded, as plain data: decided beside the platform's records, carried out here or in a host.

This package runs in gateways and in model hosts, and a host may have any Python from 3.10 on and only its model's
libraries. So whatever lies here imports the standard library, numpy and `headrace.errors`; a test holds it to that.
"""

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from headrace.errors import MissingExtra
from headrace.serving.forms.inputs import Inputs, Outputs
from headrace.training.answers import POSITIVE_PROBABILITY

Predict = Callable[[Inputs, dict[str, Any] | None], Outputs]
"""Rows and a request's params to answers; raises whatever the model raises."""

PREDICT = "predict"
ANSWERS = (PREDICT, "predict_proba", "predict_log_proba", "predict_joint_log_proba", "score", POSITIVE_PROBABILITY)

EXTRAS = {
    "lightgbm": "lightgbm",
    "onnxruntime": "onnx",
    "pandas": "pandas",
    "sklearn": "sklearn",
    "skops": "sklearn",
    "xgboost": "xgboost",
}
"""Which extra of headrace brings a library."""


@dataclass(frozen=True)
class Recipe:
    """How to load one model.

    Attributes:
        runtime: which module of this package loads it.
        file: the main file, relative to the model directory; empty when the directory is loaded as a whole.
        answer: the method that answers, one of `ANSWERS`.
        columns: name and MLflow's type of each input column, in order; empty for tensors.
        types: names of types that a skops file may build besides the reviewed ones.
        options: what only this runtime asks for.
    """

    runtime: str
    file: str = ""
    answer: str = PREDICT
    columns: tuple[tuple[str, str], ...] = ()
    types: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the input columns."""
        return tuple(name for name, _ in self.columns)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the way to a host."""
        return asdict(self)


def recipe_from_json(sent: dict[str, Any]) -> Recipe:
    """The recipe that `to_json` gave."""
    columns = tuple((name, kind) for name, kind in sent["columns"])
    return Recipe(**{**sent, "columns": columns, "types": tuple(sent["types"])})


def library(name: str) -> Any:
    """A library that a model needs, imported now.

    Raises:
        MissingExtra: it is not installed, or cannot be imported; the error holds the install line.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        extra = EXTRAS.get(top)
        raise MissingExtra(
            f"the model needs {top}, which cannot be imported here: {error}"[:500],
            where=top,
            fix=f"pip install 'headrace[{extra}]'" if extra else f"pip install {top}",
        ) from error
