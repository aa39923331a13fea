"""Sweeping: what was deleted long enough ago is removed piece by piece, then the blobs that nothing names any more.

Each run, logged model and handful of blobs goes in a transaction of its own. So other writers get their turn, and a
process that is killed in between leaves nothing half removed.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import msgspec
import structlog

from headrace.kernel.blobs import BlobStore, StoredBlob
from headrace.kernel.database import Blocking, Tx
from headrace.tracking import collecting, purging
from headrace.tracking.nouns import Collection, Purge

log = structlog.get_logger()

AT_ONCE = 100
SPARED = timedelta(days=1)
"""Blobs that were put within this time stay: somebody may be about to name them."""


def purge(transactions: Blocking, older_than: timedelta, *, limit: int) -> Purge:
    """Remove up to `limit` runs and logged models that were deleted long enough ago, and experiments left empty."""
    before = _ago(transactions, older_than)
    going = transactions.read(lambda tx: purging.candidates(tx, before, limit + 1))
    done = Purge()
    for subject in going[:limit]:
        done = done.plus(transactions.write(partial(_purge, subject, before)))
    more = len(going) > limit
    if not more:
        done = done.plus(transactions.write(lambda tx: purging.purge_experiments(tx, before)))
    held = transactions.read(lambda tx: purging.held(tx, before))
    return msgspec.structs.replace(done, held=held, more=more)


def preview(transactions: Blocking, older_than: timedelta) -> Purge:
    """What `purge` without a limit would remove; changes nothing."""
    before = _ago(transactions, older_than)
    return transactions.read(lambda tx: purging.preview(tx, before))


def collect(transactions: Blocking, blobs: BlobStore, spared: timedelta, *, dry_run: bool = False) -> Collection:
    """Remove the blobs that nothing names, or count them; those that were put within a span of time stay."""
    before = _ago(transactions, spared)
    done = Collection()
    for part in collecting.parts(blobs):
        old = [blob for blob in part if blob.stored_at <= before]
        going = transactions.read(partial(_unneeded, old))
        if not dry_run:
            some = [
                going[start : start + collecting.REMOVE_AT_ONCE]
                for start in range(0, len(going), collecting.REMOVE_AT_ONCE)
            ]
            going = [blob for each in some for blob in transactions.write(partial(_remove, blobs, each))]
        done = Collection(
            examined=done.examined + len(part),
            young=done.young + len(part) - len(old),
            blobs=done.blobs + len(going),
            bytes=done.bytes + sum(blob.size_bytes for blob in going),
        )
    return done


def sweep(transactions: Blocking, blobs: BlobStore, retention: timedelta) -> None:
    """What a platform with a retention does by itself, now and then."""
    done = Purge(more=True)
    while done.more:
        last = purge(transactions, retention, limit=AT_ONCE)
        done = msgspec.structs.replace(done.plus(last), more=last.more and last.runs + last.logged_models > 0)
    freed = collect(transactions, blobs, SPARED)
    if done != Purge() or freed.blobs:
        log.info("removed for good", runs=done.runs, logged_models=done.logged_models, bytes=freed.bytes)


def _ago(transactions: Blocking, span: timedelta) -> datetime:
    return transactions.read(lambda tx: tx.now) - span


def _purge(subject: str, before: datetime, tx: Tx) -> Purge:
    return purging.purge(tx, subject, before)


def _unneeded(found: Sequence[StoredBlob], tx: Tx) -> list[StoredBlob]:
    return collecting.unneeded(tx, found)


def _remove(blobs: BlobStore, going: Sequence[StoredBlob], tx: Tx) -> list[StoredBlob]:
    return collecting.remove(tx, blobs, going)
