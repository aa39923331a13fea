"""MLflow's artifact proxy: clients list, send and fetch files through this server."""

from typing import Any

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, SkipValidation
from litestar.response import Stream

from headrace.errors import PolicyRefused
from headrace.kernel.access import Role
from headrace.kernel.database import Tx
from headrace.protocols.mlflow import encoding, locations, placed
from headrace.protocols.mlflow.endpoints import encode, mounted
from headrace.protocols.mlflow.locations import VERSION, Location
from headrace.protocols.mlflow.prefixes import both
from headrace.tracking import artifacts
from headrace.tracking.files import Files
from headrace.tracking.paths import at_the_end_of

ROOT = both("mlflow-artifacts/artifacts")
FILE = both("mlflow-artifacts/artifacts/{path:path}")

Kept = NamedDependency[SkipValidation[Files]]


async def list_files(files: Kept, path: FromQuery[str] = "") -> Response[bytes]:
    """The files and folders directly in a folder, with their own names; a file lists nothing, like no folder."""
    location = await files.transactions.read(lambda tx: locations.locate(tx, path))
    found = await placed.listing(files, location)
    return encode(encoding.present(files=encoding.files(found, below=location.path)))


async def get_file(path: FromPath[str], request: Request[Any, Any, Any], files: Kept) -> Stream:
    """One file."""
    place = at_the_end_of(request.scope["raw_path"], path)
    location = await files.transactions.read(lambda tx: locations.locate(tx, place))
    return await placed.send(files, request, location)


async def put_file(path: FromPath[str], request: Request[Any, Any, Any], files: Kept) -> Response[bytes]:
    """Store the body as one file."""
    place = at_the_end_of(request.scope["raw_path"], path)
    location = await files.transactions.read(lambda tx: writable(tx, place))
    await files.store(request, location.owner, location.path)
    return encode({})


async def delete_file(path: FromPath[str], request: Request[Any, Any, Any], files: Kept) -> Response[bytes]:
    """Remove a file, or a folder with all that is in it."""
    place = at_the_end_of(request.scope["raw_path"], path)
    location = await files.transactions.read(lambda tx: writable(tx, place))
    await files.delete(location.owner, location.path)
    return encode({})


def writable(tx: Tx, path: str) -> Location:
    """Whose file a proxied path is, once it is known that one may be put there.

    Raises:
        PolicyRefused: it is a registered version's.
        InvalidInput: its owner is deleted, or the path is not plain.
    """
    location = locations.locate(tx, path)
    if location.owner.startswith(VERSION):
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
