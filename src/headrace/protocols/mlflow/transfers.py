"""Large files in parts, and past this server: MLflow's multipart uploads, and addresses that need no login.

Parts are sent here, each in a request of its own that may be repeated, so that no proxy's limit stands in the way
of a large file. Who may send which part to where is in a ticket, since MLflow's clients send parts without a login.
A part is a blob until the upload is complete; if it never is, it is collected with other blobs that nobody names.
"""

from datetime import timedelta
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from headrace.errors import InvalidInput, NotServed
from headrace.kernel.access import Role
from headrace.kernel.blobs import Blob
from headrace.kernel.clocks import Clock
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_hex
from headrace.kernel.settings import Settings
from headrace.kernel.tickets import Tickets
from headrace.protocols.mlflow import locations, placed
from headrace.protocols.mlflow.decoding import decode
from headrace.protocols.mlflow.endpoints import encode, mounted
from headrace.protocols.mlflow.locations import Location
from headrace.protocols.mlflow.prefixes import both
from headrace.protocols.mlflow.proxy import writable
from headrace.tracking import artifacts
from headrace.tracking.files import FileLink, Files

CREATE = both("mlflow-artifacts/mpu/create/{folder:path}")
NOWHERE = both("mlflow-artifacts/mpu/create")
COMPLETE = both("mlflow-artifacts/mpu/complete/{folder:path}")
ABORT = both("mlflow-artifacts/mpu/abort/{folder:path}")
PART = "mlflow-artifacts/mpu/part/{number:int}"
PRESIGNED = both("mlflow-artifacts/presigned/{path:path}")
LINK_UP = both("mlflow/artifacts/presigned-upload-url")
LINK_DOWN = both("mlflow/artifacts/presigned-download-url")

TICKET_HEADER = "X-Headrace-Ticket"
UPLOAD, UPLOADED = "upload", "uploaded part"
PARTS_LIMIT = 10_000
LEAST_SEGMENTS = 3
"""A file of a run is at least at <experiment>/<run>/artifacts/<name>."""

UNSUPPORTED = "Multipart upload is not supported for the current artifact repository"
"""The words at which clients go on without parts."""

UPLOAD_TIME = timedelta(hours=24)
LINK_TIME = timedelta(minutes=15)
LONGEST_LINK_S = 604_800

Caller = Request[Any, Any, Any]
Kept = NamedDependency[SkipValidation[Files]]
Issued = NamedDependency[SkipValidation[Tickets]]
Time = NamedDependency[SkipValidation[Clock]]


