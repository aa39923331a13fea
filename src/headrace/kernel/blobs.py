"""Bytes that never change, kept under the digest of their content.

Whatever is too large for a row lives here: artifacts, bundles, files of models, uploaded data. A blob is
named by what it holds, so it is stored once, may be cached without end, and a reader can tell when it was
damaged. Blobs are only ever created and deleted: compare-and-set belongs in the database, as local object
stores cannot do it.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.exceptions import NotFoundError as ObjectNotFoundError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store, from_url

from headrace.errors import InternalError, InvalidInput, NotFound, Unavailable
from headrace.kernel.clocks import SystemClock
from headrace.kernel.ids import new_hex

CHUNK_BYTES = 1 << 20
OBJECT_STORES = frozenset({"s3", "gs", "az", "abfss"})
YOUNG = timedelta(hours=1)
"""An object that is put again within this time need not be sent again to count as new."""

ALGORITHM = "sha256"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """The name and the size of a stored blob; the digest reads `sha256:<64 hex digits>`."""

    digest: str
    size_bytes: int


class StoredBlob(Blob, frozen=True, kw_only=True):
    """A blob as it lies in the store; `stored_at` is when it was put last, whether or not it was there before."""

    stored_at: datetime


@runtime_checkable  # Litestar checks what it injects
class BlobStore(Protocol):
    """Content-addressed storage.

    Thread safety: every method may be called from any thread and any process at once; after a fork, open
    anew.
    Order: once `put` has returned, the blob is durable and every reader sees all of it; before that, nobody
    sees any of it. Two writers of the same content both succeed and one copy is kept.
    Ownership: the store copies what it is given and keeps no reference to the caller's file or buffer.
    Errors: a malformed digest raises InvalidInput, a blob that is not there NotFound, a blob whose content no
    longer has its digest InternalError, and a store that cannot write, such as one on a full disk, Unavailable;
    then nothing of the blob is kept.
    """

    def put(self, content: bytes | Path | Iterable[bytes]) -> Blob:
        """Store bytes, a regular file (links are not followed) or a stream, in constant memory."""

    def read(self, digest: str) -> bytes:
        """The whole blob, its digest verified."""

    def stream(self, digest: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `end` (exclusive, None: to the end), in constant memory.

        When the whole blob is asked for its digest is verified, and its last chunk is given only if it holds.
        """

    def size(self, digest: str) -> int:
        """The size in bytes."""

    def exists(self, digest: str) -> bool:
        """Whether the blob is there."""

    def delete(self, digest: str) -> None:
        """Remove the blob; removing one that is not there does nothing."""

    def stored(self) -> Iterator[StoredBlob]:
        """Every blob, in no order; what is put or deleted meanwhile may be among them or not."""

    def link(self, digest: str, valid_for: timedelta) -> str | None:
        """An address at which whoever has it may read the blob for a while; None from a store that gives none."""


def open_blob_store(home: Path, url: str = "") -> BlobStore:
    """Open the store of a platform.

    Args:
        home: the platform's home; uploads are staged in `home/blobs`, and stay there without a URL.
        url: an object store, such as `s3://bucket/prefix`; empty: the home.

    Raises:
        InvalidInput: the URL names no object store that is known.
    """
    directory = home / "blobs"
    staging = _Staging(directory / "staging")
    if not url:
        return LocalBlobStore(directory, staging)
    try:
        return ObjectBlobStore(from_url(url), staging)
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise InvalidInput(
            "this is not the URL of an object store", where=url, fix="Use for example s3://bucket/prefix."
        ) from error


def fetch(store: BlobStore, digest: str, to: Path) -> None:
    """Write a blob to a file that does not exist yet, verified and in constant memory."""
    with to.open("xb") as file:
        for chunk in store.stream(digest):
            file.write(chunk)


