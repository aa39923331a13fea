"""The door for history from another server; to write it is for administrators."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import anyio.to_thread
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody, SkipValidation

from headrace.errors import InvalidInput
from headrace.kernel.access import Role
from headrace.kernel.blobs import BlobStore
from headrace.kernel.database import Transactions, Tx
from headrace.tracking import importing
from headrace.tracking.imported import (
    Here,
    ImportedExperiment,
    ImportExperiment,
    ImportFile,
    ImportFiles,
    ImportLoggedModel,
    ImportModelMetrics,
    ImportPoints,
    ImportRun,
    Kept,
    Look,
    Refusal,
)

T = TypeVar("T")

BODY_BYTES = 64 * 1024**2
"""A single run may describe several datasets, each in 16 MB."""


def _each(found: Iterable[T], take: Callable[[Tx, T], Iterable[Refusal]]) -> Callable[[Tx], Kept]:
    """All of it in one transaction."""
    return lambda tx: Kept(refused=tuple(refusal for each in found for refusal in take(tx, each)))


@post("/api/v1/import/experiments", status_code=200, request_max_body_size=BODY_BYTES)
async def import_experiments(
    data: JSONBody[tuple[ImportExperiment, ...]], transactions: NamedDependency[Transactions]
) -> tuple[ImportedExperiment, ...]:
    """Take in experiments."""
    return await transactions.write(lambda tx: tuple(importing.take_experiment(tx, each) for each in data))


@post("/api/v1/import/runs", status_code=200, request_max_body_size=BODY_BYTES)
async def import_runs(data: JSONBody[tuple[ImportRun, ...]], transactions: NamedDependency[Transactions]) -> Kept:
    """Take in runs, without the points of their metrics."""
    return await transactions.write(_each(data, importing.take_run))


@post("/api/v1/import/points", status_code=200, request_max_body_size=BODY_BYTES)
async def import_points(
    data: JSONBody[tuple[ImportPoints, ...]], transactions: NamedDependency[Transactions]
) -> Kept:
    """Take in points of the metrics of runs."""
    return await transactions.write(lambda tx: Kept(refused=importing.take_points(tx, data)))


@post("/api/v1/import/logged-models", status_code=200, request_max_body_size=BODY_BYTES)
async def import_logged_models(
    data: JSONBody[tuple[ImportLoggedModel, ...]], transactions: NamedDependency[Transactions]
) -> Kept:
    """Take in logged models, without their metrics."""
    return await transactions.write(_each(data, importing.take_logged_model))


@post("/api/v1/import/model-metrics", status_code=200, request_max_body_size=BODY_BYTES)
async def import_model_metrics(
    data: JSONBody[tuple[ImportModelMetrics, ...]], transactions: NamedDependency[Transactions]
) -> Kept:
    """Take in what runs measured on logged models."""
    return await transactions.write(_each(data, importing.take_model_metrics))


@post("/api/v1/import/files", status_code=200, request_max_body_size=BODY_BYTES)
async def import_files(
    data: JSONBody[tuple[ImportFiles, ...]],
    transactions: NamedDependency[Transactions],
    blobs: NamedDependency[SkipValidation[BlobStore]],
) -> Kept:
    """Give blobs that were sent before their names."""
    for each in data:
        for file in each.files:
            if await anyio.to_thread.run_sync(blobs.size, file.digest) != file.size_bytes:
                raise InvalidInput("the blob is of another size", where=file.digest)
    return await transactions.write(_each(data, importing.take_files))


@post("/api/v1/import/look", status_code=200, operation_id="look_at_imported")
async def look(data: JSONBody[Look], transactions: NamedDependency[Transactions]) -> Here:
    """What is here of some runs and logged models."""
    return await transactions.read(lambda tx: importing.look(tx, data))


@get("/api/v1/export/files", operation_id="list_exported_files")
async def list_files(owner: FromQuery[str], transactions: NamedDependency[Transactions]) -> tuple[ImportFile, ...]:
    """Every file of a run or a logged model, `run/<id>` or `logged-model/<id>`, with the address of its bytes."""
    return await transactions.read(lambda tx: importing.files_of(tx, owner))


HANDLERS = [
    import_experiments,
    import_runs,
    import_points,
    import_logged_models,
    import_model_metrics,
    import_files,
    look,
    list_files,
]

AUTHORIZATION = {
    "POST /api/v1/import/experiments": Role.ADMIN,
    "POST /api/v1/import/runs": Role.ADMIN,
    "POST /api/v1/import/points": Role.ADMIN,
    "POST /api/v1/import/logged-models": Role.ADMIN,
    "POST /api/v1/import/model-metrics": Role.ADMIN,
    "POST /api/v1/import/files": Role.ADMIN,
    "POST /api/v1/import/look": Role.VIEWER,
    "GET /api/v1/export/files": Role.VIEWER,
}
