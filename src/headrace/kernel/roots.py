"""Artifact roots: folders and object stores that clients write to themselves, where a team keeps its files already.

Whoever begins an experiment may name any place for its files. The platform itself lists, reads, writes and removes
only below the roots that its operator named; otherwise any file of this machine, and whatever this machine's
credentials open, could be had by naming it.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import wraps
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, NamedTuple, ParamSpec, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.exceptions import NotFoundError as ObjectNotFoundError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store, from_url

from headrace.errors import InvalidInput, NotFound, NotServed, PolicyRefused, Unavailable
from headrace.kernel.blobs import CHUNK_BYTES, OBJECT_STORES
from headrace.kernel.ids import new_hex
from headrace.kernel.settings import Settings

LOCATION_LIMIT = 2_048
LONGEST_LINK = timedelta(days=7)
"""No object store honours a link for longer."""

_NOTHING = (FileNotFoundError, NotADirectoryError)

P = ParamSpec("P")
R = TypeVar("R")


class RootFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file at an artifact root.

    Attributes:
        path: relative to the place that was asked about, with forward slashes.
        tag: another one whenever the content may be another.
    """

    path: str
    size_bytes: int
    tag: str


class Listing(NamedTuple):
    """What is directly in a folder: the names of its folders, and its files."""

    folders: list[str]
    files: list[RootFile]


def normalized(location: str) -> str:
    """An artifact location as it is kept: a relative path becomes an absolute one, and no slash stays at its end.

    Raises:
        InvalidInput: it is no location.
        NotServed: it is of a kind that is not served.
    """
    if len(location) > LOCATION_LIMIT or any(ord(character) < 32 for character in unquote(location)):
        raise _refused(location, f"a location has at most {LOCATION_LIMIT} plain characters")
    try:
        parts = urlsplit(location)
    except ValueError as error:  # such as half of an IPv6 address
        raise _refused(location, "this is no address") from error
    if parts.query or parts.fragment:
        raise _refused(location, "a location has neither a query nor a fragment")
    if parts.username is not None or parts.password is not None:
        raise _refused(f"{parts.scheme}://…@{parts.hostname}", "a location carries no login")
    if ".." in unquote(parts.path).split("/"):
        raise _refused(location, "a location does not lead upwards")
    if parts.scheme == "":
        return os.path.normpath(Path(location).absolute())
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
            raise _refused(location, "a file: location is an absolute path on this machine")
        return f"file://{os.path.normpath(parts.path)}"
    if parts.scheme not in OBJECT_STORES:
        raise NotServed(
            f"files at {parts.scheme}: locations are not served",
            where=f"location {location[:200]!r}",
            fix=f"Use a path, file:, or one of {', '.join(sorted(OBJECT_STORES))}.",
        )
    if not parts.netloc:
        raise _refused(location, "a location in an object store names its bucket")
    segments = [segment for segment in parts.path.split("/") if segment not in {"", "."}]
    return "/".join((f"{parts.scheme}://{parts.netloc}", *segments))


