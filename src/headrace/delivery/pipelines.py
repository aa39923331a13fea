"""Pipelines on the control side: begin one, follow its stages, and settle what it made."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from headrace.delivery import clearance, cohorts, policies, releases, tables
from headrace.delivery.cohorts import Moments
from headrace.delivery.kinds import TRAIN
from headrace.delivery.nouns import (
    ModelProject,
    OpenRelease,
    Pipeline,
    PipelineStatus,
    ReportStage,
    StageProgress,
    Train,
    TrainRequest,
    TrainResult,
)
from headrace.errors import NotFound, PolicyRefused
from headrace.features import catalog
from headrace.features.nouns import ObjectKind
from headrace.kernel import business_time, events, jobs
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_id
from headrace.kernel.jobs import Job
from headrace.project.feature_view import FeatureView
from headrace.project.search import ParameterValue
from headrace.registry import evidence, naming, register
from headrace.registry.nouns import FeatureUse, Version
from headrace.tracking import runs
from headrace.tracking.nouns import KillRuns
from headrace.training.nouns import JOB_TAG


def train(tx: Tx, asked: Train) -> Pipeline:
    """Begin a pipeline that somebody asks for.

    Raises:
        NotFound: there is no such model.
        Conflict: no project declares it.
        LabelsNotMature: the labels as of the wished moment are not known at the business clock.
        PolicyRefused: a release is to follow, and no version could pass what a policy asks of it.
    """
    declared = policies.project_of(tx, asked.model)
    if asked.release:
        clearance.require_promising(tx, asked.model, policies.binding(tx, asked.model, declared.declaration.policy))
    now = business_time.business_now(tx)
    moments = cohorts.for_training(now, declared.declaration.label.maturity, asked.as_of)
    return begin(tx, declared, moments, trigger=tables.MANUAL, release=asked.release, params=asked.params)


def begin(
    tx: Tx,
    declared: ModelProject,
    moments: Moments,
    *,
    trigger: str,
    release: bool,
    params: Mapping[str, ParameterValue] | None = None,
    key: str | None = None,
) -> Pipeline:
    """Begin a pipeline: its row, its event and its job, which waits for the labels if it must.

    Args:
        tx: the transaction.
        declared: the model and the project whose code trains it.
        moments: what it looks at.
        trigger: `manual`, or the monitor whose alarm began it.
        release: whether a release opens by itself.
        params: values that go over the declared defaults; they are not searched.
        key: makes a repeated call find the same job.
    """
    declaration, project = declared.declaration, declared.project
    now = business_time.business_now(tx)
    waits = moments.ready_at > now
    pipeline_id = new_id("pip")
    request = TrainRequest(
        pipeline_id=pipeline_id,
        declaration=declaration,
        feature_views=tuple(_use(tx, view) for view in declaration.features),
        bundle_digest=project.bundle_digest,
        environment_digest=project.environment_digest,
        code_commit=project.code_commit,
        as_of=moments.as_of,
        cohort=moments.cohort,
        params=dict(params or {}),
    )
    job_id = jobs.enqueue(
        tx,
        TRAIN,
        request,
        key=key,
        lane=f"{TRAIN.name}/{declaration.name}",
        not_before_business=moments.ready_at if waits else None,
    )
    pipeline = Pipeline(
        id=pipeline_id,
        model=declaration.name,
        status=PipelineStatus.WAITING,
        trigger=trigger,
        as_of=moments.as_of,
        cohort=moments.cohort,
        ready_at=moments.ready_at,
        params=dict(params or {}),
        release=release,
        job_id=job_id,
        note=f"waits for labels that are mature at {moments.ready_at:%Y-%m-%d}" if waits else "waits for a worker",
        requested_by=tx.actor,
        requested_at=tx.now,
    )
    tables.add_pipeline(tx, pipeline, requested_at_business=now)
    events.append(
        tx,
        "delivery.pipeline_requested",
        f"pipeline/{pipeline.id}",
        {
            "pipeline_id": pipeline.id,
            "model": pipeline.model,
            "trigger": trigger,
            "as_of": pipeline.as_of,
            "cohort": pipeline.cohort,
            "ready_at": pipeline.ready_at,
            "params": pipeline.params,
            "bundle_digest": project.bundle_digest,
            "job_id": job_id,
        },
    )
    return pipeline


def _use(tx: Tx, view: FeatureView) -> FeatureUse:
    registered = catalog.get(tx, ObjectKind.VIEW, view.name)
    return FeatureUse(view=view.name, version=registered.version, columns=tuple(view.features))


def get(tx: Tx, pipeline_id: str, *, lock: bool = False) -> Pipeline:
    """One pipeline.

    Raises:
        NotFound: there is none.
    """
    pipeline = tables.find_pipeline(tx, pipeline_id, lock=lock)
    if pipeline is None:
        raise NotFound("there is no such pipeline", where=f"pipeline/{pipeline_id}")
    return pipeline


def search(tx: Tx, *, model: str | None = None, limit: int = 100) -> tuple[Pipeline, ...]:
    """Pipelines, newest first.

    Raises:
        NotFound: there is no such model, and nothing of it.
    """
    return naming.found_of(tx, model, tables.list_pipelines(tx, model=model, limit=limit))


def report_stage(tx: Tx, pipeline_id: str, report: ReportStage) -> Pipeline:
    """Take a worker's word on a stage; progress is no change of state, so it writes no event.

    The first stage of a later attempt begins the list anew; what an earlier attempt still says is dropped.
    """
    pipeline = get(tx, pipeline_id, lock=True)
    if pipeline.status.ended or pipeline.job_id is None:
        return pipeline
    if report.attempt != jobs.get(tx, pipeline.job_id).attempt:
        return pipeline
    stages = () if pipeline.status is PipelineStatus.WAITING or _restarts(pipeline, report) else pipeline.stages
    known = next((stage for stage in stages if stage.name == report.name), None)
    stage = StageProgress(
        name=report.name,
        status=report.status,
        note=report.note,
        started_at=tx.now if known is None else known.started_at,
        ended_at=None if report.status == RUNNING else tx.now,
    )
    others = tuple(one for one in stages if one.name != report.name)
    changed = msgspec.structs.replace(
        pipeline, status=PipelineStatus.RUNNING, stages=(*others, stage), note=f"{report.name} is {report.status}"
    )
    tables.put_pipeline(tx, changed)
    return changed


RUNNING = "running"


def _restarts(pipeline: Pipeline, report: ReportStage) -> bool:
    first = pipeline.stages[0].name if pipeline.stages else None
    return report.status == RUNNING and report.name == first


def settle(tx: Tx, job: Job, result: TrainResult) -> None:
    """Register what the pipeline made, keep its evidence, and open the release if it is to.

    All in the transaction that completes the job: a version is registered exactly once, whatever the worker
    had to repeat.
    """
    request = msgspec.json.decode(job.payload, type=TrainRequest)
    pipeline = get(tx, request.pipeline_id, lock=True)
    if pipeline.status.ended:
        return
    if result.register is None:
        _end(tx, pipeline, PipelineStatus.BLOCKED, result, None, result.note)
        return
    author = _author(tx, pipeline)
    version = register.register_version(tx, result.register, author=author)
    for found in result.checks:
        evidence.record(tx, msgspec.structs.replace(found, number=version.number))
    note = f"registered version {version.number}"
    if pipeline.release:
        opened, note = _open(tx, pipeline, version)
        pipeline = msgspec.structs.replace(pipeline, release_id=opened)
    _end(tx, pipeline, PipelineStatus.SUCCEEDED, result, version, note)


def failed(tx: Tx, job: Job, error: str) -> None:
    """End a pipeline whose job has failed for good, and the runs that a worker left when it died."""
    runs.kill(tx, KillRuns(tag=JOB_TAG, value=job.id))
    request = msgspec.json.decode(job.payload, type=TrainRequest)
    pipeline = get(tx, request.pipeline_id, lock=True)
    if not pipeline.status.ended:
        _end(tx, pipeline, PipelineStatus.FAILED, None, None, error)


def _open(tx: Tx, pipeline: Pipeline, version: Version) -> tuple[str | None, str]:
    present = tables.open_release(tx, pipeline.model)
    if present is not None:
        return (
            None,
            f"registered version {version.number}; release {present.id} of version {present.number} is open",
        )
    asked = OpenRelease(model=pipeline.model, number=version.number, cohort=pipeline.cohort)
    try:
        release = releases.open_release(tx, asked, pipeline_id=pipeline.id)
    except PolicyRefused as refusal:  # raised before anything is written
        return None, f"registered version {version.number}; its release was not opened: {refusal.message}"
    return release.id, f"registered version {version.number} and opened its release"


def _author(tx: Tx, pipeline: Pipeline) -> str:
    """Who answers for the version: who asked, or, when an alarm did, whose code it is."""
    if pipeline.trigger == tables.MANUAL:
        return pipeline.requested_by
    project = tables.project_of_model(tx, pipeline.model)
    return pipeline.requested_by if project is None else project.applied_by


def _end(
    tx: Tx,
    pipeline: Pipeline,
    status: PipelineStatus,
    result: TrainResult | None,
    version: Version | None,
    note: str,
) -> None:
    ended = msgspec.structs.replace(
        pipeline,
        status=status,
        note=note,
        ended_at=tx.now,
        checks=() if result is None else result.checks,
        training_set_id=None if result is None else result.training_set_id,
        run_id=None if result is None else result.run_id,
        number=None if version is None else version.number,
        stages=tuple(_ended(stage, tx.now) for stage in pipeline.stages),
    )
    tables.put_pipeline(tx, ended)
    events.append(
        tx,
        f"delivery.pipeline_{status.value}",
        f"pipeline/{pipeline.id}",
        {
            "pipeline_id": pipeline.id,
            "model": pipeline.model,
            "number": ended.number,
            "training_set_id": ended.training_set_id,
            "run_id": ended.run_id,
            "release_id": ended.release_id,
            "note": note,
        },
    )


def _ended(stage: StageProgress, now: datetime) -> StageProgress:
    if stage.ended_at is not None:
        return stage
    return msgspec.structs.replace(stage, status="failed", ended_at=now)
