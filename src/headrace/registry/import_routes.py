"""The door for registered models from another server; to write it is for administrators."""

import anyio.to_thread
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from headrace.errors import InvalidInput
from headrace.kernel.access import Role
from headrace.kernel.blobs import BlobStore
from headrace.kernel.database import Transactions
from headrace.registry import importing
from headrace.registry.imported import ImportModel, ModelHere, ModelName


@post("/api/v1/import/models", status_code=200)
async def import_model(
    data: JSONBody[ImportModel],
    transactions: NamedDependency[Transactions],
    blobs: NamedDependency[SkipValidation[BlobStore]],
) -> ModelHere:
    """Take in a registered model with its versions; the answer is what is here of it then."""
    for version in data.versions:
        for file in version.files:
            if await anyio.to_thread.run_sync(blobs.size, file.digest) != file.size_bytes:
                raise InvalidInput("the blob is of another size", where=file.digest)
    return await transactions.write(lambda tx: importing.take_model(tx, data))


@post("/api/v1/import/models/look", status_code=200)
async def look_at_model(data: JSONBody[ModelName], transactions: NamedDependency[Transactions]) -> ModelHere:
    """What is here of a registered model."""
    return await transactions.read(lambda tx: importing.look(tx, data.name))


HANDLERS = [import_model, look_at_model]

AUTHORIZATION = {
    "POST /api/v1/import/models": Role.ADMIN,
    "POST /api/v1/import/models/look": Role.VIEWER,
}
