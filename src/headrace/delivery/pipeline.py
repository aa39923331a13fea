"""The pipeline as a worker runs it: labels, training set, checks, search and fit, reference profile.

Work-side. It returns what is to be registered; control registers it in the transaction that completes the job, so
an attempt that is repeated leaves a second run behind and never a second version.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.delivery.checks import run_check
from headrace.delivery.evaluation_rows import Floats, build, matrix
from headrace.delivery.nouns import Pipeline, ReportStage, TrainRequest, TrainResult
from headrace.errors import HeadraceError
from headrace.features.maturity import require_mature
from headrace.kernel.work import WorkContext
from headrace.monitoring.nouns import OUTPUT_COLUMN
from headrace.registry.nouns import Estimate, Evidence, RegisterVersion
from headrace.serving.loading.loader import open_loader
from headrace.serving.nouns import ServedVersion
from headrace.statistics import comparison, profiles
from headrace.statistics.profiles import Profile
from headrace.training.executor import SubprocessExecutor
from headrace.training.nouns import (
    MODEL_ARTIFACTS,
    TrainingOutcome,
    TrainingRequest,
    TrainingSetManifest,
    TrainingSetRequest,
)
from headrace.training.run import run_training
from headrace.training.training_sets import HOLDOUT

LABELS, TRAINING_SET, CHECKS, TRAINING, PROFILE = (
    "labels are mature",
    "training set",
    "data checks",
    "search and fit",
    "metrics and reference profile",
)
"""The stages, in order."""


class Stages:
    """Tells control of each stage as it begins and ends."""

    def __init__(self, ctx: WorkContext, pipeline_id: str) -> None:
        self._ctx = ctx
        self._path = f"/api/v1/pipelines/{pipeline_id}/stages"

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Run one stage; notes that are put into the list are shown with it."""
        notes: list[str] = []
        self._tell(name, "running", "")
        try:
            yield notes
        except HeadraceError as problem:
            self._tell(name, "failed", problem.message)
            raise
        self._tell(name, "done", "; ".join(notes))

    def _tell(self, name: str, status: str, note: str) -> None:
        report = ReportStage(name=name, status=status, note=note, attempt=self._ctx.job.attempt)
        self._ctx.control.call("POST", self._path, report, returns=Pipeline)


def run(ctx: WorkContext, request: TrainRequest) -> TrainResult:
    """Take a model from data to what can be registered.

    Raises:
        LabelsNotMature: the labels of the training set or of the verdict cohort are not known yet.
        EnvironmentMismatch: the bundle was locked to other packages than those installed.
        UserCodeError: the training function raised.
    """
    declaration = request.declaration
    stages = Stages(ctx, request.pipeline_id)
    with stages.stage(LABELS) as notes:
        latest = max(request.as_of, request.cohort or request.as_of)
        require_mature(declaration.label, latest, ctx.business_now)
        notes.append(
            f"as of {request.as_of:%Y-%m-%d}, final on {request.as_of + declaration.label.maturity:%Y-%m-%d}"
        )
    with stages.stage(TRAINING_SET) as notes:
        wanted = TrainingSetRequest(declaration=declaration, as_of=request.as_of)
        manifest = build(ctx, wanted)
        table = pq.read_table(pa.BufferReader(ctx.blobs.read(manifest.data_digest)))
        notes.append(f"{manifest.rows} rows, {manifest.holdout_rows} held out, {manifest.content_digest[:19]}")
    with stages.stage(CHECKS) as notes:
        checks = tuple(run_check(check, table, declaration, manifest) for check in declaration.policy.checks)
        failing = [found.summary for found in checks if not found.verdict.passes]
        notes.append("; ".join(failing) or f"{len(checks)} passed")
    if failing:
        return TrainResult(training_set_id=manifest.id, checks=checks, note="; ".join(failing))
    with stages.stage(TRAINING) as notes:
        outcome = run_training(ctx, _training(request, manifest), SubprocessExecutor())
        notes.append(f"{outcome.trials} trials, run {outcome.run_id}")
    with stages.stage(PROFILE) as notes:
        scores = _score(ctx, request, outcome, table, manifest)
        held_out = _held_out(table)
        labels = table[manifest.label].to_numpy(zero_copy_only=False)[held_out]
        metrics = comparison.classification_metrics(labels, scores)
        profile = ctx.blobs.put(msgspec.json.encode(reference_profile(table, manifest.features, scores)))
        notes.append(", ".join(f"{name} {found.value:.4f}" for name, found in metrics.items()))
    estimates = {
        name: Estimate(value=found.value, low=found.low, high=found.high) for name, found in metrics.items()
    }
    return _result(request, manifest, outcome, checks, estimates, profile.digest)


def reference_profile(table: pa.Table, names: tuple[str, ...], scores: Floats) -> Profile:
    """The profile that monitoring compares with.

    The features of all rows; the model's own scores of the held-out rows only, since on rows that it was trained
    on it is surer than it will ever be in production.
    """
    values = matrix(table, names)
    features = profiles.profile({name: values[:, index] for index, name in enumerate(names)})
    output = profiles.profile({OUTPUT_COLUMN: scores})
    return msgspec.structs.replace(features, columns=features.columns | output.columns)


def _training(request: TrainRequest, manifest: TrainingSetManifest) -> TrainingRequest:
    return TrainingRequest(
        declaration=request.declaration,
        bundle_digest=request.bundle_digest,
        training_set=manifest,
        params=request.params,
        code_commit=request.code_commit,
        tags={"headrace.pipeline": request.pipeline_id},
    )


def _held_out(table: pa.Table) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return np.asarray(table[HOLDOUT].to_numpy(zero_copy_only=False), dtype=bool)


def _score(
    ctx: WorkContext,
    request: TrainRequest,
    outcome: TrainingOutcome,
    table: pa.Table,
    manifest: TrainingSetManifest,
) -> Floats:
    """The model's scores of the held-out rows, by the same host that gates use."""
    version = ServedVersion(model=request.declaration.name, number=0, digest=outcome.digest, files=outcome.files)
    features = matrix(table, manifest.features)[_held_out(table)]
    with open_loader(ctx.settings.home, ctx.blobs).host(version) as host:
        scores: Floats = host.score(features, manifest.features)
    return scores


def _result(
    request: TrainRequest,
    manifest: TrainingSetManifest,
    outcome: TrainingOutcome,
    checks: tuple[Evidence, ...],
    metrics: dict[str, Estimate],
    profile: str,
) -> TrainResult:
    version = RegisterVersion(
        model=request.declaration.name,
        files=outcome.files,
        run_id=outcome.run_id,
        artifact_prefix=MODEL_ARTIFACTS,
        signature=outcome.signature,
        profile=profile,
        training_set_id=manifest.id,
        bundle_digest=request.bundle_digest,
        environment_digest=outcome.environment_digest,
        code_commit=request.code_commit,
        entity_key=manifest.entity_key,
        feature_views=request.feature_views,
        params=outcome.params,
        metrics=metrics,
    )
    return TrainResult(training_set_id=manifest.id, run_id=outcome.run_id, checks=checks, register=version)
