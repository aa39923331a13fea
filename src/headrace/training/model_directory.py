"""A fitted estimator as a directory in MLflow's model format, written without MLflow.

MLflow loads what this writes, and serving loads what MLflow writes. The layout is that of MLflow 3.17 for
`serialization_format="skops"`; what would differ between two equal models (ids, times) is left out, so that the
directory's digest says whether two models are the same.
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import skops.io
import yaml

from headrace.errors import InternalError, PolicyRefused
from headrace.project.environment import EnvironmentLock
from headrace.training.answers import ANSWER_MARK, BACKGROUND_FILE, POSITIVE_PROBABILITY
from headrace.training.skops_file import dump_estimator
from headrace.training.trusted_types import TRUSTED_TYPES

MODEL_FILE = "model.skops"
FORMAT_VERSION = "3.17.2"
"""The MLflow version whose format this is; MLflow warns when it is older than a model's."""
REQUIRED = ("scikit-learn", "skops", "numpy", "scipy")
"""The packages that a loader needs, at the versions of the lock."""


class ExportedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: the signature and the types that a loader must trust."""

    signature: dict[str, Any]
    trusted_types: tuple[str, ...]


def export_model(
    estimator: Any,
    *,
    names: Sequence[str],
    sample: npt.NDArray[np.float64],
    directory: Path,
    environment: EnvironmentLock,
    nullable: Collection[str] = (),
    background: npt.NDArray[np.float64] | None = None,
) -> ExportedModel:
    """Writes a model directory and checks that it predicts as the estimator does.

    Args:
        estimator: fitted, with `predict_proba`.
        names: of the input columns, in order.
        sample: rows to check with, shape (rows, columns).
        directory: where to write; made when it is not there.
        environment: whose versions go into the requirements.
        nullable: the columns that had nulls in training; the signature promises to take them there and nowhere
            else, as MLflow infers it.
        background: training rows that explanations compare with, shape (rows, columns); None leaves none.

    Raises:
        PolicyRefused: the estimator holds types that nobody has reviewed.
        InternalError: what was written does not predict the same.
    """
    content = dump_estimator(estimator)
    types = tuple(sorted(skops.io.get_untrusted_types(data=content)))
    refused = [name for name in types if name not in TRUSTED_TYPES]
    if refused:
        raise PolicyRefused(
            f"the model holds types that nobody has reviewed: {', '.join(refused)[:400]}",
            where="estimator",
            fix="Build it from scikit-learn's own estimators and transformers, without functions of your own.",
        )
    _require_same_predictions(estimator, content, types, sample)
    signature = _signature(names, nullable)
    description = _description(signature, types, environment, len(content))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MODEL_FILE).write_bytes(content)
    (directory / "MLmodel").write_text(yaml.safe_dump(description, width=10_000), encoding="utf-8")
    _write_environment(directory, environment)
    if background is not None:
        _write_background(directory, names, background)
    return ExportedModel(signature=signature, trusted_types=types)


def _write_background(directory: Path, names: Sequence[str], rows: npt.NDArray[np.float64]) -> None:
    data = [[None if np.isnan(value) else value for value in row] for row in rows.tolist()]
    content = msgspec.json.encode({"columns": list(names), "data": data})
    (directory / BACKGROUND_FILE).write_bytes(content)


def _require_same_predictions(
    estimator: Any, content: bytes, types: tuple[str, ...], sample: npt.NDArray[np.float64]
) -> None:
    restored = skops.io.loads(content, trusted=list(types))
    before, after = estimator.predict_proba(sample), restored.predict_proba(sample)
    if not np.array_equal(before, after, equal_nan=True):
        raise InternalError(
            f"the exported model differs from the trained one by up to {np.nanmax(np.abs(before - after))}",
            where=MODEL_FILE,
            fix="Report it with the versions of scikit-learn and skops.",
        )


def _signature(names: Sequence[str], nullable: Collection[str]) -> dict[str, Any]:
    inputs = [{"type": "double", "name": name, "required": name not in nullable} for name in names]
    outputs = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]
    return {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None}


def _description(
    signature: dict[str, Any], types: tuple[str, ...], environment: EnvironmentLock, size_bytes: int
) -> dict[str, Any]:
    return {
        "flavors": {
            "python_function": {
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": "mlflow.sklearn",
                "model_path": MODEL_FILE,
                "predict_fn": "predict_proba",
                "python_version": environment.python,
            },
            "sklearn": {
                "code": None,
                "pickled_model": MODEL_FILE,
                "serialization_format": "skops",
                "skops_trusted_types": list(types),
                "sklearn_version": environment.packages.get("scikit-learn", ""),
            },
        },
        "is_signature_from_type_hint": False,
        "metadata": {ANSWER_MARK: POSITIVE_PROBABILITY},
        "mlflow_version": FORMAT_VERSION,
        "model_size_bytes": size_bytes,
        "signature": signature,
        "type_hint_from_example": False,
    }


def _write_environment(directory: Path, environment: EnvironmentLock) -> None:
    versions = environment.packages
    requirements = [
        f"mlflow=={FORMAT_VERSION}",
        *(f"{name}=={versions[name]}" for name in REQUIRED if name in versions),
    ]
    virtualenv = {
        "python": environment.python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    conda = {
        "channels": ["conda-forge"],
        "dependencies": [f"python={environment.python}", "pip", {"pip": requirements}],
        "name": "mlflow-env",
    }
    (directory / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    (directory / "python_env.yaml").write_text(yaml.safe_dump(virtualenv, sort_keys=False), encoding="utf-8")
    (directory / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False), encoding="utf-8")
