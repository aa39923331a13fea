"""What MLflow's pages ask for beside the protocol: files by run, version or model, and the datasets in use."""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, SkipValidation
from litestar.response import Stream

from headrace.errors import InvalidInput, TooLarge
from headrace.kernel.access import Role
from headrace.kernel.blobs import BlobStore
from headrace.kernel.database import Transactions, Tx
from headrace.kernel.settings import Settings
from headrace.protocols.mlflow import encoding, locations
from headrace.protocols.mlflow.endpoints import Answer, Endpoint, encode, mounted, reading
from headrace.protocols.mlflow.locations import Location
from headrace.protocols.mlflow.prefixes import AJAX, PAGE_PATHS
from headrace.tracking import artifacts, datasets, runs
from headrace.tracking.downloads import download
from headrace.tracking.uploads import store

RUN_FILE = [PAGE_PATHS[0], f"{AJAX}/get-artifact"]
VERSION_FILE = [PAGE_PATHS[1], f"{AJAX}/model-versions/get-artifact"]
MODEL_FILE = [f"{AJAX}/logged-models/{{model_id:str}}/artifacts/files"]
UPLOAD = [f"{AJAX}/upload-artifact"]
UPLOAD_LIMIT_BYTES = 10 * 1024**2
EXPERIMENTS_LIMIT = 20

Caller = Request[Any, Any, Any]
Blobs = NamedDependency[SkipValidation[BlobStore]]


class SearchDatasets(msgspec.Struct, frozen=True, kw_only=True):
    """`experiments/search-datasets`."""

    experiment_ids: tuple[str, ...] = ()


async def get_run_file(
    request: Caller,
    transactions: NamedDependency[Transactions],
    blobs: Blobs,
    path: FromQuery[str] = "",
    run_id: FromQuery[str] = "",
    run_uuid: FromQuery[str] = "",
) -> Stream:
    """A file of a run."""

    def locate(tx: Tx) -> Location:
        run = runs.require(tx, run_id or run_uuid)
        return Location(owner=artifacts.run_owner(run.id), path=path)

    return await _send(request, transactions, blobs, locate)


async def get_version_file(
    request: Caller,
    transactions: NamedDependency[Transactions],
    blobs: Blobs,
    name: FromQuery[str] = "",
    version: FromQuery[str] = "",
    path: FromQuery[str] = "",
) -> Stream:
    """A file of a registered version."""
    if not version.isdecimal():
        raise InvalidInput(f"Model version must be an integer, got '{version[:50]}'", where="version")
    location = Location(owner=f"version/{name}/{int(version)}", path=path)
    return await _send(request, transactions, blobs, lambda _: location)


async def get_model_file(
    request: Caller,
    transactions: NamedDependency[Transactions],
    blobs: Blobs,
    model_id: FromPath[str],
    artifact_file_path: FromQuery[str] = "",
) -> Stream:
    """A file of a logged model."""
    location = Location(owner=artifacts.model_owner(model_id), path=artifact_file_path)
    return await _send(request, transactions, blobs, lambda _: location)


async def upload_run_file(
    request: Caller,
    transactions: NamedDependency[Transactions],
    blobs: Blobs,
    settings: NamedDependency[SkipValidation[Settings]],
    run_uuid: FromQuery[str] = "",
    path: FromQuery[str] = "",
) -> Response[bytes]:
    """Store the body as a small file of a run."""
    for field, value in (("run_uuid", run_uuid), ("path", path)):
        if not value:
            raise InvalidInput(f"Request must specify {field}.", where=field)
    owner = artifacts.run_owner(run_uuid)
    await transactions.read(lambda tx: artifacts.require_writable(tx, owner, path))
    small = msgspec.structs.replace(settings, upload_limit_bytes=UPLOAD_LIMIT_BYTES)
    try:
        blob = await store(request, blobs, small)
    except TooLarge as error:
        raise InvalidInput("Artifact size is too large. Max size is 10MB.", where="body") from error
    if not blob.size_bytes:
        raise InvalidInput("Request must specify data.", where="body")
    await transactions.write(lambda tx: artifacts.record(tx, owner, path, blob, blobs))
    return encode({})


def search_datasets(tx: Tx, request: SearchDatasets) -> Answer:
    """The datasets that runs of some experiments read, and what for."""
    if not request.experiment_ids:
        raise InvalidInput(
            "SearchDatasets request must specify at least one experiment_id.", where="experiment_ids"
        )
    if len(request.experiment_ids) > EXPERIMENTS_LIMIT:
        raise InvalidInput(
            f"SearchDatasets request cannot specify more than {EXPERIMENTS_LIMIT} experiment_ids."
            f" Received {len(request.experiment_ids)} experiment_ids.",
            where="experiment_ids",
        )
    found = [
        encoding.present(
            experiment_id=use.experiment_id, name=use.name, digest=use.digest, context=use.context or None
        )
        for use in datasets.in_use(tx, request.experiment_ids)
    ]
    return encoding.present(dataset_summaries=found)


async def _send(request: Caller, transactions: Transactions, blobs: BlobStore, locate: Any) -> Stream:
    file = await transactions.read(lambda tx: locations.find_file(tx, locate(tx)))
    return download(request, blobs, path=file.path, digest=file.digest, size_bytes=file.size_bytes)


ENDPOINTS: list[Endpoint[Any]] = [
    reading("POST", "mlflow/experiments/search-datasets", SearchDatasets, search_datasets),
]
HANDLERS = [
    mounted(["GET", "HEAD"], RUN_FILE)(get_run_file),
    mounted(["GET", "HEAD"], VERSION_FILE)(get_version_file),
    mounted(["GET", "HEAD"], MODEL_FILE)(get_model_file),
    mounted("POST", UPLOAD, request_max_body_size=None)(upload_run_file),
]
AUTHORIZATION: dict[str, Role | None] = {
    **{f"GET {path}": Role.VIEWER for path in (*RUN_FILE, *VERSION_FILE, *MODEL_FILE)},
    **{f"POST {path}": Role.DEVELOPER for path in UPLOAD},
}