class ArtifactRoots:
    """The roots that the operator named, and what is below them.

    A place is a location below a root, such as that of a run; paths are relative to it. Thread-safe.

    Errors: a place that is below no root raises PolicyRefused, a file that is not there NotFound, and a root that
    cannot be reached Unavailable.

    Args:
        default: where experiments keep their files that name no place of their own; empty: in this platform.
        further: roots below which an experiment may name its own place.

    Raises:
        InvalidInput: one of them is no location.
    """

    def __init__(self, default: str = "", further: Iterable[str] = ()) -> None:
        self.default = normalized(default) if default else ""
        named = [self.default, *(normalized(location) for location in further)]
        self._roots = {_comparable(location): _open(location) for location in named if location}

    def list_folder(self, place: str, folder: str = "") -> Listing:
        """What is directly in a folder; nothing when there is no such folder."""
        root, path = self._find(place, folder)
        return root.list_folder(path)

    def files_below(self, place: str, folder: str = "") -> list[RootFile]:
        """Every file below a folder, however deep, by path; links are none."""
        root, path = self._find(place, folder)
        return sorted(root.files_below(path), key=lambda file: file.path)

    def file(self, place: str, path: str) -> RootFile:
        """One file; its path is its name."""
        root, inner = self._find(place, path)
        return root.file(inner)

    def stream(self, place: str, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes of a file from `start` up to `end` (exclusive, None: to the end), in constant memory."""
        root, inner = self._find(place, path)
        return root.stream(inner, start, end)

    def put(self, place: str, path: str, content: Iterator[bytes]) -> None:
        """Store a file over what is there, in constant memory; nothing of it when the content ends in an error."""
        root, inner = self._find(place, path)
        root.put(inner, content)

    def delete(self, place: str, path: str = "") -> None:
        """Remove a file, or a folder with all in it; removing what is not there does nothing."""
        root, inner = self._find(place, path)
        if not inner:
            raise InvalidInput("a root itself is not removed", where=f"location {place[:200]!r}")
        root.delete(inner)

    def link(self, method: Literal["GET", "PUT"], place: str, path: str, valid_for: timedelta) -> str | None:
        """An address at which a file can be read or written without a login; None where a root gives none."""
        root, inner = self._find(place, path)
        return root.link(method, inner, min(valid_for, LONGEST_LINK))

    def _find(self, place: str, path: str) -> tuple["_Root", str]:
        if path and any(segment in {"", ".", ".."} for segment in path.split("/")):
            raise _missing(path)
        whole = _comparable(normalized(place)) + (f"/{path}" if path else "")
        for location, root in self._roots.items():
            if whole == location or whole.startswith(f"{location}/"):
                return root, whole[len(location) + 1 :]
        raise PolicyRefused(
            f"the platform reads no files at {place[:200]}",
            where="artifact location",
            fix="An operator allows it with HEADRACE_ARTIFACT_ROOTS, or with headrace up --artifact-root.",
        )


def open_roots(settings: Settings) -> ArtifactRoots:
    """The roots that a platform's operator named."""
    return ArtifactRoots(settings.artifact_root, settings.artifact_roots.split())


class _Root(Protocol):
    """One root; every path is relative to it."""

    def list_folder(self, path: str) -> Listing: ...
    def files_below(self, path: str) -> list[RootFile]: ...
    def file(self, path: str) -> RootFile: ...
    def stream(self, path: str, start: int, end: int | None) -> Iterator[bytes]: ...
    def put(self, path: str, content: Iterator[bytes]) -> None: ...
    def delete(self, path: str) -> None: ...
    def link(self, method: Literal["GET", "PUT"], path: str, valid_for: timedelta) -> str | None: ...


def _mapped(method: Callable[P, R]) -> Callable[P, R]:
    """The same method with the errors of a disk or an object store as ours."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except (ObjectNotFoundError, FileNotFoundError, NotADirectoryError) as error:
            raise _missing(str(args[1])) from error
        except IsADirectoryError as error:
            raise InvalidInput("a folder has this path", where=f"path {str(args[1])[:100]!r}") from error
        except (BaseError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.ELOOP:  # a link, which is not followed
                raise _missing(str(args[1])) from error
            raise _unreachable(error) from error

    return call


class _Folder:
    """A root on this machine. Who writes below it may plant links; none is followed, not even for a moment."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @_mapped
    def list_folder(self, path: str) -> Listing:
        found = Listing([], [])
        with suppress(*_NOTHING), self._directory(path) as directory, os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.folders.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    found.files.append(_file(entry.name, entry.stat(follow_symlinks=False)))
        return Listing(sorted(found.folders), sorted(found.files, key=lambda file: file.path))

    @_mapped
    def files_below(self, path: str) -> list[RootFile]:
        found = []
        with suppress(*_NOTHING), self._directory(path) as top:
            for folder, _, names, directory in os.fwalk(".", dir_fd=top):
                for name in names:
                    with suppress(FileNotFoundError):  # removed meanwhile
                        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            found.append(_file(PurePosixPath(folder, name).as_posix(), status))
        return found

    @_mapped
    def file(self, path: str) -> RootFile:
        with self._open(path) as file:
            return _file(path.rpartition("/")[2], os.fstat(file.fileno()))

    @_mapped
    def stream(self, path: str, start: int, end: int | None) -> Iterator[bytes]:
        file = self._open(path)
        file.seek(start)
        return _chunks(file, (end if end is not None else os.fstat(file.fileno()).st_size) - start)

    @_mapped
    def put(self, path: str, content: Iterator[bytes]) -> None:
        folder, _, name = path.rpartition("/")
        with self._directory(folder, make=True) as directory:
            staged = f".{new_hex()}"
            opened = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory)
            try:
                with os.fdopen(opened, "wb") as target:
                    target.writelines(content)
                    target.flush()
                    os.fsync(target.fileno())
                os.replace(staged, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(staged, dir_fd=directory)
                raise

    @_mapped
    def delete(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        with suppress(*_NOTHING), self._directory(folder) as directory:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                shutil.rmtree(name, dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)

    def link(self, method: Literal["GET", "PUT"], path: str, valid_for: timedelta) -> str | None:  # noqa: ARG002
        return None

    def _open(self, path: str) -> IO[bytes]:
        folder, _, name = path.rpartition("/")
        with self._directory(folder) as directory:
            opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise _missing(path)
        return os.fdopen(opened, "rb")

    @contextmanager
    def _directory(self, path: str, *, make: bool = False) -> Iterator[int]:
        """A descriptor of a folder, reached step by step."""
        if make:
            self._path.mkdir(parents=True, exist_ok=True)
        reached = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for segment in path.split("/") if path else ():
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(segment, dir_fd=reached)
                following = os.open(segment, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=reached)
                os.close(reached)
                reached = following
            yield reached
        finally:
            os.close(reached)


class _Bucket:
    """A root in an object store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @_mapped
    def list_folder(self, path: str) -> Listing:
        found = obstore.list_with_delimiter(self._store, f"{path}/" if path else None)
        depth = len(path) + 1 if path else 0
        folders = sorted(str(prefix)[depth:].strip("/") for prefix in found["common_prefixes"])
        files = [_object(entry, depth) for entry in found["objects"]]
        return Listing(folders, sorted((file for file in files if file.path), key=lambda file: file.path))

    @_mapped
    def files_below(self, path: str) -> list[RootFile]:
        depth = len(path) + 1 if path else 0
        pages = obstore.list(self._store, prefix=f"{path}/" if path else None)
        return [_object(entry, depth) for page in pages for entry in page]

    @_mapped
    def file(self, path: str) -> RootFile:
        return _object(obstore.head(self._store, path), path.rfind("/") + 1)

    @_mapped
    def stream(self, path: str, start: int, end: int | None) -> Iterator[bytes]:
        size_bytes = int(obstore.head(self._store, path)["size"])
        stop = size_bytes if end is None else min(end, size_bytes)
        if start >= stop:
            return iter(())
        found = obstore.get(self._store, path, options={"range": (start, stop)})
        return (bytes(chunk) for chunk in found.stream(min_chunk_size=CHUNK_BYTES))

    @_mapped
    def put(self, path: str, content: Iterator[bytes]) -> None:
        obstore.put(self._store, path, content)

    @_mapped
    def delete(self, path: str) -> None:
        below = obstore.list(self._store, prefix=f"{path}/" if path else None)
        listed = [str(entry["path"]) for page in below for entry in page]
        for each in [path, *listed] if path else listed:
            with suppress(ObjectNotFoundError, FileNotFoundError):
                obstore.delete(self._store, each)

    @_mapped
    def link(self, method: Literal["GET", "PUT"], path: str, valid_for: timedelta) -> str | None:
        if not isinstance(self._store, (S3Store, GCSStore, AzureStore)):
            return None
        return obstore.sign(self._store, method, path, valid_for)


def _open(location: str) -> _Root:
    parts = urlsplit(location)
    if parts.scheme in {"", "file"}:
        return _Folder(Path(_comparable(location)))
    try:
        return _Bucket(from_url(location))
    except (BaseError, ValueError) as error:
        raise _refused(location, "the object store cannot be opened") from error


def _comparable(location: str) -> str:
    """A normalized location with one spelling for each place: a path for `file:`."""
    return unquote(location.removeprefix("file://")) if location.startswith("file://") else location


def _chunks(file: IO[bytes], left: int) -> Iterator[bytes]:
    with file:
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def _file(path: str, status: os.stat_result) -> RootFile:
    return RootFile(path=path, size_bytes=status.st_size, tag=f"{status.st_mtime_ns:x}-{status.st_size:x}")


def _object(entry: Any, depth: int) -> RootFile:
    tag = entry["e_tag"] or f"{entry['last_modified'].timestamp()}-{entry['size']}"
    return RootFile(path=str(entry["path"])[depth:], size_bytes=int(entry["size"]), tag=tag.strip('"'))


def _refused(location: str, problem: str) -> InvalidInput:
    fix = "Use an absolute path, file:///path, or for example s3://bucket/prefix."
    return InvalidInput(problem, where=f"location {location[:200]!r}", fix=fix)


def _missing(path: str) -> NotFound:
    return NotFound(f"No such artifact: '{path[:200]}'", where="artifact root")


def _unreachable(error: BaseError | OSError) -> Unavailable:
    if isinstance(error, OSError):
        fix = f"Check its disk and who may write there: {error.strerror}."
        return Unavailable("the artifact root cannot be used", where="artifact root", fix=fix)
    refused = isinstance(error, (PermissionDeniedError, UnauthenticatedError))
    return Unavailable(
        "the artifact root refuses the platform's login" if refused else "the artifact root does not answer",
        where="artifact root",
        fix="Check the address and the login that the platform was started with, such as AWS_*.",
    )
