"""A version's files on this machine, each verified on the very bytes that are handed to a loader.

Checking a file and loading it afterwards would leave a moment in which somebody may swap it.
"""

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from headrace.errors import InternalError, NotFound
from headrace.kernel.blobs import BlobStore, fetch
from headrace.kernel.ids import new_hex
from headrace.registry.nouns import directory_digest
from headrace.serving.nouns import ServedVersion


class ModelFiles:
    """Reads the files of one model directory.

    Args:
        directory: the model directory.
        digests: `sha256:<hex>` by path; None trusts the directory, which is for a directory of one's own.
    """

    def __init__(self, directory: Path, digests: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.digests = None if digests is None else dict(digests)

    def read(self, path: str) -> bytes:
        """The content of one file, verified.

        Raises:
            NotFound: the version has no such file.
            InternalError: the file is not what was registered.
        """
        if self.digests is not None and path not in self.digests:
            raise NotFound("the model directory has no such file", where=path)
        _inside(path)
        try:
            content = (self.directory / path).read_bytes()
        except OSError as error:
            raise NotFound("the model directory has no such file", where=path) from error
        if self.digests is not None and _digest(content) != self.digests[path]:
            raise InternalError("the file is not the one that was registered", where=path)
        return content


class ModelCache:
    """Model directories under the digest of their listing, fetched from the blob store once per machine.

    Several processes may share the folder: a directory appears whole, by a rename, or not at all.

    Args:
        folder: where the directories lie.
        blobs: where their files come from.
    """

    def __init__(self, folder: Path, blobs: BlobStore) -> None:
        self._folder = folder
        self._blobs = blobs

    def obtain(self, version: ServedVersion) -> ModelFiles:
        """The version's files, fetched when they are not here yet.

        Raises:
            InternalError: the listing is not the one that was registered, or a blob is damaged.
            NotFound: a blob is missing.
        """
        where = f"version/{version.model}/{version.number}"
        if directory_digest(version.files) != version.digest:
            raise InternalError("the listing of files does not have its registered digest", where=where)
        directory = self._directory(version)
        if not directory.is_dir():
            self._fetch(version, directory)
        return ModelFiles(directory, {file.path: file.digest for file in version.files})

    def evict(self, version: ServedVersion) -> None:
        """Forget the version's directory, so that it is fetched again."""
        shutil.rmtree(self._directory(version), ignore_errors=True)

    def _directory(self, version: ServedVersion) -> Path:
        return self._folder / version.digest.removeprefix("sha256:")

    def _fetch(self, version: ServedVersion, directory: Path) -> None:
        unfinished = self._folder / f".{new_hex()}"
        try:
            for file in version.files:
                _inside(file.path)
                target = unfinished / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                fetch(self._blobs, file.digest, target)
            with suppress(FileExistsError, OSError):  # another process was first; its bytes are the same
                unfinished.rename(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        if not directory.is_dir():
            raise InternalError("the model's files could not be stored", where=str(directory))


def _inside(path: str) -> None:
    """Refuse a path that leads out of the model directory."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise InternalError("a model file's path leads out of its directory", where=path)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
