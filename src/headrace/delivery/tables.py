"""Delivery's tables and every statement on them."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from headrace.delivery.experiment_nouns import ExperimentEvidence
from headrace.delivery.machine import FINAL, Phase
from headrace.delivery.nouns import Pipeline, PipelineStatus, Project, Release
from headrace.delivery.paired_nouns import Comparing
from headrace.kernel.database import Tx, insert
from headrace.kernel.schema import Document, Instant, metadata, workspace_column

T = TypeVar("T")

releases = sa.Table(
    "delivery_releases",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(256), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("phase", sa.String(32), nullable=False),
    sa.Column("is_open", sa.Boolean, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("digest", sa.String(80), nullable=False),  # of the version: a number may name other bytes one day
    sa.Column("completed_seq", sa.BigInteger, nullable=True),  # orders the completed ones: the way back
    sa.Column("undone", sa.Boolean, nullable=False),  # completed, and later rolled back
    sa.Column("document", Document, nullable=False),
    sa.Index("ix_delivery_releases_model", "workspace", "model", "opened_at"),
    sa.Index("ix_delivery_releases_is_open", "is_open", "workspace", "model"),
    sa.Index(
        "uq_delivery_releases_open_model",
        "workspace",
        "model",
        unique=True,
        sqlite_where=sa.text("is_open = 1"),
        postgresql_where=sa.text("is_open"),
    ),
)

pipelines = sa.Table(
    "delivery_pipelines",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(256), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("trigger", sa.String(64), nullable=False),
    sa.Column("requested_at", Instant, nullable=False),
    sa.Column("requested_at_business", Instant, nullable=False),
    sa.Column("number", sa.Integer, nullable=True),
    sa.Column("document", Document, nullable=False),
    sa.Index("ix_delivery_pipelines_model", "workspace", "model", "requested_at"),
    sa.Index("ix_delivery_pipelines_version", "workspace", "model", "number"),
)

projects = sa.Table(
    "delivery_projects",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("name", sa.String(256), primary_key=True),
    sa.Column("document", Document, nullable=False),
)

model_projects = sa.Table(
    "delivery_model_projects",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("model", sa.String(256), primary_key=True),
    sa.Column("project", sa.String(256), nullable=False),
)


def _decoded(document: Any, kind: type[T]) -> T:
    return msgspec.convert(document, kind)


# -- releases -----------------------------------------------------------------------------------------------


def _release_columns(release: Release) -> dict[str, Any]:
    return {
        "phase": release.state.phase.value,
        "is_open": release.state.phase not in FINAL,
        "document": release,
    }


def add_release(tx: Tx, release: Release) -> None:
    """Insert a release; the open one of a model is unique."""
    tx.execute(
        sa.insert(releases).values(
            workspace=tx.workspace,
            id=release.id,
            model=release.model,
            number=release.number,
            digest=release.digest,
            undone=False,
            opened_at=release.opened_at,
            **_release_columns(release),
        )
    )


def put_release(tx: Tx, release: Release, *, completed_seq: int | None = None) -> None:
    """Write a release back; `completed_seq` is the event that completed it."""
    values = _release_columns(release)
    if completed_seq is not None:
        values["completed_seq"] = completed_seq
    tx.execute(
        sa.update(releases)
        .where(releases.c.workspace == tx.workspace, releases.c.id == release.id)
        .values(**values)
    )


def find_release(tx: Tx, release_id: str, *, lock: bool = False) -> Release | None:
    """One release; `lock` keeps others from changing it until the transaction ends."""
    query = sa.select(releases.c.document).where(releases.c.workspace == tx.workspace, releases.c.id == release_id)
    document = tx.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    return None if document is None else _decoded(document, Release)


def find_readable(tx: Tx, release_id: str) -> Release | None:
    """The release; None where there is none, or one that a later program wrote: the canary's look tells of it."""
    try:
        return find_release(tx, release_id)
    except msgspec.ValidationError:
        return None


def open_release(tx: Tx, model: str, *, lock: bool = False) -> Release | None:
    """The open release of a model."""
    query = sa.select(releases.c.document).where(
        releases.c.workspace == tx.workspace, releases.c.model == model, releases.c.is_open.is_(True)
    )
    document = tx.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    return None if document is None else _decoded(document, Release)