def download(url: str, to: Path) -> None:
    """Copy one object of somebody's object store into a new file.

    Only object stores are read: `file:` would show this machine's own files to whoever names a source, and `http:`
    what answers inside its network.

    Raises:
        InvalidInput: the URL is of another kind, or there is nothing to read.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in OBJECT_STORES:
        raise InvalidInput(
            f"workers do not read {scheme}: URLs", where=url, fix=f"Use one of {', '.join(sorted(OBJECT_STORES))}."
        )
    folder, _, name = url.rpartition("/")
    try:
        content = obstore.get(from_url(folder), name)
        with to.open("xb") as file:
            for chunk in content.stream(min_chunk_size=CHUNK_BYTES):
                file.write(chunk)
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise InvalidInput("the object cannot be read", where=url, fix=str(error).splitlines()[0][:200]) from error


class ObjectBlobStore:
    """Blobs in any object store that obstore speaks to; see `BlobStore` for what is promised."""

    def __init__(self, store: ObjectStore, staging: "_Staging") -> None:
        self._store = store
        self._staging = staging

    def put(self, content: bytes | Path | Iterable[bytes]) -> Blob:
        """Spool to a local file to learn the digest, then publish under it."""
        hasher = hashlib.sha256()
        size_bytes = 0
        with self._staging.file() as (file, path):
            for chunk in _chunks(content):
                hasher.update(chunk)
                _write(file, chunk)
                size_bytes += len(chunk)
            blob = Blob(digest=f"sha256:{hasher.hexdigest()}", size_bytes=size_bytes)
            key = _key(blob.digest)
            with _writing():
                if self._size(key) != size_bytes or not self._renew(key):
                    self._publish(file, path, key)
        return blob

    def read(self, digest: str) -> bytes:
        """The whole blob, its digest verified."""
        return b"".join(self.stream(digest))

    def stream(self, digest: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes of a range, or of the whole blob verified."""
        size_bytes = self.size(digest)
        stop = size_bytes if end is None else min(end, size_bytes)
        if start < 0 or (end is not None and end < start):
            raise InvalidInput("the range of bytes is not one", where=f"{digest}[{start}:{end}]")
        whole = start == 0 and stop == size_bytes
        return self._verified(digest, stop) if whole else self._range(digest, start, stop)

    def size(self, digest: str) -> int:
        """The size in bytes."""
        found = self._size(_key(digest))
        if found is None:
            raise _missing(digest)
        return found

    def exists(self, digest: str) -> bool:
        """Whether the blob is there."""
        return self._size(_key(digest)) is not None

    def delete(self, digest: str) -> None:
        """Remove the blob, if it is there."""
        with suppress(ObjectNotFoundError, FileNotFoundError):
            obstore.delete(self._store, _key(digest))

    def stored(self) -> Iterator[StoredBlob]:
        """Every blob."""
        for page in obstore.list(self._store, prefix=ALGORITHM):
            for found in page:
                name = str(found["path"]).rpartition("/")[2]
                if _DIGEST.fullmatch(digest := f"{ALGORITHM}:{name}"):
                    yield StoredBlob(digest=digest, size_bytes=found["size"], stored_at=found["last_modified"])

    def link(self, digest: str, valid_for: timedelta) -> str | None:
        """An address at which the blob may be read for a while."""
        if not isinstance(self._store, (S3Store, GCSStore, AzureStore)):
            return None
        return obstore.sign(self._store, "GET", _key(digest), valid_for)

    def _renew(self, key: str) -> bool:
        """Whether an object that is there is as young as if it had just been stored."""
        try:
            found = obstore.head(self._store, key)
        except (ObjectNotFoundError, FileNotFoundError):
            return False
        return SystemClock().now() - found["last_modified"] < YOUNG

    def _size(self, key: str) -> int | None:
        try:
            return int(obstore.head(self._store, key)["size"])
        except (ObjectNotFoundError, FileNotFoundError):
            return None

    def _publish(self, file: FileIO, path: Path, key: str) -> None:  # noqa: ARG002
        # A multipart upload shows the object only when it is complete; a second one of the same bytes is
        # harmless.
        obstore.put(self._store, key, path)

    def _range(self, digest: str, start: int, stop: int) -> Iterator[bytes]:
        if start >= stop:
            return
        try:
            result = obstore.get(self._store, _key(digest), options={"range": (start, stop)})
        except (ObjectNotFoundError, FileNotFoundError) as error:
            raise _missing(digest) from error
        for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(chunk)

    def _verified(self, digest: str, size_bytes: int) -> Iterator[bytes]:
        hasher = hashlib.sha256()
        held: bytes | None = None
        for chunk in self._range(digest, 0, size_bytes):
            if held is not None:
                yield held
            hasher.update(chunk)
            held = chunk
        if f"sha256:{hasher.hexdigest()}" != digest:
            raise InternalError(
                "the blob no longer has the content that it was stored with",
                where=digest,
                fix="Restore it from a backup, or store the same content again after deleting it.",
            )
        if held is not None:
            yield held


