"""What a training subprocess is told and what it tells: JSON, so that neither side trusts the other's objects.

The subprocess has no token and calls nobody. It writes one message a line; the worker that started it records
them with the platform.
"""

from typing import Any

import msgspec

from headrace.project.model import ModelDeclaration
from headrace.project.search import ParameterValue


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a subprocess has to do; read from a file.

    Attributes:
        declaration: the model.
        project_file: path of the project file in the unpacked bundle.
        training_set: path of the Parquet file.
        entity_key, features, label: columns of the file.
        params: values that go over the defaults and are not searched.
        model_directory: where to write the model.
        parent: process id of who started it.
    """

    declaration: ModelDeclaration
    project_file: str
    training_set: str
    entity_key: str
    features: tuple[str, ...]
    label: str
    params: dict[str, ParameterValue]
    model_directory: str
    parent: int


class TrialStarted(msgspec.Struct, frozen=True, kw_only=True, tag="trial_started"):
    """A parameter set is being tried; numbers begin at 0."""

    number: int
    params: dict[str, ParameterValue]


class TrialFinished(msgspec.Struct, frozen=True, kw_only=True, tag="trial_finished"):
    """A trial's value of the metric that decides."""

    number: int
    metric: str
    value: float


class FitStarted(msgspec.Struct, frozen=True, kw_only=True, tag="fit_started"):
    """The final model is being trained on all training rows."""

    params: dict[str, ParameterValue]


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The model directory is written."""

    params: dict[str, ParameterValue]
    metrics: dict[str, float]
    signature: dict[str, Any]
    trials: int
    search_value: float | None


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """An error with its code, so that the worker can raise the same."""

    code: str
    message: str
    where: str | None
    fix: str | None


Message = TrialStarted | TrialFinished | FitStarted | Finished | Failed
