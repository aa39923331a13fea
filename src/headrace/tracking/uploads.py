"""Artifacts on their way in: a body that was cut off is no file."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request

from headrace.kernel.blobs import Blob, BlobStore
from headrace.kernel.settings import Settings
from headrace.kernel.uploads import cut_off, receive


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
        async for chunk in request.stream():
            received_bytes += len(chunk)
            yield chunk
        if expected_bytes is not None and received_bytes != expected_bytes:
            raise cut_off()

    return await receive(blobs, whole(), limit_bytes=settings.upload_limit_bytes)
