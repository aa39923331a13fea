"""A large request in JSON, read beside the gateway."""

from typing import Any

import msgspec

from headrace.protocols.openinference import wire
from headrace.serving.forms.inputs import Columns
from headrace.serving.forms.packing import pack, unpack
from headrace.serving.gateway.reading import LARGE_BYTES, Reading


def is_aside(body: bytes, header_length: str | None) -> bool:
    """Whether a request is read beside the gateway: it has much JSON. Tensors as bytes take no time anywhere."""
    if len(body) <= LARGE_BYTES:
        return False
    return header_length is None or not header_length.isdigit() or int(header_length[:18]) > LARGE_BYTES


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
