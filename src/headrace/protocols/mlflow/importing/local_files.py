"""Files that lie on this machine, under the addresses that MLflow wrote down for them."""

import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from headrace.errors import InvalidInput
from headrace.protocols.mlflow.importing.source import FoundFile, Holder

PROXIED = "mlflow-artifacts"
NO_FOLDER = "runs and models without a folder of files"
"""What is told of those whose files were never written, or lie on another machine: it cannot be known which."""


def folder_of(holder: Holder, *, base: Path, proxied: Path | None = None) -> Path | None:
    """The folder with a holder's files; None when it has none, or they are not there.

    An address is believed only if it means a folder that MLflow makes: whoever wrote it could otherwise have any
    folder of this machine copied.

    Args:
        holder: whose files.
        base: what relative addresses are relative to.
        proxied: where the server that proxied them kept the files of `mlflow-artifacts:`.

    Raises:
        InvalidInput: the address means no folder on this machine, or none that is MLflow's.
    """
    if not holder.uri:
        return None
    path = _local(holder.uri, base, proxied)
    if path is None:
        raise InvalidInput(f"its files at {holder.uri} cannot be read from here", where=holder.owner)
    if not path.is_dir():
        return None
    kind, _, name = holder.owner.partition("/")
    mlflows = (path / "MLmodel").is_file() if kind == "version" else path.parts[-2:] == (name, "artifacts")
    if not mlflows or path.is_symlink():
        raise InvalidInput(f"its files are not at {holder.uri}: MLflow makes no such folder", where=holder.owner)
    return path


def _local(uri: str, base: Path, proxied: Path | None) -> Path | None:
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
