"""Model directories on this machine, fetched from the blob store once and kept under the digest of their files."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from headrace.errors import InternalError
from headrace.kernel.blobs import BlobStore, fetch
from headrace.kernel.ids import new_hex
from headrace.registry.nouns import ModelFile, directory_digest
from headrace.serving.nouns import ServedVersion
from headrace.serving.runtimes.files import ModelFiles, require_inside


class ModelCache:
    """Model directories under the digest of their listing, fetched from the blob store once per machine.

    Several processes may share the folder: a directory appears whole, by a rename, or not at all.

    Args:
        folder: where the directories lie.
        blobs: where their files come from.
    """

    def __init__(self, folder: Path, blobs: BlobStore) -> None:
        self.folder = folder
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
        return self._obtain(version.digest, version.files)

    def obtain_file(self, file: ModelFile) -> ModelFiles:
        """A directory with one file that was made for a version, fetched when it is not here yet.

        Raises:
            InternalError: the blob is damaged.
            NotFound: it is missing.
        """
        return self._obtain(file.digest, (file,))

    def evict(self, digest: str) -> None:
        """Forget a directory, so that it is fetched again."""
        shutil.rmtree(self._directory(digest), ignore_errors=True)

    def _directory(self, digest: str) -> Path:
        return self.folder / digest.removeprefix("sha256:")

    def _obtain(self, digest: str, files: Sequence[ModelFile]) -> ModelFiles:
        directory = self._directory(digest)
        if not directory.is_dir():
            self._fetch(files, directory)
        return ModelFiles(directory, {file.path: file.digest for file in files})

    def _fetch(self, files: Sequence[ModelFile], directory: Path) -> None:
        unfinished = self.folder / f".{new_hex()}"
        try:
            for file in files:
                require_inside(file.path)
                target = unfinished / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                fetch(self._blobs, file.digest, target)
            with suppress(FileExistsError, OSError):  # another process was first; its bytes are the same
                unfinished.rename(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        if not directory.is_dir():
            raise InternalError("the model's files could not be stored", where=str(directory))
