"""Artifacts on their way out, streamed, and never shown by a browser as a page of this platform."""

import mimetypes
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import anyio.to_thread
from litestar import Request
from litestar.response import Stream

_RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)", re.ASCII)
_DIGITS = 18
"""More digits than any file has bytes."""

_RANGE_LIMIT = 1_000
"""How long a Range header may be; a longer one, which no client sends, is as none."""


class Part(NamedTuple):
    """Which bytes of a file are sent: from `start`, up to and without `end`."""

    start: int
    end: int


class Download(NamedTuple):
    """A file to send.

    Attributes:
        path: what it is called, after its last slash.
        tag: another one for another content.
        size_bytes: of the whole.
        stream: gives the bytes from a start up to an end (exclusive).
    """

    path: str
    tag: str
    size_bytes: int
    stream: Callable[[int, int], Iterator[bytes]]


def download(request: Request[Any, Any, Any], file: Download) -> Stream:
    """An answer that streams a file in constant memory.

    A HEAD gets the headers alone. A range of bytes is served; several at once are answered with the whole, as
    RFC 9110 (14.2) permits. A client that names the entity tag has the bytes already and gets a 304.
    """
    name, size_bytes = file.path.rpartition("/")[2], file.size_bytes
    tag = f'"{file.tag}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "ETag": tag,
        "X-Content-Type-Options": "nosniff",
    }
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if tag in _tags(request.headers.get("if-none-match", "")):
        return Stream(_nothing(), status_code=304, media_type=kind, headers=headers)
    wanted = request.headers.get("range", "")
    if request.headers.get("if-range", tag) != tag:
        wanted = ""
    part = _part(wanted, size_bytes)
    if part is not None and part.start >= part.end:
        headers["Content-Range"] = f"bytes */{size_bytes}"
        return Stream(_nothing(), status_code=416, media_type=kind, headers=headers | {"Content-Length": "0"})
    status = 200 if part is None else 206
    if part is None:
        part = Part(0, size_bytes)
    else:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{size_bytes}"
    headers["Content-Length"] = str(part.end - part.start)
    body = _nothing() if request.method == "HEAD" else _chunks(file.stream(part.start, part.end))
    return Stream(body, status_code=status, media_type=kind, headers=headers)


def _part(wanted: str, size_bytes: int) -> Part | None:
    """The bytes that a Range header asks for, none of them when it starts behind the end; None for the whole."""
    found = _RANGE.fullmatch(wanted.strip()) if len(wanted) <= _RANGE_LIMIT else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = (int(digits[:_DIGITS]) if digits else None for digits in found.groups())
    if first is None:  # the last so many
        assert last is not None
        return Part(max(0, size_bytes - last), size_bytes)
    if last is not None and last < first:
        return None
    return Part(first, size_bytes if last is None else min(last + 1, size_bytes))


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in tuple[bytes, ...]():
        yield chunk


async def _chunks(iterator: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await anyio.to_thread.run_sync(next, iterator, None)) is not None:
        yield chunk