class Create(msgspec.Struct, frozen=True, kw_only=True):
    """`mpu/create`: `path` is the file on the client's machine, of which only the name counts."""

    path: str
    num_parts: int = 1


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part that was sent."""

    part_number: int
    etag: str | None = None


class Complete(msgspec.Struct, frozen=True, kw_only=True):
    """`mpu/complete` and `mpu/abort`."""

    path: str
    upload_id: str
    parts: tuple[Part, ...] = ()


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """`artifacts/presigned-upload-url` and `-download-url`."""

    path: str
    run_id: str = ""
    model_id: str = ""
    expiration: int = int(LINK_TIME.total_seconds())


class Upload(msgspec.Struct, frozen=True, array_like=True):
    """What a ticket says of an upload."""

    id: str
    owner: str
    path: str
    parts: int


class UploadedPart(msgspec.Struct, frozen=True, array_like=True):
    """What the tag of a part says of it."""

    upload: str
    number: int
    digest: str
    size_bytes: int


async def create_upload(
    request: Caller,
    folder: FromPath[str],
    files: Kept,
    tickets: Issued,
    settings: NamedDependency[SkipValidation[Settings]],
    clock: Time,
) -> Response[bytes]:
    """Begin an upload: an address for each of its parts."""
    wanted = await decode(request, Create)
    if not 1 <= wanted.num_parts <= PARTS_LIMIT:
        raise InvalidInput(f"an upload has 1 to {PARTS_LIMIT} parts", where="num_parts")
    location = await files.transactions.read(lambda tx: _begun(tx, _target(folder, wanted.path)))
    upload = Upload(new_hex(), location.owner, location.path, wanted.num_parts)
    ticket = tickets.issue(UPLOAD, upload, now=clock.now(), valid_for=UPLOAD_TIME)
    here = settings.public_url.rstrip("/") or str(request.base_url).rstrip("/")
    address = f"{here}/api/2.0/{PART.partition('{')[0]}"
    headers = {TICKET_HEADER: ticket}
    credentials = [
        {"url": f"{address}{number}", "part_number": number, "headers": headers}
        for number in range(1, wanted.num_parts + 1)
    ]
    return encode({"upload_id": ticket, "credentials": credentials})


async def create_nowhere() -> Response[bytes]:
    """Refuse an upload whose address names no run, in words at which a client sends the file whole."""
    raise NotServed(UNSUPPORTED, where="path")


async def put_part(
    request: Caller, number: FromPath[int], files: Kept, tickets: Issued, clock: Time
) -> Response[bytes]:
    """Take one part; its tag is what `complete` knows it by."""
    upload = tickets.read(UPLOAD, request.headers.get(TICKET_HEADER, ""), Upload, now=clock.now())
    if not 1 <= number <= upload.parts:
        raise InvalidInput(f"this upload has {upload.parts} parts", where=f"part {number}")
    blob = await files.store_part(request, upload.id)
    part = UploadedPart(upload.id, number, blob.digest, blob.size_bytes)
    tag = tickets.issue(UPLOADED, part, now=clock.now(), valid_for=UPLOAD_TIME)
    answer = encode({})
    answer.headers["ETag"] = f'"{tag}"'
    return answer


async def complete_upload(
    request: Caller, folder: FromPath[str], files: Kept, tickets: Issued, clock: Time
) -> Response[bytes]:
    """Put the parts together in the order of their numbers; again, it is the same file."""
    wanted = await decode(request, Complete)
    now = clock.now()
    upload = await _upload(files, tickets, clock, folder, wanted)
    read = [tickets.read(UPLOADED, (part.etag or "").strip('"'), UploadedPart, now=now) for part in wanted.parts]
    parts = sorted(read, key=lambda part: part.number)
    if [part.number for part in parts] != list(range(1, upload.parts + 1)) or any(
        part.upload != upload.id for part in parts
    ):
        raise InvalidInput(
            f"the parts 1 to {upload.parts} of this upload have to be named once each", where="parts"
        )
    blobs = [Blob(digest=part.digest, size_bytes=part.size_bytes) for part in parts]
    await files.join(upload.owner, upload.path, upload.id, blobs)
    return encode({})


async def abort_upload(
    request: Caller, folder: FromPath[str], files: Kept, tickets: Issued, clock: Time
) -> Response[bytes]:
    """Give an upload up; its parts are collected with the blobs that nobody names."""
    await _upload(files, tickets, clock, folder, await decode(request, Complete))
    return encode({})


async def presigned_download(path: FromPath[str], files: Kept) -> Response[bytes]:
    """The address of a proxied file in the object store that keeps it, for clients that fetch it in ranges."""
    location = await files.transactions.read(lambda tx: locations.locate(tx, path.lstrip("/")))
    link = await placed.link(files, location, LINK_TIME)
    if link is None:
        raise NotServed(
            "Presigned downloads are not served: this platform keeps its files in a folder.", where="path"
        )
    return encode({"url": link.url, "headers": {}, "file_size": link.size_bytes})


async def link_up(request: Caller, files: Kept) -> Response[bytes]:
    """An address at which a file of a run or a logged model can be written past this server."""
    wanted = await decode(request, Link)
    await files.transactions.read(lambda tx: artifacts.require_writable(tx, _owner(wanted), wanted.path))
    link = await files.link("PUT", _owner(wanted), wanted.path, _valid_for(wanted))
    return encode({"presigned_url": _required(link).url, "headers": {}})


async def link_down(request: Caller, files: Kept) -> Response[bytes]:
    """An address at which a file of a run can be read past this server."""
    wanted = await decode(request, Link)
    link = _required(await files.link("GET", _owner(wanted), wanted.path, _valid_for(wanted)))
    return encode({"presigned_url": link.url, "headers": {}, "file_size": link.size_bytes})


def _begun(tx: Tx, path: str) -> Location:
    """Where an upload goes; MLflow 2.9 leaves the run out of the address, and can only send the file whole."""
    if path.count("/") < LEAST_SEGMENTS:
        raise NotServed(UNSUPPORTED, where="path")
    return writable(tx, path)


async def _upload(files: Files, tickets: Tickets, clock: Clock, folder: str, wanted: Complete) -> Upload:
    """The upload of a ticket, once it is known to be for this file."""
    upload = tickets.read(UPLOAD, wanted.upload_id, Upload, now=clock.now())
    location = await files.transactions.read(lambda tx: writable(tx, _target(folder, wanted.path)))
    if (upload.owner, upload.path) != (location.owner, location.path):
        raise InvalidInput("this upload is for another file", where="upload_id")
    return upload


def _target(folder: str, local_file: str) -> str:
    """Where the file goes: into the folder of the address, under its name on the client's machine."""
    return f"{folder.strip('/')}/{local_file.replace(chr(92), '/').rpartition('/')[2]}"


def _owner(wanted: Link) -> str:
    if bool(wanted.run_id) == bool(wanted.model_id):
        raise InvalidInput("Exactly one of run_id and model_id must be provided.", where="run_id")
    return artifacts.run_owner(wanted.run_id) if wanted.run_id else artifacts.model_owner(wanted.model_id)


def _valid_for(wanted: Link) -> timedelta:
    if not 1 <= wanted.expiration <= LONGEST_LINK_S:
        raise InvalidInput(
            f"expiration must be between 1 and {LONGEST_LINK_S} seconds (got {wanted.expiration}).",
            where="expiration",
        )
    return timedelta(seconds=wanted.expiration)


def _required(link: FileLink | None) -> FileLink:
    if link is None:
        raise InvalidInput(
            "Presigned addresses are given for files in an object store that clients write to themselves; these"
            " go through this server.",
            where="path",
        )
    return link


HANDLERS = [
    mounted("POST", CREATE)(create_upload),
    mounted("POST", NOWHERE)(create_nowhere),
    mounted("PUT", both(PART), request_max_body_size=None)(put_part),
    mounted("POST", COMPLETE)(complete_upload),
    mounted("POST", ABORT)(abort_upload),
    mounted("GET", PRESIGNED)(presigned_download),
    mounted("POST", LINK_UP)(link_up),
    mounted("POST", LINK_DOWN)(link_down),
]
AUTHORIZATION: dict[str, Role | None] = {
    **{f"POST {path}": Role.DEVELOPER for path in (*CREATE, *NOWHERE, *COMPLETE, *ABORT, *LINK_UP)},
    **{f"PUT {path}": None for path in both(PART)},  # who has the ticket
    **{f"GET {path}": Role.VIEWER for path in PRESIGNED},
    **{f"POST {path}": Role.VIEWER for path in LINK_DOWN},
}
