"""Files at the addresses that MLflow wrote down for them: on this machine, or in an object store."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from headrace.errors import HeadraceError, InvalidInput
from headrace.kernel.blobs import OBJECT_STORES
from headrace.kernel.roots import ArtifactRoots, normalized
from headrace.protocols.mlflow.importing.source import FoundFile, Holder

PROXIED = "mlflow-artifacts"
NO_FOLDER = "runs and models without a folder of files"
"""What is told of those whose files were never written, or lie on another machine: it cannot be known which."""


def address_of(holder: Holder, *, base: Path, proxied: Path | None = None) -> str:
    """The absolute location of a holder's files; empty when it has none, or they are not there.

    A folder is believed only if it is one that MLflow makes: whoever wrote the address could otherwise have any
    folder of this machine copied.

    Args:
        holder: whose files.
        base: what relative addresses are relative to.
        proxied: where the server that proxied them kept the files of `mlflow-artifacts:`.

    Raises:
        InvalidInput: the address means no folder on this machine and no object store, or no folder of MLflow's.
    """
    if not holder.uri:
        return ""
    if urlsplit(holder.uri).scheme in OBJECT_STORES:
        return normalized(holder.uri)
    path = _local(holder.uri, base, proxied)
    if path is None:
        raise InvalidInput(f"its files at {holder.uri} cannot be read from here", where=holder.owner)
    if not path.is_dir():
        return ""
    kind, _, name = holder.owner.partition("/")
    mlflows = (path / "MLmodel").is_file() if kind == "version" else path.parts[-2:] == (name, "artifacts")
    if not mlflows or path.is_symlink():
        raise InvalidInput(f"its files are not at {holder.uri}: MLflow makes no such folder", where=holder.owner)
    return str(path.absolute())


def _local(uri: str, base: Path, proxied: Path | None) -> Path | None:
    scheme, colon, _ = uri.partition(":")
    if not colon or "/" in scheme:
        return base / uri
    if scheme == "file":
        return Path(unquote(urlsplit(uri).path))
    if scheme == PROXIED and proxied is not None:
        return proxied / urlsplit(uri).path.lstrip("/")
    return None


def listing(address: str) -> list[FoundFile]:
    """The files at a location, by path; links are not followed, since they may lead anywhere.

    Raises:
        InvalidInput: the object store does not let them be listed.
    """
    try:
        found = ArtifactRoots(address).files_below(address)
    except HeadraceError as problem:
        raise InvalidInput(
            f"its files at {address} cannot be listed: {problem.message}", where=address
        ) from problem
    return [FoundFile(path=file.path, size_bytes=file.size_bytes) for file in found]


def copy(address: str, path: str, to: Path) -> None:
    """Copy one file at a location to a new file."""
    with to.open("xb") as target:
        target.writelines(ArtifactRoots(address).stream(address, path))
