"""Files of runs and logged models, wherever they are.

Most are in the platform: named here, with their bytes in the blob store. Those of an experiment with an artifact
location of its own are there, as clients write them themselves; the platform lists and reads them, and writes them
for whoever sends them here all the same.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar

import anyio.to_thread
import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.response import Stream

from headrace.errors import InvalidInput
from headrace.kernel import events, pins
from headrace.kernel.blobs import Blob, BlobStore
from headrace.kernel.database import Transactions, Tx
from headrace.kernel.roots import ArtifactRoots, RootFile
from headrace.kernel.uploads import receive
from headrace.tracking import artifacts
from headrace.tracking.downloads import Download, download
from headrace.tracking.nouns import Artifact, Entry
from headrace.tracking.paths import confined, confined_folder

T = TypeVar("T")


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a run or a logged model; `digest` is known of one that is kept in the platform."""

    path: str
    size_bytes: int
    digest: str | None = None


class Files:
    """What routes do with files; whose they are is `run/<id>` or `logged-model/<id>`.

    Args:
        transactions: of the caller.
        blobs: the platform's own files.
        roots: the places that the platform reads.
        limit_bytes: the largest upload.
    """

    def __init__(
        self, transactions: Transactions, blobs: BlobStore, roots: ArtifactRoots, *, limit_bytes: int
    ) -> None:
        self.transactions = transactions
        self.blobs = blobs
        self._roots = roots
        self._limit_bytes = limit_bytes

    async def listing(self, owner: str, folder: str = "") -> tuple[Entry, ...]:
        """The files and folders directly in a folder, by path; empty when there is no such folder.

        Raises:
            NotFound: there is no such run or logged model.
            InvalidInput: the path leaves its owner.
        """
        start = confined_folder(folder)
        place = await self._read(lambda tx: artifacts.place(tx, owner))
        if not place:
            return await self._read(lambda tx: artifacts.listing(tx, owner, start))
        found = await anyio.to_thread.run_sync(self._roots.list_folder, place, start)
        prefix = f"{start}/" if start else ""
        entries = [Entry(path=prefix + name, is_folder=True) for name in found.folders]
        entries += [
            Entry(path=prefix + file.path, is_folder=False, size_bytes=file.size_bytes) for file in found.files
        ]
        return tuple(sorted(entries, key=lambda entry: entry.path))

    async def below(self, owner: str, folder: str = "") -> tuple[File, ...]:
        """Every file below a folder, however deep, by path relative to the folder."""
        start = confined_folder(folder)
        place = await self._read(lambda tx: artifacts.place(tx, owner))
        if place:
            found = await anyio.to_thread.run_sync(self._roots.files_below, place, start)
            return tuple(File(path=file.path, size_bytes=file.size_bytes) for file in found)
        known = await self._read(lambda tx: artifacts.under(tx, owner, start))
        depth = len(start) + 1 if start else 0
        return tuple(File(path=each.path[depth:], size_bytes=each.size_bytes, digest=each.digest) for each in known)

    async def taken_in(self, owner: str, folder: str = "") -> tuple[File, ...]:
        """As `below`, with each file's bytes in the blob store: those at a root are copied, as they are now."""
        found = await self.below(owner, folder)
        place = await self._read(lambda tx: artifacts.place(tx, owner))
        if not place:
            return found
        prefix = f"{confined_folder(folder)}/" if folder else ""
        return tuple([await anyio.to_thread.run_sync(self._copied, place, prefix, file) for file in found])

    async def send(self, request: Request[Any, Any, Any], owner: str, path: str) -> Stream:
        """The answer to a request for a file.

        Raises:
            NotFound: there is no such file.
            InvalidInput: the path leaves its owner.
        """
        name = confined(path)
        place = await self._read(lambda tx: artifacts.place(tx, owner))
        if place:
            at_root = await anyio.to_thread.run_sync(self._roots.file, place, name)
            return download(request, self._at_root(place, name, at_root))
        found = await self._read(lambda tx: artifacts.get(tx, owner, name))
        return download(request, of_blob(self.blobs, name, found.digest, found.size_bytes))

    async def store(
        self, request: Request[Any, Any, Any], owner: str, path: str, *, limit_bytes: int | None = None
    ) -> Artifact:
        """Keep the body of a request as a file; whether it may be there is asked before the body is read.

        Raises:
            NotFound: there is no such run or logged model.
            InvalidInput: it is deleted, the path leaves it or goes through a file, or the body was cut off.
            TooLarge: more bytes came than are taken.
        """
        place = await self._read(lambda tx: artifacts.require_writable(tx, owner, path))
        most = self._limit_bytes if limit_bytes is None else min(limit_bytes, self._limit_bytes)
        body = _whole(request)
        if place:
            blob = await receive(body, lambda chunks: self._put_at_root(place, path, chunks), limit_bytes=most)
            return await self.transactions.write(lambda tx: artifacts.told(tx, owner, path, blob))
        blob = await receive(body, self.blobs.put, limit_bytes=most)
        return await self.transactions.write(lambda tx: artifacts.record(tx, owner, path, blob, self.blobs))

    async def delete(self, owner: str, path: str) -> None:
        """Remove a file, or a folder with all in it; nothing happens when there is none.

        Raises:
            Pinned: a registered version came from this owner.
        """
        place = await self._read(lambda tx: artifacts.require_writable(tx, owner, path))
        if not place:
            await self.transactions.write(lambda tx: artifacts.delete(tx, owner, path))
            return
        await self._read(lambda tx: pins.require_unpinned(tx, owner))
        await anyio.to_thread.run_sync(self._roots.delete, place, path)
        told = {"path": path, "place": place}
        await self.transactions.write(lambda tx: events.append(tx, "tracking.artifacts_deleted", owner, told))

    async def _read(self, work: Callable[[Tx], T]) -> T:
        return await self.transactions.read(work)

    def _at_root(self, place: str, path: str, file: RootFile) -> Download:
        return Download(
            path=path,
            tag=file.tag,
            size_bytes=file.size_bytes,
            stream=lambda start, end: self._roots.stream(place, path, start, end),
        )

    def _put_at_root(self, place: str, path: str, chunks: Iterator[bytes]) -> Blob:
        hasher, size_bytes = hashlib.sha256(), 0

        def passing() -> Iterator[bytes]:
            nonlocal size_bytes
            for chunk in chunks:
                hasher.update(chunk)
                size_bytes += len(chunk)
                yield chunk

        self._roots.put(place, path, passing())
        return Blob(digest=f"sha256:{hasher.hexdigest()}", size_bytes=size_bytes)

    def _copied(self, place: str, prefix: str, file: File) -> File:
        chunks: Iterable[bytes] = self._roots.stream(place, prefix + file.path)
        blob = self.blobs.put(chunks)
        return File(path=file.path, size_bytes=blob.size_bytes, digest=blob.digest)


def of_blob(blobs: BlobStore, path: str, digest: str, size_bytes: int) -> Download:
    """A blob as the file at a path."""
    return Download(
        path=path,
        tag=digest,
        size_bytes=size_bytes,
        stream=lambda start, end: blobs.stream(digest, start, end),
    )


async def _whole(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    """A body, and an error at its end when it was cut off."""
    announced = request.headers.get("content-length", "")
    expected_bytes = int(announced) if announced.isdecimal() else None
    received_bytes = 0
    try:
        async for chunk in request.stream():
            received_bytes += len(chunk)
            yield chunk
    except HTTPException as error:
        raise _cut_off() from error
    if expected_bytes is not None and received_bytes != expected_bytes:
        raise _cut_off()


def _cut_off() -> InvalidInput:
    return InvalidInput("the body was cut off", where="body", fix="Send the whole file again.")
