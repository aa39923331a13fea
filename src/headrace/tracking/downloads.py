"""Artifacts on their way out, streamed, and never shown by a browser as a page of this platform."""

import mimetypes
from collections.abc import AsyncIterator
from urllib.parse import quote

import anyio.to_thread
from litestar.response import Stream

from headrace.kernel.blobs import BlobStore


def download(blobs: BlobStore, *, path: str, digest: str, size_bytes: int) -> Stream:
    """An answer that streams a blob as the file at `path`, in constant memory."""

    async def chunks() -> AsyncIterator[bytes]:
        iterator = blobs.stream(digest)
        while (chunk := await anyio.to_thread.run_sync(next, iterator, None)) is not None:
            yield chunk

    name = path.rpartition("/")[2]
    headers = {
        "Content-Length": str(size_bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "ETag": f'"{digest}"',
    }
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Stream(chunks(), media_type=kind, headers=headers)
