"""Small model directories for the serving tests, written as MLflow writes them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skops.io import dump

from headrace.kernel.blobs import BlobStore
from headrace.registry.nouns import ModelFile, directory_digest
from headrace.serving.loading.environments import Environments
from headrace.serving.loading.host import ModelHost
from headrace.serving.loading.loader import Arrangement, LoadedModel, arrange, open_model
from headrace.serving.nouns import Converted, Loading, ServedVersion, ServedView
from headrace.serving.runtimes.files import ModelFiles
from headrace.training.answers import ANSWER_MARK, POSITIVE_PROBABILITY

NAMES = ("purchases", "spend")


def features(rows: int = 200) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(rows, 2))


def binary_model(*, flip: bool = False) -> Any:
    data = features()
    labels = (data.sum(axis=1) > 0) ^ flip
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(data, labels.astype(int))


def three_class_model() -> Any:
    data = features()
    return LogisticRegression().fit(data, np.digitize(data[:, 0], [-0.5, 0.5]))


def forest(trees: int = 5) -> Any:
    data = features()
    return RandomForestClassifier(trees, n_jobs=-1, random_state=0).fit(data, (data[:, 0] > 0).astype(int))


def regression_model() -> Any:
    data = features()
    return LinearRegression().fit(data, data @ [2.0, 3.0])


def raising_model() -> Any:
    """Answers when both columns are 0 or 1 and raises on anything else."""
    data = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return make_pipeline(OneHotEncoder(handle_unknown="error"), LogisticRegression()).fit(data, [0, 1, 0, 1])


def write_model(
    directory: Path,
    estimator: Any,
    *,
    names: Sequence[str] = NAMES,
    types: Sequence[str] = ("double", "double"),
    required: bool = True,
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    dump(estimator, directory / "model.skops")
    inputs = [{"type": kind, "name": name, "required": required} for name, kind in zip(names, types, strict=True)]
    description = {
        "flavors": {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}},
        "metadata": {ANSWER_MARK: POSITIVE_PROBABILITY},
        "signature": {"inputs": json.dumps(inputs), "outputs": None},
    }
    (directory / "MLmodel").write_text(yaml.safe_dump(description))
    return directory


def arranged(directory: Path, loading: Loading = Loading()) -> Arrangement:  # noqa: B008 - it is frozen
    """What is decided for a directory of one's own."""
    return arranged_files(ModelFiles(directory), loading)


def arranged_files(files: ModelFiles, loading: Loading = Loading()) -> Arrangement:  # noqa: B008 - it is frozen
    """What is decided for the files of a model."""
    environments = Environments(files.directory.parent / "environments")
    return arrange(files, signature=None, loading=loading, environments=environments)


def loaded(directory: Path, loading: Loading = Loading()) -> LoadedModel:  # noqa: B008 - it is frozen
    """A directory of one's own, loaded."""
    return open_model(arranged(directory, loading))


def host(directory: Path, *, loading: Loading = Loading(), timeout_s: float = 60.0) -> ModelHost:  # noqa: B008
    """A host for a directory of one's own."""
    return ModelHost(arranged(directory, loading).order, timeout_s=timeout_s)


def change_description(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write an MLmodel file anew."""
    description = yaml.safe_load((directory / "MLmodel").read_text())
    change(description)
    (directory / "MLmodel").write_text(yaml.safe_dump(description))


def store_version(
    blobs: BlobStore, directory: Path, number: int, *, views: tuple[ServedView, ...] = (), model: str = "churn"
) -> ServedVersion:
    files = []
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        blob = blobs.put(path)
        files.append(
            ModelFile(path=path.relative_to(directory).as_posix(), digest=blob.digest, size_bytes=blob.size_bytes)
        )
    return ServedVersion(
        model=model,
        number=number,
        digest=directory_digest(tuple(files)),
        files=tuple(files),
        entity_key="customer_id" if views else None,
        views=views,
    )


def with_loading(version: ServedVersion, loading: Loading) -> ServedVersion:
    """The version with what was decided about its loading."""
    return msgspec.structs.replace(version, loading=loading)


def conversion(blobs: BlobStore, graph: bytes, **known: Any) -> Converted:
    """A graph that was made of a version."""
    blob = blobs.put(graph)
    file = ModelFile(path="model.onnx", digest=blob.digest, size_bytes=blob.size_bytes)
    return Converted(file=file, known={"output": "probabilities", "take": "second", "classes": [0, 1], **known})
