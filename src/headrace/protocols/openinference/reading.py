"""A large request that takes long to read, read beside the gateway."""

from typing import Any

import msgspec

from headrace.protocols.openinference import wire
from headrace.serving.forms.inputs import Columns
from headrace.serving.forms.packing import pack, unpack
from headrace.serving.gateway.reading import LARGE_BYTES, Reading

TENSORS = 100
"""So many of a large body are read here."""


def is_aside(body: bytes, header_length: str | None) -> bool:
    """Whether a request is read beside the gateway before anything is known of it: it has much JSON."""
    if len(body) <= LARGE_BYTES:
        return False
    return header_length is None or not header_length.isdigit() or int(header_length[:18]) > LARGE_BYTES


def takes_long(request: wire.InferRequest) -> bool:
    """Whether large tensors are read beside the gateway: they are texts, or many. Few numbers take no time."""
    return len(request.inputs) > TENSORS or any(tensor.datatype == "BYTES" for tensor in request.inputs)


def read_aside(reading: Reading, body: bytes, header_length: str | None) -> tuple[wire.InferRequest, Columns]:
    """What `wire.decode` gives, but the tensors' values are not in the request again.

    Raises:
        HeadraceError: what is wrong with the body; or it cannot be read, see `Reading.read`.
    """
    known, found = reading.read(f"{__name__}:read", header_length, body)
    arrays = found if isinstance(found, dict) else {}
    tensors = unpack(known["tensors"], arrays)
    assert isinstance(tensors, dict)
    reading.hold(tensors, sum(array.nbytes for array in arrays.values()))
    return msgspec.convert(known["request"], wire.InferRequest), tensors


def read(header_length: Any, body: bytes) -> tuple[dict[str, Any], Columns | None]:
    """Read a body, beside the gateway: the other end of `read_aside`.

    Raises:
        HeadraceError: what is wrong with it.
    """
    request, tensors = wire.decode(body, header_length)
    layout, arrays = pack(tensors)
    return {"request": msgspec.to_builtins(msgspec.structs.replace(request, inputs=())), "tensors": layout}, arrays
