"""A model directory, each file verified on the very bytes that are handed to a loader.

Checking a file and loading it afterwards would leave a moment in which somebody may swap it.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from headrace.errors import InternalError, NotFound


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
            raise NotFound("the model directory has no such file", where=path[:200])
        require_inside(path)
        try:
            content = (self.directory / path).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a path that no file can have
            raise NotFound("the model directory has no such file", where=path[:200]) from error
        if self.digests is not None and _digest(content) != self.digests[path]:
            raise InternalError("the file is not the one that was registered", where=path[:200])
        return content

    def has(self, path: str) -> bool:
        """Whether the version has a file of this path."""
        if self.digests is not None:
            return path in self.digests
        try:
            require_inside(path)
            return (self.directory / path).is_file()
        except (InternalError, OSError, ValueError):
            return False

    def paths(self) -> list[str]:
        """Every file, sorted; links are not followed."""
        if self.digests is not None:
            return sorted(self.digests)
        found = (path for path in self.directory.rglob("*") if path.is_file() and not path.is_symlink())
        return sorted(path.relative_to(self.directory).as_posix() for path in found)

    def copy_to(self, target: Path) -> Path:
        """Write every file, verified, into a folder that is the caller's alone; for what loads by path.

        Raises:
            InternalError: a file is not what was registered.
        """
        for path in self.paths():
            copy = target / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(self.read(path))
        return target


def require_inside(path: str) -> None:
    """Refuse a path that leads out of the model directory.

    Raises:
        InternalError: it does.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise InternalError("a model file's path leads out of its directory", where=path[:200])


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
