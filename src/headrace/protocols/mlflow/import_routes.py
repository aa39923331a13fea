"""The door for registered models from another server; to write it is for administrators.

It is here and not in the registry, since the signature of a version is in a file of MLflow's format.
"""

from collections.abc import Iterable

import anyio.to_thread
import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from headrace.errors import InvalidInput
from headrace.kernel.access import Role
from headrace.kernel.blobs import BlobStore
from headrace.kernel.database import Transactions, Tx
from headrace.protocols.mlflow.registration import MLMODEL, MLMODEL_LIMIT_BYTES, parse_signature
from headrace.registry import importing
from headrace.registry.imported import ImportModel, ImportVersion, ModelHere, ModelName
from headrace.registry.nouns import ModelFile


@post("/api/v1/import/models", status_code=200)
async def import_model(
    data: JSONBody[ImportModel],
    transactions: NamedDependency[Transactions],
    blobs: NamedDependency[SkipValidation[BlobStore]],
) -> ModelHere:
    """Take in a registered model with its versions; the answer is what is here of it then."""
    await anyio.to_thread.run_sync(_check_blobs, blobs, [file for each in data.versions for file in each.files])

    def made_of(tx: Tx) -> list[tuple[ModelFile, ...]]:
        return [importing.files_of(tx, version) for version in data.versions]

    files = await transactions.read(made_of)
    versions = [
        await anyio.to_thread.run_sync(_signed, blobs, version, listed)
        for version, listed in zip(data.versions, files, strict=True)
    ]
    wanted = msgspec.structs.replace(data, versions=tuple(versions))
    return await transactions.write(lambda tx: importing.take_model(tx, wanted))


@post("/api/v1/import/models/look", status_code=200)
async def look_at_model(data: JSONBody[ModelName], transactions: NamedDependency[Transactions]) -> ModelHere:
    """What is here of a registered model."""
    return await transactions.read(lambda tx: importing.look(tx, data.name))


def _check_blobs(blobs: BlobStore, files: Iterable[ModelFile]) -> None:
    for file in files:
        if blobs.size(file.digest) != file.size_bytes:
            raise InvalidInput("the blob is of another size", where=file.digest)


def _signed(blobs: BlobStore, version: ImportVersion, files: Iterable[ModelFile]) -> ImportVersion:
    """The version with the signature of its MLmodel file; one that cannot be read has none."""
    for file in files:
        if file.path == MLMODEL and file.size_bytes <= MLMODEL_LIMIT_BYTES:
            try:
                return msgspec.structs.replace(version, signature=parse_signature(blobs.read(file.digest)))
            except InvalidInput:
                return version
    return version


HANDLERS = [import_model, look_at_model]

AUTHORIZATION = {
    "POST /api/v1/import/models": Role.ADMIN,
    "POST /api/v1/import/models/look": Role.VIEWER,
}
