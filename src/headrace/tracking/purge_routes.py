"""The HTTP door of removing for good. A request does a little, and holds nobody up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import anyio.to_thread
import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, SkipValidation

from headrace.kernel.access import Role
from headrace.kernel.blobs import BlobStore, StoredBlob
from headrace.kernel.database import Transactions, Tx
from headrace.tracking import collecting, lifecycle, purging, runs
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


@post("/api/v1/purge", status_code=200)
async def purge(data: JSONBody[PurgeRequest], transactions: NamedDependency[Transactions]) -> Purge:
    """Remove for good what was deleted long enough ago and nobody needs; call again while there is `more`."""
    before = await _ago(transactions, data.older_than_s)
    if data.dry_run:
        return await transactions.read(lambda tx: purging.preview(tx, before))
    done = Purge()
    going = await transactions.read(lambda tx: purging.candidates(tx, before, data.limit + 1))
    for subject in going[: data.limit]:  # each in a transaction of its own, so that other writers get their turn
        done = done.plus(await transactions.write(partial(_purge, subject, before)))
    more = len(going) > data.limit
    if not more:
        done = done.plus(await transactions.write(lambda tx: purging.purge_experiments(tx, before)))
    held = await transactions.read(lambda tx: purging.held(tx, before))
    return msgspec.structs.replace(done, held=held, more=more)


@post("/api/v1/blobs/collect", status_code=200)
async def collect(
    data: JSONBody[CollectRequest],
    transactions: NamedDependency[Transactions],
    blobs: NamedDependency[SkipValidation[BlobStore]],
) -> Collection:
    """Remove the blobs that nothing names any more."""
    before = await _ago(transactions, data.spare_younger_than_s)
    parts = collecting.parts(blobs)
    done = Collection()
    while (part := await anyio.to_thread.run_sync(next, parts, None)) is not None:
        old = [blob for blob in part if blob.stored_at <= before]
        going = await transactions.read(partial(_unneeded, old))
        if not data.dry_run:
            some = range(0, len(going), collecting.REMOVE_AT_ONCE)
            removed = [await transactions.write(partial(_remove, blobs, going, start)) for start in some]
            going = [blob for each in removed for blob in each]
        done = Collection(
            examined=done.examined + len(part),
            young=done.young + len(part) - len(old),
            blobs=done.blobs + len(going),
            bytes=done.bytes + sum(blob.size_bytes for blob in going),
        )
    return done


async def _ago(transactions: Transactions, seconds: float) -> datetime:
    return await transactions.read(lambda tx: tx.now) - timedelta(seconds=seconds)


def _purge(subject: str, before: datetime, tx: Tx) -> Purge:
    return purging.purge(tx, subject, before)


def _unneeded(found: Sequence[StoredBlob], tx: Tx) -> list[StoredBlob]:
    return collecting.unneeded(tx, found)


def _remove(blobs: BlobStore, going: Sequence[StoredBlob], start: int, tx: Tx) -> list[StoredBlob]:
    return collecting.remove(tx, blobs, going[start : start + collecting.REMOVE_AT_ONCE])


HANDLERS = [delete_run, restore_run, purge_run, purge, collect]

AUTHORIZATION = {
    "POST /api/v1/runs/{run_id}/delete": Role.DEVELOPER,
    "POST /api/v1/runs/{run_id}/restore": Role.DEVELOPER,
    "POST /api/v1/runs/{run_id}/purge": Role.ADMIN,
    "POST /api/v1/purge": Role.ADMIN,
    "POST /api/v1/blobs/collect": Role.ADMIN,
}
