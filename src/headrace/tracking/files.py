"""Files of runs and logged models, wherever they are.

Most are in the platform: named here, with their bytes in the blob store. Those of an experiment with an artifact
location of its own are there, as clients write them themselves; the platform lists and reads them, and writes them
for whoever sends them here all the same.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeVar

import anyio.to_thread
import msgspec
from litestar import Request
from litestar.response import Stream

from headrace.errors import Conflict, NotFound, TooLarge
from headrace.kernel import events, pins
from headrace.kernel.blobs import Blob, BlobStore
from headrace.kernel.database import Transactions, Tx
from headrace.kernel.roots import ArtifactRoots, RootFile
from headrace.kernel.uploads import cut_off, receive
from headrace.tracking import artifacts, collecting
from headrace.tracking.downloads import Download, download
from headrace.tracking.nouns import Artifact, Entry
from headrace.tracking.paths import confined, confined_folder

T = TypeVar("T")


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a run or a logged model; `digest` is known of one that is kept in the platform."""

    path: str
    size_bytes: int
    digest: str | None = None


class FileLink(NamedTuple):
    """An address of a file that opens without a login; the size of one that is to be written is 0."""

    url: str
    size_bytes: int


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
        blob = await receive(_whole(request), lambda chunks: self._put(place, path, chunks), limit_bytes=most)
        return await self._named(place, owner, path, blob)

    async def store_part(self, request: Request[Any, Any, Any], upload: str) -> Blob:
        """Keep the body of a request as a blob that is going to be part of a file.

        It begins with the name of its upload, so that no two uploads share a part: one that is complete removes its
        own.

        Raises:
            InvalidInput: the body was cut off.
            TooLarge: more bytes came than are taken.
        """

        def named(chunks: Iterator[bytes]) -> Blob:
            return self.blobs.put(chain([upload.encode()], chunks))

        return await receive(_whole(request), named, limit_bytes=self._limit_bytes)

    async def join(self, owner: str, path: str, upload: str, parts: Sequence[Blob]) -> None:
        """Keep the parts of an upload as one file; again, it is the same file.

        Raises:
            Conflict: a part is no longer there.
            TooLarge: together they are larger than a file may be.
        """
        place = await self._read(lambda tx: artifacts.require_writable(tx, owner, path))
        size_bytes = sum(part.size_bytes - len(upload) for part in parts)
        if size_bytes > self._limit_bytes:
            raise TooLarge(f"the file is larger than {self._limit_bytes} bytes", where=path)
        try:
            whole = await anyio.to_thread.run_sync(self._put, place, path, self._chunks_of(parts, len(upload)))
        except NotFound as error:
            with suppress(NotFound):
                if await self._size(place, owner, path) == size_bytes:  # an earlier try of the same request did it
                    return
            fix = "Send the whole file again."
            raise Conflict("a part of the file is no longer there", where=path, fix=fix) from error
        await self._named(place, owner, path, whole)
        await self.transactions.write(lambda tx: collecting.remove(tx, self.blobs, parts))

    async def link(
        self, method: Literal["GET", "PUT"], owner: str, path: str, valid_for: timedelta
    ) -> FileLink | None:
        """An address of a file that opens without a login; None where the file is in a folder.

        Raises:
            NotFound: there is no such file to read.
            InvalidInput: the path leaves its owner.
        """
        name = confined(path)
        place = await self._read(lambda tx: artifacts.place(tx, owner))
        if place:
            at_root = await anyio.to_thread.run_sync(self._roots.link, method, place, name, valid_for)
            size_bytes = await self._size(place, owner, name) if method == "GET" else 0
            return None if at_root is None else FileLink(at_root, size_bytes)
        if method == "PUT":  # nobody writes blobs but the platform
            return None
        found = await self._read(lambda tx: artifacts.get(tx, owner, name))
        return await self.blob_link(found.digest, found.size_bytes, valid_for)

    async def blob_link(self, digest: str, size_bytes: int, valid_for: timedelta) -> FileLink | None:
        """An address of a blob that opens without a login; None where blobs are in a folder."""
        url = await anyio.to_thread.run_sync(self.blobs.link, digest, valid_for)
        return None if url is None else FileLink(url, size_bytes)

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

    async def _named(self, place: str, owner: str, path: str, blob: Blob) -> Artifact:
        """Record a file whose content is where it belongs."""
        if place:
            return await self.transactions.write(lambda tx: artifacts.told(tx, owner, path, blob))
        return await self.transactions.write(lambda tx: artifacts.record(tx, owner, path, blob, self.blobs))

    async def _size(self, place: str, owner: str, path: str) -> int:
        if place:
            return (await anyio.to_thread.run_sync(self._roots.file, place, path)).size_bytes
        return (await self._read(lambda tx: artifacts.get(tx, owner, path))).size_bytes

    def _chunks_of(self, parts: Iterable[Blob], skipped_bytes: int) -> Iterator[bytes]:
        """The bytes of parts, each verified, without the first few of each."""
        for part in parts:
            left = skipped_bytes
            for chunk in self.blobs.stream(part.digest):
                yield chunk[left:]
                left = max(0, left - len(chunk))

    def _put(self, place: str, path: str, chunks: Iterator[bytes]) -> Blob:
        return self._put_at_root(place, path, chunks) if place else self.blobs.put(chunks)

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
    async for chunk in request.stream():
        received_bytes += len(chunk)
        yield chunk
    if expected_bytes is not None and received_bytes != expected_bytes:
        raise cut_off()
