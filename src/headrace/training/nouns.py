"""The records of training: bundles, training sets, what to train and what came of it."""

from datetime import datetime
from typing import Any

import msgspec

from headrace.project.bundle import Bundle, BundleFile
from headrace.project.environment import EnvironmentLock
from headrace.project.model import ModelDeclaration
from headrace.project.search import ParameterValue
from headrace.registry.nouns import ModelFile

MODEL_ARTIFACTS = "model"
"""The folder of a run's artifacts that holds the model directory."""
JOB_TAG = "headrace.job"
"""Names the job on its runs, so that those of a worker that died can be ended."""


class RegisterBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle to register; its zip must have been uploaded under its digest."""

    project: str
    bundle: Bundle
    environment: EnvironmentLock
    code_commit: str | None = None


class RegisteredBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A project's code as it was sent; the zip is the blob of the same digest."""

    digest: str
    project: str
    project_file: str
    size_bytes: int
    files: tuple[BundleFile, ...]
    environment: EnvironmentLock
    environment_digest: str
    code_commit: str | None
    created_by: str
    created_at: datetime


class LakeVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a lake table that a training set was made from."""

    table: str
    version: int

    @property
    def resource(self) -> str:
        """Its name in the kernel's pins."""
        return f"lake/{self.table}@{self.version}"


class TrainingSetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which training set to build.

    Attributes:
        declaration: the model; its views give the columns, its label the outcome.
        as_of: business time of the features; labels look ahead from here.
        holdout_fraction: share of the entities that is kept from training, chosen by a hash of the key.
        seed: of that hash.
        purpose: "training", or "verdict" for a cohort that only judges.
    """

    declaration: ModelDeclaration
    as_of: datetime
    holdout_fraction: float = 0.25
    seed: int = 0
    purpose: str = "training"


class RegisterTrainingSet(msgspec.Struct, frozen=True, kw_only=True):
    """A training set to register; its file must be in the blob store.

    Attributes:
        content_digest: sha256 of the rows in canonical form; the same rows have the same digest, however the file
            was written.
        data_digest: blob of the Parquet file: the entity's key, as_of, the features, the label, holdout.
        features: columns, in the model's order.
        positives: rows whose label is 1.
        lake_versions: what it was made from; they are pinned.
    """

    model: str
    purpose: str
    as_of: datetime
    entity_key: str
    features: tuple[str, ...]
    label: str
    rows: int
    holdout_rows: int
    positives: int
    holdout_fraction: float
    seed: int
    content_digest: str
    data_digest: str
    size_bytes: int
    lake_versions: tuple[LakeVersion, ...]


class TrainingSetManifest(RegisterTrainingSet, frozen=True, kw_only=True):
    """A registered training set."""

    id: str
    created_by: str
    created_at: datetime


class TrainingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to train.

    Attributes:
        declaration: the model, with its search.
        bundle_digest: the code.
        training_set: the rows.
        params: values that go over the declared defaults and are not searched.
        code_commit: where the bundle came from, recorded with the run.
        tags: of the run.
    """

    declaration: ModelDeclaration
    bundle_digest: str
    training_set: TrainingSetManifest
    params: dict[str, ParameterValue] = {}
    code_commit: str | None = None
    tags: dict[str, str] = {}


class TrainingOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a training made.

    Attributes:
        run_id: the run that holds params, metrics and the model directory under `model`.
        files: of the model directory; each is a blob.
        digest: of the sorted listing of the files; the same inputs give the same digest.
        signature: the model's input and output columns, as MLflow writes them.
        params: the values that the model was trained with.
        metrics: of the final model on the hold-out, by name.
        trials: how many parameter sets the search tried; 0 without a search.
        search_value: the best trial's value; None without a search.
        environment_digest: of the environment that it ran in.
        peak_memory_bytes: the most memory that the subprocess held.
    """

    run_id: str
    files: tuple[ModelFile, ...]
    digest: str
    signature: dict[str, Any]
    params: dict[str, ParameterValue]
    metrics: dict[str, float]
    trials: int
    search_value: float | None
    environment_digest: str
    peak_memory_bytes: int