def ids_in_phases(tx: Tx, phases: tuple[Phase, ...]) -> tuple[tuple[str, str], ...]:
    """Workspace and id of the releases of every workspace in some phases."""
    query = (
        sa.select(releases.c.workspace, releases.c.id)
        .where(releases.c.is_open.is_(True), releases.c.phase.in_([phase.value for phase in phases]))
        .order_by(releases.c.opened_at)
    )
    return tuple((row.workspace, row.id) for row in tx.execute(query))


def list_releases(
    tx: Tx, *, model: str | None = None, open_only: bool = False, limit: int = 100
) -> tuple[Release, ...]:
    """Releases, newest first."""
    query = (
        sa.select(releases.c.document)
        .where(releases.c.workspace == tx.workspace)
        .order_by(releases.c.opened_at.desc(), releases.c.id.desc())
        .limit(limit)
    )
    if model is not None:
        query = query.where(releases.c.model == model)
    if open_only:
        query = query.where(releases.c.is_open.is_(True))
    return tuple(_decoded(document, Release) for document in tx.execute(query).scalars())


class Completed(NamedTuple):
    """A release that completed: a place on the way back.

    Attributes:
        digest: of the version's files, since a model that was deleted and made again counts from 1 again.
        seq: of the event that completed it.
        undone: whether a rollback has led past it since.
    """

    number: int
    digest: str
    seq: int
    undone: bool


def completed(tx: Tx, model: str) -> tuple[Completed, ...]:
    """The releases of a model that completed, the latest first; a version may be there more than once."""
    query = (
        sa.select(releases.c.number, releases.c.digest, releases.c.completed_seq, releases.c.undone)
        .where(_completed(tx, model))
        .order_by(releases.c.completed_seq.desc())
    )
    return tuple(Completed(row.number, row.digest, row.completed_seq, row.undone) for row in tx.execute(query))


def stand_at(tx: Tx, model: str, seq: int) -> None:
    """Let the way back end with the release that completed at `seq`: what completed later is undone."""
    mine = sa.update(releases).where(_completed(tx, model))
    tx.execute(mine.where(releases.c.completed_seq > seq).values(undone=True))
    tx.execute(mine.where(releases.c.completed_seq == seq).values(undone=False))


def completed_release(tx: Tx, model: str, number: int, digest: str) -> Release | None:
    """The last completed release of one version, if that had the same bytes."""
    query = (
        sa.select(releases.c.document)
        .where(_completed(tx, model), releases.c.number == number, releases.c.digest == digest)
        .order_by(releases.c.completed_seq.desc())
        .limit(1)
    )
    document = tx.execute(query).scalars().first()
    return None if document is None else _decoded(document, Release)


def _completed(tx: Tx, model: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        releases.c.workspace == tx.workspace,
        releases.c.model == model,
        releases.c.phase == Phase.COMPLETED.value,
    )


# -- experiments --------------------------------------------------------------------------------------------

measurements = sa.Table(
    "delivery_measurements",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("release_id", sa.String(64), primary_key=True),
    sa.Column("job_id", sa.String(64), nullable=True),  # of the count that is under way
    sa.Column("at", Instant, nullable=False),  # of the last word on it: asked for, or settled
    sa.Column("took_us", sa.BigInteger, nullable=False),
    sa.Column("evidence", Document, nullable=True),
)


class Measurement(NamedTuple):
    """How the counting of a release's rewards stands.

    Attributes:
        under_way: whether a worker was asked and has not answered.
        at: wall time at which it was asked, or answered.
        took: how long the last count took.
        evidence: what came of it; None before the first.
    """

    under_way: bool
    at: datetime
    took: timedelta
    evidence: ExperimentEvidence | None


def measurement(tx: Tx, release_id: str) -> Measurement | None:
    """How the counting of a release's rewards stands; None before it was asked for."""
    query = sa.select(measurements).where(
        measurements.c.workspace == tx.workspace, measurements.c.release_id == release_id
    )
    row = tx.execute(query).first()
    if row is None:
        return None
    evidence = None if row.evidence is None else _decoded(row.evidence, ExperimentEvidence)
    return Measurement(row.job_id is not None, row.at, timedelta(microseconds=row.took_us), evidence)


