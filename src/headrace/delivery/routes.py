"""Delivery's HTTP door: plans and applies, pipelines, releases and the way back."""

import asyncio
from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED

from headrace.delivery import apply, history, pipelines, releases, rollback, waiting
from headrace.delivery.nouns import (
    OpenRelease,
    Pipeline,
    Plan,
    Project,
    Release,
    ReleaseCommand,
    ReleaseHistory,
    ReportStage,
    Rollback,
    RollbackRequest,
    Train,
)
from headrace.kernel.access import Role
from headrace.kernel.blobs import BlobStore
from headrace.kernel.database import Transactions
from headrace.project.manifest import Manifest

PageSize = Annotated[int, QueryParameter(ge=1, le=1_000)]


@post("/api/v1/plan", status_code=HTTP_200_OK)
async def plan_project(
    data: JSONBody[Manifest], transactions: NamedDependency[Transactions], blobs: NamedDependency[BlobStore]
) -> Plan:
    """What applying a project would change, and what has to be uploaded first."""
    missing = await asyncio.to_thread(apply.missing_blobs, data, blobs)
    return await transactions.read(lambda tx: apply.plan(tx, data, missing))


@post("/api/v1/apply", status_code=HTTP_200_OK)
async def apply_project(
    data: JSONBody[Manifest], transactions: NamedDependency[Transactions], blobs: NamedDependency[BlobStore]
) -> Plan:
    """Apply a project whose files have been uploaded, all of it or nothing."""
    # asked inside the transaction, so that what is there now is not collected before it is named
    return await transactions.write(lambda tx: apply.apply(tx, data, apply.missing_blobs(data, blobs)))


@get("/api/v1/projects")
async def list_projects(transactions: NamedDependency[Transactions]) -> tuple[Project, ...]:
    """The projects as they were last applied."""
    return await transactions.read(apply.projects)


@post("/api/v1/train", status_code=HTTP_202_ACCEPTED)
async def train_model(data: JSONBody[Train], transactions: NamedDependency[Transactions]) -> Pipeline:
    """Begin a pipeline; refused when the labels that it asks for are not mature."""
    return await transactions.write(lambda tx: pipelines.train(tx, data))


@get("/api/v1/pipelines")
async def list_pipelines(
    transactions: NamedDependency[Transactions], model: FromQuery[str | None] = None, limit: PageSize = 100
) -> tuple[Pipeline, ...]:
    """Pipelines, newest first."""
    return await transactions.read(lambda tx: pipelines.search(tx, model=model, limit=limit))


@get("/api/v1/pipelines/{pipeline_id:str}")
async def get_pipeline(pipeline_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Pipeline:
    """One pipeline with its stages."""
    return await transactions.read(lambda tx: pipelines.get(tx, pipeline_id))


@post("/api/v1/pipelines/{pipeline_id:str}/stages", status_code=HTTP_200_OK)
async def report_stage(
    pipeline_id: FromPath[str], data: JSONBody[ReportStage], transactions: NamedDependency[Transactions]
) -> Pipeline:
    """Take a worker's word on a stage."""
    return await transactions.write(lambda tx: pipelines.report_stage(tx, pipeline_id, data))


@post("/api/v1/releases")
async def open_release(data: JSONBody[OpenRelease], transactions: NamedDependency[Transactions]) -> Release:
    """Open the release of a version; safe to repeat."""
    return await transactions.write(lambda tx: releases.open_release(tx, data))


@get("/api/v1/releases")
async def list_releases(
    transactions: NamedDependency[Transactions],
    model: FromQuery[str | None] = None,
    open_only: FromQuery[bool] = False,
    limit: PageSize = 100,
) -> tuple[Release, ...]:
    """Releases, newest first."""
    return await transactions.read(lambda tx: waiting.search(tx, model=model, open_only=open_only, limit=limit))


@get("/api/v1/releases/{release_id:str}")
async def get_release(release_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Release:
    """One release with its state and evidence, and what its step waits for."""
    return await transactions.read(lambda tx: waiting.get(tx, release_id))


@get("/api/v1/releases/{release_id:str}/history")
async def get_release_history(
    release_id: FromPath[str], transactions: NamedDependency[Transactions]
) -> ReleaseHistory:
    """What happened to a release, told again from its events alone, and whether that is what is stored."""
    return await transactions.read(lambda tx: history.of_release(tx, release_id))


@post("/api/v1/releases/{release_id:str}/commands", status_code=HTTP_200_OK)
async def command_release(
    release_id: FromPath[str], data: JSONBody[ReleaseCommand], transactions: NamedDependency[Transactions]
) -> Release:
    """Pause, resume, abort, promote or roll back a release; safe to repeat."""
    return await transactions.write(lambda tx: releases.command(tx, release_id, data))


@post("/api/v1/models/{name:str}/rollback", status_code=HTTP_200_OK)
async def roll_back_model(
    name: FromPath[str], data: JSONBody[RollbackRequest], transactions: NamedDependency[Transactions]
) -> Rollback:
    """Return a model to an earlier version, if the one to be left still has the traffic; safe to repeat."""
    return await transactions.write(lambda tx: rollback.roll_back(tx, name, data))


@get("/api/v1/models/{name:str}/rollback")
async def look_at_rollback(name: FromPath[str], transactions: NamedDependency[Transactions]) -> Rollback:
    """What a rollback would do now: the version that it would leave, and the one that it would go to."""
    return await transactions.read(lambda tx: rollback.look(tx, name))


HANDLERS = [
    plan_project,
    apply_project,
    list_projects,
    train_model,
    list_pipelines,
    get_pipeline,
    report_stage,
    open_release,
    list_releases,
    get_release,
    get_release_history,
    command_release,
    look_at_rollback,
    roll_back_model,
]

AUTHORIZATION = {
    "POST /api/v1/plan": Role.DEVELOPER,
    "POST /api/v1/apply": Role.DEVELOPER,
    "GET /api/v1/projects": Role.VIEWER,
    "POST /api/v1/train": Role.DEVELOPER,
    "GET /api/v1/pipelines": Role.VIEWER,
    "GET /api/v1/pipelines/{pipeline_id}": Role.VIEWER,
    "POST /api/v1/pipelines/{pipeline_id}/stages": Role.SYSTEM,
    "POST /api/v1/releases": Role.DEVELOPER,
    "GET /api/v1/releases": Role.VIEWER,
    "GET /api/v1/releases/{release_id}": Role.VIEWER,
    "GET /api/v1/releases/{release_id}/history": Role.VIEWER,
    "POST /api/v1/releases/{release_id}/commands": Role.OPERATOR,
    "GET /api/v1/models/{name}/rollback": Role.VIEWER,
    "POST /api/v1/models/{name}/rollback": Role.OPERATOR,
}
