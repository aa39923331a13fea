"""The HTTP door of removing for good. A request does a little, and holds nobody up."""

from datetime import timedelta
from functools import partial

import anyio.to_thread
from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, SkipValidation

from headrace.kernel.access import Role
from headrace.kernel.blobs import BlobStore
from headrace.kernel.database import Transactions, Tx
from headrace.tracking import lifecycle, purging, runs, sweeping
from headrace.tracking.nouns import Collection, CollectRequest, Purge, PurgeRequest, Run


@post("/api/v1/runs/{run_id:str}/delete", status_code=200)
async def delete_run(run_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Run:
    """Hide a run; it can be restored until it is purged."""

    def work(tx: Tx) -> Run:
        lifecycle.delete_run(tx, run_id)
        return runs.get(tx, run_id)

    return await transactions.write(work)


@post("/api/v1/runs/{run_id:str}/restore", status_code=200)
async def restore_run(run_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Run:
    """Bring a deleted run back."""

    def work(tx: Tx) -> Run:
        lifecycle.restore_run(tx, run_id)
        return runs.get(tx, run_id)

    return await transactions.write(work)


@post("/api/v1/runs/{run_id:str}/purge", status_code=200)
async def purge_run(run_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Purge:
    """Remove a deleted run for good, however lately it was deleted."""
    return await transactions.write(lambda tx: purging.purge_run(tx, run_id))


@post("/api/v1/purge", status_code=200, operation_id="purge_deleted")
async def purge(data: JSONBody[PurgeRequest], transactions: NamedDependency[Transactions]) -> Purge:
    """Remove for good what was deleted long enough ago and nobody needs; call again while there is `more`."""
    older_than = timedelta(seconds=data.older_than_s)
    if data.dry_run:
        return await anyio.to_thread.run_sync(sweeping.preview, transactions.blocking, older_than)
    work = partial(sweeping.purge, transactions.blocking, older_than, limit=data.limit)
    return await anyio.to_thread.run_sync(work)


@post("/api/v1/blobs/collect", status_code=200, operation_id="collect_blobs")
async def collect(
    data: JSONBody[CollectRequest],
    transactions: NamedDependency[Transactions],
    blobs: NamedDependency[SkipValidation[BlobStore]],
) -> Collection:
    """Remove the blobs that nothing names any more."""
    spared = timedelta(seconds=data.spare_younger_than_s)
    work = partial(sweeping.collect, transactions.blocking, blobs, spared, dry_run=data.dry_run)
    return await anyio.to_thread.run_sync(work)


HANDLERS = [delete_run, restore_run, purge_run, purge, collect]

AUTHORIZATION = {
    "POST /api/v1/runs/{run_id}/delete": Role.DEVELOPER,
    "POST /api/v1/runs/{run_id}/restore": Role.DEVELOPER,
    "POST /api/v1/runs/{run_id}/purge": Role.ADMIN,
    "POST /api/v1/purge": Role.ADMIN,
    "POST /api/v1/blobs/collect": Role.ADMIN,
}
