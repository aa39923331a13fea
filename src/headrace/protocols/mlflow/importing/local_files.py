"""Files that lie on this machine, under the addresses that MLflow wrote down for them."""

import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from headrace.protocols.mlflow.importing.source import FoundFile

PROXIED = "mlflow-artifacts"
NO_FOLDER = "runs and models without a folder of files"
"""What is told of those whose files were never written, or lie on another machine: it cannot be known which."""


def local_path(uri: str, *, base: Path, proxied: Path | None = None) -> Path | None:
    """The path that an address means on this machine; None when it means none.

    Args:
        uri: a path, or an address with `file:` or `mlflow-artifacts:`.
        base: what relative paths are relative to.
        proxied: where the server that proxied them kept the files of `mlflow-artifacts:`.
    """
    scheme, colon, _ = uri.partition(":")
    if not colon or "/" in scheme:
        return base / uri
    if scheme == "file":
        return Path(unquote(urlsplit(uri).path))
    if scheme == PROXIED and proxied is not None:
        return proxied / urlsplit(uri).path.lstrip("/")
    return None


def listing(folder: Path) -> list[FoundFile]:
    """The regular files below a folder, by path; links are not followed, since they may lead anywhere."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                relative = path.relative_to(folder).as_posix()
                found.append(FoundFile(path=relative, size_bytes=path.stat().st_size))
    return sorted(found, key=lambda file: file.path)


def copy(folder: Path, path: str, to: Path) -> None:
    """Copy one file below a folder to a new file."""
    with (folder / path).open("rb") as source, to.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
