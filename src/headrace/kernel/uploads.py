"""From an asynchronous request body to the blob store, in constant memory and off the event loop."""

from collections.abc import AsyncIterable, Iterator

import anyio.from_thread
import anyio.to_thread

from headrace.errors import InvalidInput, TooLarge
from headrace.kernel.blobs import Blob, BlobStore

HUNG_UP = "client disconnected prematurely"
"""How the HTTP library says, with status 500, that a body ended before its end; it has no class for that."""


def cut_off() -> InvalidInput:
    """What a caller is told whose body ended before its end."""
    return InvalidInput("the body was cut off", where="body", fix="Send the whole of it again.")


async def receive(blobs: BlobStore, body: AsyncIterable[bytes], *, limit_bytes: int) -> Blob:
    """Store a request body as it arrives.

    Args:
        blobs: where to.
        body: the chunks of the body.
        limit_bytes: the largest body that is taken.

    Raises:
        TooLarge: the body is larger; nothing of it is kept.
    """
    iterator = aiter(body)

    async def following() -> bytes | None:
        return await anext(iterator, None)

    def chunks() -> Iterator[bytes]:
        received_bytes = 0
        while (chunk := anyio.from_thread.run(following)) is not None:
            received_bytes += len(chunk)
            if received_bytes > limit_bytes:
                raise TooLarge(
                    f"the body is larger than {limit_bytes} bytes",
                    where="body",
                    fix="Raise HEADRACE_UPLOAD_LIMIT_BYTES if that is meant.",
                )
            yield chunk

    return await anyio.to_thread.run_sync(lambda: blobs.put(chunks()))
