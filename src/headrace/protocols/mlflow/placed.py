"""The files at a location: of a run or a logged model wherever they are, and of a registered version here."""

from datetime import timedelta
from typing import Any

from litestar import Request
from litestar.response import Stream

from headrace.errors import NotFound
from headrace.kernel.database import Tx
from headrace.protocols.mlflow.locations import VERSION, Location
from headrace.registry import versions
from headrace.registry.nouns import ModelFile
from headrace.tracking.downloads import download
from headrace.tracking.files import File, FileLink, Files, of_blob
from headrace.tracking.nouns import Entry
from headrace.tracking.paths import confined, confined_folder


async def listing(files: Files, location: Location) -> list[Entry]:
    """The files and folders directly at a location, with paths relative to the owner."""
    if not location.owner.startswith(VERSION):
        return list(await files.listing(location.owner, location.path))
    entries: dict[str, Entry] = {}
    prefix = f"{location.path}/" if location.path else ""
    for file in await files.transactions.read(lambda tx: _of_version(tx, location.owner)):
        if file.path.startswith(prefix):
            name, slash, _ = file.path.removeprefix(prefix).partition("/")
            entries[name] = Entry(
                path=prefix + name, is_folder=bool(slash), size_bytes=None if slash else file.size_bytes
            )
    return [entries[name] for name in sorted(entries)]


async def send(files: Files, request: Request[Any, Any, Any], location: Location) -> Stream:
    """The answer to a request for a file.

    Raises:
        NotFound: there is none.
    """
    if not location.owner.startswith(VERSION):
        return await files.send(request, location.owner, location.path)
    path = confined(location.path)
    for file in await files.transactions.read(lambda tx: _of_version(tx, location.owner)):
        if file.path == path:
            return download(request, of_blob(files.blobs, path, file.digest, file.size_bytes))
    raise NotFound(f"No such artifact: '{path}'", where=location.owner)


async def taken_in(files: Files, location: Location) -> tuple[File, ...]:
    """Every file below a location, by path relative to it, with its bytes in the blob store."""
    if not location.owner.startswith(VERSION):
        return await files.taken_in(location.owner, location.path)
    prefix = f"{confined_folder(location.path)}/" if location.path else ""
    return tuple(
        File(path=file.path.removeprefix(prefix), size_bytes=file.size_bytes, digest=file.digest)
        for file in await files.transactions.read(lambda tx: _of_version(tx, location.owner))
        if file.path.startswith(prefix)
    )


async def link(files: Files, location: Location, valid_for: timedelta) -> FileLink | None:
    """An address of a file that opens without a login; None where the files are in a folder.

    Raises:
        NotFound: there is none.
    """
    if not location.owner.startswith(VERSION):
        return await files.link("GET", location.owner, location.path, valid_for)
    path = confined(location.path)
    for file in await files.transactions.read(lambda tx: _of_version(tx, location.owner)):
        if file.path == path:
            return await files.blob_link(file.digest, file.size_bytes, valid_for)
    raise NotFound(f"No such artifact: '{path}'", where=location.owner)


def _of_version(tx: Tx, owner: str) -> tuple[ModelFile, ...]:
    name, _, number = owner.removeprefix(VERSION).rpartition("/")
    return versions.get(tx, name, int(number)).files