def ask_for_measurement(tx: Tx, release_id: str, job_id: str) -> None:
    """Remember that a worker was asked."""
    values = {"job_id": job_id, "at": tx.now}
    statement = insert(tx, measurements).values(
        workspace=tx.workspace, release_id=release_id, took_us=0, evidence=None, **values
    )
    tx.execute(statement.on_conflict_do_update(index_elements=["workspace", "release_id"], set_=values))


def put_measurement(
    tx: Tx, release_id: str, job_id: str, evidence: ExperimentEvidence | None, took: timedelta
) -> None:
    """Write what came of a count, unless another one was asked for since; without evidence the last one stays."""
    values: dict[str, Any] = {"job_id": None, "at": tx.now, "took_us": round(took / timedelta(microseconds=1))}
    if evidence is not None:
        values["evidence"] = evidence
    tx.execute(
        sa.update(measurements)
        .where(
            measurements.c.workspace == tx.workspace,
            measurements.c.release_id == release_id,
            measurements.c.job_id == job_id,
        )
        .values(**values)
    )


# -- pipelines ----------------------------------------------------------------------------------------------


def add_pipeline(tx: Tx, pipeline: Pipeline, *, requested_at_business: datetime) -> None:
    """Insert a pipeline."""
    tx.execute(
        sa.insert(pipelines).values(
            workspace=tx.workspace,
            id=pipeline.id,
            model=pipeline.model,
            status=pipeline.status.value,
            trigger=pipeline.trigger,
            requested_at=pipeline.requested_at,
            requested_at_business=requested_at_business,
            document=pipeline,
        )
    )


def put_pipeline(tx: Tx, pipeline: Pipeline) -> None:
    """Write a pipeline back."""
    tx.execute(
        sa.update(pipelines)
        .where(pipelines.c.workspace == tx.workspace, pipelines.c.id == pipeline.id)
        .values(status=pipeline.status.value, number=pipeline.number, document=pipeline)
    )


def find_pipeline(tx: Tx, pipeline_id: str, *, lock: bool = False) -> Pipeline | None:
    """One pipeline."""
    query = sa.select(pipelines.c.document).where(
        pipelines.c.workspace == tx.workspace, pipelines.c.id == pipeline_id
    )
    document = tx.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    return None if document is None else _decoded(document, Pipeline)


def list_pipelines(tx: Tx, *, model: str | None = None, limit: int = 100) -> tuple[Pipeline, ...]:
    """Pipelines, newest first."""
    query = (
        sa.select(pipelines.c.document)
        .where(pipelines.c.workspace == tx.workspace)
        .order_by(pipelines.c.requested_at.desc(), pipelines.c.id.desc())
        .limit(limit)
    )
    if model is not None:
        query = query.where(pipelines.c.model == model)
    return tuple(_decoded(document, Pipeline) for document in tx.execute(query).scalars())


def pipeline_of_version(tx: Tx, model: str, number: int) -> Pipeline | None:
    """The pipeline that made a version."""
    query = sa.select(pipelines.c.document).where(
        pipelines.c.workspace == tx.workspace, pipelines.c.model == model, pipelines.c.number == number
    )
    document = tx.execute(query.limit(1)).scalar_one_or_none()
    return None if document is None else _decoded(document, Pipeline)


def unfinished_retraining(tx: Tx, model: str) -> str | None:
    """The id of a pipeline of the model that an alarm began and that is not over."""
    query = sa.select(pipelines.c.id).where(
        pipelines.c.workspace == tx.workspace,
        pipelines.c.model == model,
        pipelines.c.trigger != MANUAL,
        pipelines.c.status.in_([PipelineStatus.WAITING.value, PipelineStatus.RUNNING.value]),
    )
    return tx.execute(query.limit(1)).scalar_one_or_none()


