"""Artifacts on their way in: a body that was cut off is no file."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException

from headrace.errors import InvalidInput
from headrace.kernel.blobs import Blob, BlobStore
from headrace.kernel.settings import Settings
from headrace.kernel.uploads import receive


async def store(request: Request[Any, Any, Any], blobs: BlobStore, settings: Settings) -> Blob:
    """Store a request's body as a blob, in constant memory.

    Raises:
        InvalidInput: fewer bytes came than the request announced.
        TooLarge: more bytes came than the platform takes.
    """
    announced = request.headers.get("content-length", "")
    expected_bytes = int(announced) if announced.isdecimal() else None

    async def whole() -> AsyncIterator[bytes]:
        received_bytes = 0
        try:
            async for chunk in request.stream():
                received_bytes += len(chunk)
                yield chunk
        except HTTPException as error:
            raise _cut_off() from error
        if expected_bytes is not None and received_bytes != expected_bytes:
            raise _cut_off()

    return await receive(blobs, whole(), limit_bytes=settings.upload_limit_bytes)


def _cut_off() -> InvalidInput:
    return InvalidInput("the body was cut off", where="body", fix="Send the whole file again.")
