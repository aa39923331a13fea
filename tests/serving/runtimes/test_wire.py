"""Messages of a stranger: what does not fit is refused before it is read."""

import json
from typing import Any

import numpy as np
import pytest

from headrace.errors import ModelFault
from headrace.serving.runtimes import wire


def decoded(message: bytes) -> tuple[Any, list[int]]:
    """What a message says, and how much was read of it, piece by piece."""
    read: list[int] = []
    place = 0

    def next_bytes(size: int) -> bytes:
        nonlocal place
        read.append(size)
        place += size
        return message[place - size : place]

    return wire.decode(next_bytes)[1], read


def test_what_was_sent_comes_back() -> None:
    rows = np.arange(6.0).reshape(2, 3)
    found, _ = decoded(b"".join(wire.encode({}, rows)))
    np.testing.assert_array_equal(found, rows)


@pytest.mark.parametrize("shape", [[3], [-1], [2, 10**30], [1] * 1_000 + [2], ["2"], [2.5], None])
def test_numbers_whose_shape_is_not_that_of_their_bytes_are_not_read(shape: Any) -> None:
    header = json.dumps({"form": "array", "arrays": [["", "<f8", shape, 16]]}).encode()
    read: list[int] = []
    message = wire.LENGTH.pack(len(header)) + header

    def next_bytes(size: int) -> bytes:
        read.append(size)
        return message[:4] if len(read) == 1 else header

    with pytest.raises(ModelFault, match="cannot be read"):
        wire.decode(next_bytes)
    assert read == [4, len(header)]