class LocalBlobStore(ObjectBlobStore):
    """Blobs in a directory: `<directory>/sha256/<first two digits>/<digest>`; see `BlobStore`.

    The content is flushed to the disk before it gets its name, and the name is made by a hard link, which
    either creates it or fails, so that neither a crash nor a second writer can leave half a blob.
    """

    def __init__(self, directory: Path, staging: "_Staging") -> None:
        self._directory = directory
        super().__init__(LocalStore(prefix=directory, mkdir=True), staging)

    def _size(self, key: str) -> int | None:
        # The object store would follow a link that somebody planted; what is not a plain file is not a blob.
        path = self._directory / key
        for step in (path.parent.parent, path.parent, path):
            if step.is_symlink():
                return None
        return path.stat().st_size if path.is_file() else None

    def _renew(self, key: str) -> bool:
        try:
            os.utime(self._directory / key)
        except FileNotFoundError:
            return False
        return True

    def _publish(self, file: FileIO, path: Path, key: str) -> None:
        os.fsync(file.fileno())
        target = self._directory / key
        if target.parent.is_symlink() or target.parent.parent.is_symlink():
            raise InternalError("a directory of the blob store is a link", where=str(target.parent))
        source = path.relative_to(self._directory).as_posix()
        try:
            obstore.rename(self._store, source, key, overwrite=False)
        except AlreadyExistsError:
            if self._size(key) == path.stat().st_size:
                return  # another writer of the same bytes was first
            obstore.rename(self._store, source, key, overwrite=True)  # what is there is torn, or a planted link
        for directory in (target.parent, target.parent.parent, self._directory):
            _flush_directory(directory)


class _Staging:
    """Files on their way into the store; opening the store removes what a killed process left behind."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        for path in directory.iterdir():
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by its writer for as long as that lives
                path.unlink()

    @contextmanager
    def file(self) -> Iterator[tuple[FileIO, Path]]:
        while True:
            path = self._directory / new_hex()
            with _writing():
                opened = path.open("xb", buffering=0)  # what is buffered would fail when it is closed
            with opened as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not path.exists():
                    continue  # another process opened the store before the lock was taken, and swept it
                try:
                    yield file, path
                finally:
                    path.unlink(missing_ok=True)
                return


def _write(file: FileIO, chunk: bytes) -> None:
    left = memoryview(chunk)
    with _writing():
        while left:
            left = left[file.write(left) :]


@contextmanager
def _writing() -> Iterator[None]:
    """Tell a disk that is full, or a store that does not answer, from a defect."""
    try:
        yield
    except (OSError, BaseError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise Unavailable(
            f"the blob store could not write: {reason}",
            where="blobs",
            fix="Check the disk; nothing of this request was kept, send it again.",
        ) from error


def _chunks(content: bytes | Path | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, Path):
        with _open_plain_file(content) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    else:
        yield from content


def _open_plain_file(path: Path) -> IO[bytes]:
    if path.is_symlink() or not path.is_file():
        raise InvalidInput(
            "only regular files can be stored, links are not followed",
            where=str(path),
            fix="Store the file itself.",
        )
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def _key(digest: str) -> str:
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise InvalidInput("this is not a digest", where=digest[:80], fix="Use sha256: and 64 hex digits.")
    name = match[1]
    return f"sha256/{name[:2]}/{name}"


def _missing(digest: str) -> NotFound:
    return NotFound("there is no blob with this digest", where=digest)


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
