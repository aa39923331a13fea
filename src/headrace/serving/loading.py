"""From an MLflow model directory to something that predicts: safe formats only.

scikit-learn models are read by skops, which builds objects of reviewed types and runs no code of the file. A
pickle runs whatever its author wrote, so it is refused with the way to log the model that can be served.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn
import skops.io
import yaml
from sklearn.base import BaseEstimator, is_classifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from headrace.errors import InternalError, NotServed, PolicyRefused
from headrace.serving.inputs import Array, Outputs
from headrace.serving.model_files import ModelFiles
from headrace.serving.signature import Kind, Signature, read_signature
from headrace.training.trusted_types import TRUSTED_TYPES


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Attributes:
        signature: its inputs.
        predict: rows, in the form that the signature's kind says, to answers of shape (rows,), or (rows, classes)
            when there are more than two classes. A model whose signature has params takes them second, a dict.
            Raises whatever the model raises.
    """

    signature: Signature
    predict: Callable[..., Outputs]


def load(
    files: ModelFiles, *, signature: dict[str, Any] | None = None, trusted: Collection[str] = TRUSTED_TYPES
) -> LoadedModel:
    """Load a model directory.

    Args:
        files: its files; each is verified as it is read.
        signature: the registered signature; default the one in the directory.
        trusted: names of the types that a skops file may build.

    Raises:
        PolicyRefused: the model is a pickle, or holds types that nobody has reviewed.
        NotServed: its kind or its schema is not served.
        InternalError: a file is damaged.
    """
    description = _describe(files)
    flavor = description.get("flavors", {}).get("sklearn")
    if not isinstance(flavor, dict):
        raise NotServed(
            "the model directory has no scikit-learn model",
            where="MLmodel.flavors",
            fix="Log it with mlflow.sklearn.log_model(..., serialization_format='skops').",
        )
    if flavor.get("serialization_format") != "skops":
        raise PolicyRefused(
            f"the model is stored as {flavor.get('serialization_format', 'pickle')}, which runs code when loaded",
            where="MLmodel.flavors.sklearn.serialization_format",
            fix="Log it again with mlflow.sklearn.log_model(..., serialization_format='skops').",
        )
    compiled = read_signature(signature if signature is not None else description.get("signature"))
    if compiled.kind is not Kind.MATRIX:
        raise NotServed(
            "a scikit-learn model is served on columns of numbers",
            where="MLmodel.signature.inputs",
            fix="Encode the columns that are no numbers before the model.",
        )
    estimator = _read_skops(files, str(flavor.get("pickled_model", "model.skops")), trusted)
    _use_one_thread(estimator)
    _take_arrays(estimator, compiled.names)
    return LoadedModel(signature=compiled, predict=_prediction(estimator))


def prepare_thread() -> None:
    """Make the calling thread predict on one core and without scikit-learn's own checks of what we checked.

    Threads of OpenMP and scikit-learn's configuration belong to a thread, so each predicting one calls this.
    """
    threadpool_limits(limits=1)
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)


def _describe(files: ModelFiles) -> dict[str, Any]:
    try:
        description = yaml.safe_load(files.read("MLmodel"))
    except yaml.YAMLError as error:
        raise InternalError("the model's description is not YAML", where="MLmodel") from error
    if not isinstance(description, dict):
        raise InternalError("the model's description is empty", where="MLmodel")
    return description


def _read_skops(files: ModelFiles, path: str, trusted: Collection[str]) -> BaseEstimator:
    content = files.read(path)
    try:
        unknown = set(skops.io.get_untrusted_types(data=content))
    except Exception as error:
        raise _unreadable(path, error) from error
    refused = sorted(unknown - set(trusted))
    if refused:
        raise PolicyRefused(
            f"the model holds types that nobody has reviewed: {', '.join(refused)[:400]}",
            where=path,
            fix="Build it from scikit-learn's own estimators, or ask for the types to be reviewed.",
        )
    try:
        return skops.io.loads(content, trusted=sorted(unknown))
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> InternalError:
    return InternalError(f"the model could not be read ({type(error).__name__})", where=path)


def _prediction(estimator: Any) -> Callable[[Array], Array]:
    if not (is_classifier(estimator) and hasattr(estimator, "predict_proba")):
        return estimator.predict
    probabilities = estimator.predict_proba
    if len(estimator.classes_) != 2:
        return probabilities

    def positive(features: Array) -> Array:
        return probabilities(features)[:, 1]

    return positive


def _use_one_thread(estimator: Any) -> None:
    """Starting threads costs a small batch five to ten times its prediction (scikit-learn issue 16143)."""
    for part in _parts(estimator):
        if isinstance(part.__dict__.get("n_jobs"), int):
            part.n_jobs = 1


def _take_arrays(estimator: Any, names: tuple[str, ...]) -> None:
    """Rows come as arrays in the order of the signature; a model trained on a frame must agree with it."""
    trained = getattr(estimator, "feature_names_in_", None)
    if trained is not None and tuple(trained) != names:
        raise NotServed(
            "the signature's columns are not those that the model was trained on, in that order",
            where="MLmodel.signature.inputs",
            fix="Log the model with the frame that it was trained on as input example.",
        )
    for part in _parts(estimator):
        part.__dict__.pop("feature_names_in_", None)  # else scikit-learn warns at every row


def _parts(root: Any) -> list[Any]:
    """The estimator and everything of scikit-learn's inside it, fitted parts included."""
    found: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)
        elif isinstance(part, np.ndarray):
            waiting.extend(part.ravel().tolist() if part.dtype == object else ())
        elif type(part).__module__.startswith("sklearn.") and hasattr(part, "__dict__") and id(part) not in found:
            found[id(part)] = part
            waiting.extend(vars(part).values())
    return list(found.values())
