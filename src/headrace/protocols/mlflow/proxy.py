"""MLflow's artifact proxy: clients list, send and fetch files through this server."""

from typing import Any

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, SkipValidation
from litestar.response import Stream

from headrace.errors import PolicyRefused
from headrace.kernel.access import Role
from headrace.kernel.blobs import BlobStore
from headrace.kernel.database import Transactions, Tx
from headrace.kernel.settings import Settings
from headrace.protocols.mlflow import encoding, locations
from headrace.protocols.mlflow.endpoints import Answer, encode, mounted
from headrace.protocols.mlflow.locations import Location
from headrace.protocols.mlflow.prefixes import both
from headrace.tracking import artifacts
from headrace.tracking.downloads import download
from headrace.tracking.paths import at_the_end_of
from headrace.tracking.uploads import store

ROOT = both("mlflow-artifacts/artifacts")
FILE = both("mlflow-artifacts/artifacts/{path:path}")


async def list_files(transactions: NamedDependency[Transactions], path: FromQuery[str] = "") -> Response[bytes]:
    """The files and folders directly in a folder, with their own names; a file lists nothing, like no folder."""

    def work(tx: Tx) -> Answer:
        location = locations.locate(tx, path)
        return encoding.present(files=encoding.files(locations.listing(tx, location), below=location.path))

    return encode(await transactions.read(work))


async def get_file(
    path: FromPath[str],
    request: Request[Any, Any, Any],
    transactions: NamedDependency[Transactions],
    blobs: NamedDependency[SkipValidation[BlobStore]],
) -> Stream:
    """One file."""
    place = at_the_end_of(request.scope["raw_path"], path)
    file = await transactions.read(lambda tx: locations.find_file(tx, locations.locate(tx, place)))
    return download(request, blobs, path=file.path, digest=file.digest, size_bytes=file.size_bytes)


async def put_file(
    path: FromPath[str],
    request: Request[Any, Any, Any],
    transactions: NamedDependency[Transactions],
    blobs: NamedDependency[SkipValidation[BlobStore]],
    settings: NamedDependency[SkipValidation[Settings]],
) -> Response[bytes]:
    """Store the body as one file; whether it may be there is asked before the body is read."""
    place = at_the_end_of(request.scope["raw_path"], path)
    location = await transactions.read(lambda tx: _writable(tx, place))
    blob = await store(request, blobs, settings)
    await transactions.write(lambda tx: artifacts.record(tx, location.owner, location.path, blob, blobs))
    return encode({})


async def delete_file(
    path: FromPath[str], request: Request[Any, Any, Any], transactions: NamedDependency[Transactions]
) -> Response[bytes]:
    """Remove a file, or a folder with all that is in it."""
    place = at_the_end_of(request.scope["raw_path"], path)

    def work(tx: Tx) -> Answer:
        location = _writable(tx, place)
        artifacts.delete(tx, location.owner, location.path)
        return {}

    return encode(await transactions.write(work))


def _writable(tx: Tx, path: str) -> Location:
    location = locations.locate(tx, path)
    if location.owner.startswith("version/"):
        raise PolicyRefused(
            "the files of a registered version do not change",
            where=location.owner,
            fix="Log the model again and register a new version.",
        )
    artifacts.require_writable(tx, location.owner, location.path)
    return location


HANDLERS = [
    mounted("GET", ROOT)(list_files),
    mounted(["GET", "HEAD"], FILE)(get_file),
    mounted("PUT", FILE, request_max_body_size=None)(put_file),
    mounted("DELETE", FILE)(delete_file),
]
AUTHORIZATION = {
    **{f"GET {path}": Role.VIEWER for path in (*ROOT, *FILE)},
    **{f"{method} {path}": Role.DEVELOPER for method in ("PUT", "DELETE") for path in FILE},
}