def last_retraining_at(tx: Tx, model: str) -> datetime | None:
    """Business time at which an alarm last began a pipeline of the model."""
    query = sa.select(sa.func.max(pipelines.c.requested_at_business, type_=Instant())).where(
        pipelines.c.workspace == tx.workspace,
        pipelines.c.model == model,
        pipelines.c.trigger != MANUAL,
    )
    return tx.execute(query).scalar_one_or_none()


MANUAL = "manual"

# -- projects -----------------------------------------------------------------------------------------------


def put_project(tx: Tx, project: Project, models: tuple[str, ...]) -> None:
    """Store a project as applied, and that it owns these models."""
    statement = insert(tx, projects).values(workspace=tx.workspace, name=project.name, document=project)
    tx.execute(statement.on_conflict_do_update(index_elements=["workspace", "name"], set_={"document": project}))
    for model in models:
        owner = insert(tx, model_projects).values(workspace=tx.workspace, model=model, project=project.name)
        tx.execute(
            owner.on_conflict_do_update(index_elements=["workspace", "model"], set_={"project": project.name})
        )


def find_project(tx: Tx, name: str) -> Project | None:
    """A project as it was last applied."""
    query = sa.select(projects.c.document).where(projects.c.workspace == tx.workspace, projects.c.name == name)
    document = tx.execute(query).scalar_one_or_none()
    return None if document is None else _decoded(document, Project)


def list_projects(tx: Tx) -> tuple[Project, ...]:
    """Every project, by name."""
    query = sa.select(projects.c.document).where(projects.c.workspace == tx.workspace).order_by(projects.c.name)
    return tuple(_decoded(document, Project) for document in tx.execute(query).scalars())


def project_of_model(tx: Tx, model: str) -> Project | None:
    """The project that declared a model last."""
    query = sa.select(model_projects.c.project).where(
        model_projects.c.workspace == tx.workspace, model_projects.c.model == model
    )
    name = tx.execute(query).scalar_one_or_none()
    return None if name is None else find_project(tx, name)


# -- hold-outs ----------------------------------------------------------------------------------------------

holdout_uses = sa.Table(
    "delivery_holdout_uses",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("model", sa.String(256), primary_key=True),
    sa.Column("evaluation", sa.String(80), primary_key=True),
    sa.Column("release_id", sa.String(64), primary_key=True),
    sa.Column("used_at", Instant, nullable=False),
)
# kept apart from the evidence, so that a use is counted when the version and its evidence are gone


def add_holdout_use(tx: Tx, model: str, evaluation: str, release_id: str) -> None:
    """Remember that a release was judged on these rows; once, however often it is said."""
    statement = insert(tx, holdout_uses).values(
        workspace=tx.workspace, model=model, evaluation=evaluation, release_id=release_id, used_at=tx.now
    )
    tx.execute(statement.on_conflict_do_nothing())


def count_holdout_uses(tx: Tx, model: str, evaluation: str) -> int:
    """How many releases of a model were judged on these rows."""
    query = (
        sa.select(sa.func.count())
        .select_from(holdout_uses)
        .where(
            holdout_uses.c.workspace == tx.workspace,
            holdout_uses.c.model == model,
            holdout_uses.c.evaluation == evaluation,
        )
    )
    return int(tx.execute(query).scalar_one())


# -- paired losses ------------------------------------------------------------------------------------------

comparisons = sa.Table(
    "delivery_comparisons",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("release_id", sa.String(64), primary_key=True),
    sa.Column("document", Document, nullable=False),
)


def find_comparing(tx: Tx, release_id: str, *, lock: bool = False) -> Comparing | None:
    """How far the comparisons of a release have come; None before the first was asked for."""
    query = sa.select(comparisons.c.document).where(
        comparisons.c.workspace == tx.workspace, comparisons.c.release_id == release_id
    )
    document = tx.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    return None if document is None else _decoded(document, Comparing)


def put_comparing(tx: Tx, release_id: str, comparing: Comparing) -> None:
    """Store how far they have come."""
    statement = insert(tx, comparisons).values(workspace=tx.workspace, release_id=release_id, document=comparing)
    tx.execute(
        statement.on_conflict_do_update(index_elements=["workspace", "release_id"], set_={"document": comparing})
    )
