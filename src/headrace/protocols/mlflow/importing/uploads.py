"""Sending files to the platform: bytes first, under their digest, then their names."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from headrace.client.transport import Transport
from headrace.errors import HeadraceError
from headrace.protocols.mlflow.importing.source import FoundFile, Holder, Source
from headrace.tracking.imported import ImportFile

CHUNK_BYTES = 1 << 20


def send(
    source: Source, transport: Transport, holder: Holder, files: list[FoundFile], problems: list[str]
) -> tuple[ImportFile, ...]:
    """Copy files into the blob store, each in constant memory; one that cannot be read is a problem.

    A file is copied to this machine first: its digest is its address, and has to be known before it is sent.
    """
    sent = []
    with TemporaryDirectory(prefix="headrace-import-") as folder:
        for number, file in enumerate(files):
            copy = Path(folder, str(number))
            try:
                source.fetch(holder, file.path, copy)
            except (HeadraceError, OSError) as error:
                problems.append(f"{holder.owner}: {file.path} cannot be read: {str(error)[:200]}")
                copy.unlink(missing_ok=True)
                continue
            digest = digest_of(copy)
            transport.upload(f"/api/v1/blobs/{digest}", _content(copy), returns=dict)
            sent.append(ImportFile(path=file.path, digest=digest, size_bytes=copy.stat().st_size))
            copy.unlink()
    return tuple(sent)


def digest_of(path: Path) -> str:
    """The address that a file's content has in the blob store."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _content(path: Path) -> bytes | Iterator[bytes]:
    """The bytes of a small file, which may be sent again, or the chunks of a large one."""
    return path.read_bytes() if path.stat().st_size <= CHUNK_BYTES else _chunks(path)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
