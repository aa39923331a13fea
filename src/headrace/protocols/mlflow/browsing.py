"""Files by run, version or model, as clients list them and MLflow's pages fetch them, and the datasets in use."""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, SkipValidation
from litestar.response import Stream

from headrace.errors import InvalidInput, TooLarge
from headrace.kernel.access import Role
from headrace.kernel.database import Tx
from headrace.protocols.mlflow import encoding, locations, placed, registered
from headrace.protocols.mlflow.decoding import decode
from headrace.protocols.mlflow.endpoints import Answer, Endpoint, encode, mounted, reading
from headrace.protocols.mlflow.locations import VERSION, Location
from headrace.protocols.mlflow.prefixes import AJAX, PAGE_PATHS, both
from headrace.protocols.mlflow.wire import RunId
from headrace.tracking import artifacts, datasets, logged_models, runs
from headrace.tracking.files import Files

RUN_FILES = both("mlflow/artifacts/list")
MODEL_FILES = both("mlflow/logged-models/{model_id:str}/artifacts/directories")
RUN_FILE = [PAGE_PATHS[0], f"{AJAX}/get-artifact"]
VERSION_FILE = [PAGE_PATHS[1], f"{AJAX}/model-versions/get-artifact"]
MODEL_FILE = [f"{AJAX}/logged-models/{{model_id:str}}/artifacts/files"]
UPLOAD = [f"{AJAX}/upload-artifact"]
UPLOAD_LIMIT_BYTES = 10 * 1024**2
EXPERIMENTS_LIMIT = 20

Caller = Request[Any, Any, Any]
Kept = NamedDependency[SkipValidation[Files]]


class SearchDatasets(msgspec.Struct, frozen=True, kw_only=True):
    """`experiments/search-datasets`."""

    experiment_ids: tuple[str, ...] = ()


class ListRunFiles(RunId, frozen=True, kw_only=True):
    """`artifacts/list`."""

    path: str = ""


class ListModelFiles(msgspec.Struct, frozen=True, kw_only=True):
    """`logged-models/{id}/artifacts/directories`."""

    model_id: str
    artifact_directory_path: str = ""


async def list_run_files(request: Caller, files: Kept) -> Response[bytes]:
    """The files and folders directly in a folder of a run, with paths relative to the run."""
    wanted = await decode(request, ListRunFiles)
    run = await files.transactions.read(lambda tx: runs.require(tx, wanted.run))
    entries = await files.listing(artifacts.run_owner(run.id), wanted.path)
    root = run.artifact_uri or locations.run_uri(str(run.experiment), run.id)
    return encode(encoding.present(root_uri=root, files=encoding.files(entries)))


async def list_model_files(request: Caller, files: Kept) -> Response[bytes]:
    """The files and folders directly in a folder of a logged model."""
    wanted = await decode(request, ListModelFiles)
    model = await files.transactions.read(lambda tx: logged_models.get(tx, wanted.model_id))
    entries = await files.listing(artifacts.model_owner(model.id), wanted.artifact_directory_path)
    root = model.artifact_uri or locations.model_uri(model.experiment_id, model.id)
    return encode(encoding.present(root_uri=root, files=encoding.files(entries)))


async def get_run_file(
    request: Caller,
    files: Kept,
    path: FromQuery[str] = "",
    run_id: FromQuery[str] = "",
    run_uuid: FromQuery[str] = "",
) -> Stream:
    """A file of a run."""
    run = await files.transactions.read(lambda tx: runs.require(tx, run_id or run_uuid))
    return await files.send(request, artifacts.run_owner(run.id), path)


async def get_version_file(
    request: Caller,
    files: Kept,
    name: FromQuery[str] = "",
    version: FromQuery[str] = "",
    path: FromQuery[str] = "",
) -> Stream:
    """A file of a registered version."""
    number = registered.number_of(version)
    return await placed.send(files, request, Location(owner=f"{VERSION}{name}/{number}", path=path))


async def get_model_file(
    request: Caller, files: Kept, model_id: FromPath[str], artifact_file_path: FromQuery[str] = ""
) -> Stream:
    """A file of a logged model."""
    return await files.send(request, artifacts.model_owner(model_id), artifact_file_path)


async def upload_run_file(
    request: Caller, files: Kept, run_uuid: FromQuery[str] = "", path: FromQuery[str] = ""
) -> Response[bytes]:
    """Store the body as a small file of a run."""
    for field, value in (("run_uuid", run_uuid), ("path", path)):
        if not value:
            raise InvalidInput(f"Request must specify {field}.", where=field)
    if request.headers.get("content-length") == "0":
        raise InvalidInput("Request must specify data.", where="body")
    try:
        await files.store(request, artifacts.run_owner(run_uuid), path, limit_bytes=UPLOAD_LIMIT_BYTES)
    except TooLarge as error:
        raise InvalidInput("Artifact size is too large. Max size is 10MB.", where="body") from error
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


ENDPOINTS: list[Endpoint[Any]] = [
    reading("POST", "mlflow/experiments/search-datasets", SearchDatasets, search_datasets),
]
HANDLERS = [
    mounted("GET", RUN_FILES)(list_run_files),
    mounted("GET", MODEL_FILES)(list_model_files),
    mounted(["GET", "HEAD"], RUN_FILE)(get_run_file),
    mounted(["GET", "HEAD"], VERSION_FILE)(get_version_file),
    mounted(["GET", "HEAD"], MODEL_FILE)(get_model_file),
    mounted("POST", UPLOAD, request_max_body_size=None)(upload_run_file),
]
AUTHORIZATION: dict[str, Role | None] = {
    **{f"GET {path}": Role.VIEWER for path in (*RUN_FILES, *MODEL_FILES, *RUN_FILE, *VERSION_FILE, *MODEL_FILE)},
    **{f"POST {path}": Role.DEVELOPER for path in UPLOAD},
}
