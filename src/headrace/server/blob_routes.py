"""Raw blobs over HTTP, for clients that have no way to the blob store themselves."""

from collections.abc import AsyncIterator
from typing import Any

import anyio.to_thread
from litestar import Request, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from headrace.errors import InvalidInput
from headrace.kernel.access import Role
from headrace.kernel.blobs import Blob, BlobStore
from headrace.kernel.settings import Settings
from headrace.kernel.uploads import receive


@put("/api/v1/blobs/{digest:str}", media_type="application/json", request_max_body_size=None)
async def put_blob(
    digest: FromPath[str],
    request: Request[Any, Any, Any],
    blobs: NamedDependency[BlobStore],
    settings: NamedDependency[Settings],
) -> Blob:
    """Store the body under its digest; what the body hashes to must be what the path says."""
    blob = await receive(request.stream(), blobs.put, limit_bytes=settings.upload_limit_bytes)
    if blob.digest != digest:
        raise InvalidInput(f"the body hashes to {blob.digest}", where=digest, fix="Send the whole file again.")
    return blob


@get("/api/v1/blobs/{digest:str}")
async def get_blob(digest: FromPath[str], blobs: NamedDependency[BlobStore]) -> Stream:
    """The bytes of one blob, streamed."""
    size_bytes = await anyio.to_thread.run_sync(blobs.size, digest)

    async def chunks() -> AsyncIterator[bytes]:
        iterator = blobs.stream(digest)
        while (chunk := await anyio.to_thread.run_sync(next, iterator, None)) is not None:
            yield chunk

    headers = {"Content-Length": str(size_bytes), "X-Content-Type-Options": "nosniff"}
    return Stream(chunks(), media_type="application/octet-stream", headers=headers)


HANDLERS = [put_blob, get_blob]
AUTHORIZATION = {
    "PUT /api/v1/blobs/{digest}": Role.DEVELOPER,
    "GET /api/v1/blobs/{digest}": Role.VIEWER,
}
