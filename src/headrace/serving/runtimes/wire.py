"""Messages between a model host and who started it: a JSON header, then the arrays that it announces.

Four bytes of length, that many bytes of JSON, then each array's bytes. Numbers travel as they lie in memory, texts
and objects as JSON. What a host sends is data of a stranger: nothing in it is run, what does not fit is refused.
"""

import base64
import json
import math
import struct
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

from headrace.errors import ModelFault
from headrace.serving.forms.inputs import Inputs, Outputs
from headrace.serving.runtimes.frames import objects
from headrace.serving.runtimes.onnx_models import Answers

LENGTH = struct.Struct(">I")
HEADER_LIMIT_BYTES = 17 << 20
"""As much as a body of a request may have, and room for what stands around its texts."""
ARRAY_LIMIT_BYTES = 1 << 30
DIMENSIONS = 64
_KINDS = frozenset("fiubmM")
_FORMS: dict[str, Callable[[dict[str, Any]], Inputs | Outputs]] = {
    "array": lambda arrays: arrays[""],
    "columns": dict,
    "answers": Answers,
}


def encode(header: dict[str, Any], values: Inputs | Outputs | None = None) -> list[bytes | memoryview]:
    """A message, as pieces to be written one after another.

    Raises:
        ModelFault: an array holds what is not JSON.
    """
    pieces: list[bytes | memoryview] = []
    listed = []
    form = None
    if values is not None:
        form = "answers" if isinstance(values, Answers) else "columns" if isinstance(values, dict) else "array"
        named = values if isinstance(values, dict) else {"": values}
        for name, array in named.items():
            kind, piece = _pack(np.asarray(array))
            pieces.append(piece)
            listed.append([name, kind, list(np.shape(array)), len(piece)])
    told = {**header, "form": form, "arrays": listed}
    # as long as the texts of a request that it may hold, which escapes would double or triple
    encoded = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return [LENGTH.pack(len(encoded)) + encoded, *pieces]


def decode(read: Callable[[int], bytes | bytearray]) -> tuple[dict[str, Any], Inputs | Outputs | None]:
    """The next message.

    Args:
        read: gives exactly as many bytes as it is asked for, or raises.

    Raises:
        ModelFault: it is not a message.
    """
    (length,) = LENGTH.unpack(read(LENGTH.size))
    if length > HEADER_LIMIT_BYTES:
        raise ModelFault("a message of the model host is too large")
    encoded = read(length)
    try:
        header = json.loads(encoded)
        form, listed = header["form"], header["arrays"]
        if form is None:
            return header, None
        arrays = {}
        for name, kind, shape, size in listed:
            if not 0 <= size <= ARRAY_LIMIT_BYTES:
                raise ModelFault("a message of the model host is too large")
            _require_fitting(kind, shape, size)
            arrays[str(name)] = _unpack(kind, tuple(shape), read(size))
        return header, _FORMS[form](arrays)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelFault(f"a message of the model host cannot be read ({type(error).__name__})") from error


def _pack(array: Any) -> tuple[str, bytes | memoryview]:
    if array.dtype.kind in _KINDS:
        plain = np.ascontiguousarray(array)
        return plain.dtype.str, plain.reshape(-1).view(np.uint8).data  # as it lies there: it may be large
    values = array.ravel().tolist()
    if values and all(isinstance(value, bytes) for value in values):
        return "bytes", json.dumps([base64.b64encode(value).decode() for value in values]).encode()
    try:
        return "json", json.dumps(values, default=_plain).encode()
    except (TypeError, ValueError) as error:
        raise ModelFault(f"the model answered with what is not JSON: {error}"[:300]) from error


def _require_fitting(kind: str, shape: list[int], size: int) -> None:
    """Numbers whose shape is not that of their bytes are refused before these are read."""
    if kind in {"json", "bytes"}:
        return
    if len(shape) > DIMENSIONS or math.prod(shape) * np.dtype(kind).itemsize != size:
        raise ValueError(kind)


def _unpack(kind: str, shape: tuple[int, ...], content: bytes | bytearray) -> Any:
    if kind in {"json", "bytes"}:
        values = json.loads(content)
        if kind == "bytes":
            values = [base64.b64decode(value) for value in values]
        return objects(values).reshape(shape)
    dtype = np.dtype(kind)
    if dtype.kind not in _KINDS:
        raise ValueError(kind)
    return np.frombuffer(content, dtype=dtype).reshape(shape).copy()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"a {type(value).__name__}")
