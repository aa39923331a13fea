"""Collecting blobs: the bytes that no file and no pin names any more.

What was put lately is spared, since whoever put it may be about to name it. Whether a blob is needed is asked again
in the transaction that removes it, and a file is recorded only while its blob is there, so nothing that is named is
lost.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

from headrace.kernel import events
from headrace.kernel.blobs import Blob, BlobStore, StoredBlob
from headrace.kernel.database import Tx
from headrace.tracking import tables_purging

B = TypeVar("B", bound=Blob)

LOOK_AT_ONCE = 500
REMOVE_AT_ONCE = 50


def parts(blobs: BlobStore) -> Iterator[list[StoredBlob]]:
    """Every blob of a store, some at once."""
    found = iter(blobs.stored())
    while part := list(islice(found, LOOK_AT_ONCE)):
        yield part


def unneeded(tx: Tx, found: Sequence[B]) -> list[B]:
    """Those blobs that nothing names."""
    needed = tables_purging.needed(tx, [blob.digest for blob in found])
    return [blob for blob in found if blob.digest not in needed]


def remove(tx: Tx, blobs: BlobStore, found: Sequence[B]) -> list[B]:
    """Remove those of the blobs that nothing names now; returns them."""
    going = [blob for blob in unneeded(tx, found) if blobs.exists(blob.digest)]
    for blob in going:
        blobs.delete(blob.digest)
    if going:
        size_bytes = sum(blob.size_bytes for blob in going)
        digests = [blob.digest for blob in going]
        events.append(tx, "tracking.blobs_collected", "blobs", {"digests": digests, "bytes": size_bytes})
    return going
