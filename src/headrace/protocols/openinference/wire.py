"""The Open Inference Protocol's tensors (version 2, REST), as JSON and as the bytes of its binary extension.

Source: the protocol's `inference_rest.md` and its extension for binary tensor data.
"""

import math
import re
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidInput, SchemaMismatch, TooLarge
from headrace.serving.forms.json_forms import ROW_LIMIT

HEADER_LENGTH = "inference-header-content-length"
VALUES_LIMIT = 16_000_000
DIMENSIONS_LIMIT = 32
TENSORS_LIMIT = 10_000
_LENGTH = struct.Struct("<I")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")

DTYPES: dict[str, npt.DTypeLike] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}

Parameters = dict[str, str | int | float | bool | None]


class InputTensor(msgspec.Struct, frozen=True):
    """One tensor of a request."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: Any = None
    parameters: Parameters = {}


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output that the caller wants."""

    name: str
    parameters: Parameters = {}


class InferRequest(msgspec.Struct, frozen=True):
    """The JSON of a request."""

    inputs: tuple[InputTensor, ...]
    id: str | None = None
    outputs: tuple[RequestedOutput, ...] = ()
    parameters: Parameters = {}


class OutputTensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """One tensor of an answer."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, int] = {}


class InferResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of an answer."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None
    parameters: dict[str, str] = {}


_decoder = msgspec.json.Decoder(InferRequest)


def decode(body: bytes, header_length: str | None) -> tuple[InferRequest, dict[str, npt.NDArray[Any]]]:
    """A request with its tensors by name.

    Args:
        body: JSON, and after it the bytes of the tensors that say so.
        header_length: how many bytes of it are JSON; None for all.

    Raises:
        InvalidInput: it is none, or announces other bytes than it has.
        SchemaMismatch: a tensor has not the shape or the type that it says.
    """
    request, end = described(body, header_length)
    return request, tensors_of(request, memoryview(body)[end:])


def described(body: bytes, header_length: str | None) -> tuple[InferRequest, int]:
    """What a body says of itself, and where the bytes of its tensors begin; none of them is looked at.

    Raises:
        InvalidInput: it is no request.
        TooLarge: it has too many tensors.
    """
    if header_length is None:
        text = body
    else:
        if not _WHOLE_NUMBER.fullmatch(header_length) or int(header_length) > len(body):
            raise InvalidInput("the length of the JSON is not one", where="Inference-Header-Content-Length")
        text = body[: int(header_length)]
    try:
        request = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the request has not the form of the protocol: {error}"[:300], where="body") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("the body is not JSON", where="body") from None
    if len(request.inputs) > TENSORS_LIMIT:
        raise TooLarge(f"a request has at most {TENSORS_LIMIT} tensors", where="inputs", fix="Send them in parts.")
    return request, len(text)


def tensors_of(request: InferRequest, rest: memoryview) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a request by name, those with bytes from `rest`.

    Raises:
        HeadraceError: what `decode` says of them.
    """
    tensors: dict[str, npt.NDArray[Any]] = {}
    for given in request.inputs:
        where = f"inputs.{given.name}"[:200]
        if given.name in tensors:
            raise SchemaMismatch("an input is there twice", where=where)
        count = _count(given, where)
        size = given.parameters.get("binary_data_size")
        if size is None:
            tensors[given.name] = _from_json(given, count, where)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            raise InvalidInput("the bytes of a tensor are not there", where=where)
        tensors[given.name] = _from_bytes(given, rest[:size], count, where)
        rest = rest[size:]
    if rest:
        raise InvalidInput("there are bytes that no tensor announces", where="body")
    return tensors


def encode(response: InferResponse, tensors: Sequence[bytes]) -> tuple[bytes, int | None]:
    """An answer, and how many bytes of it are JSON when bytes of tensors follow."""
    text = msgspec.json.encode(response)
    return (text, None) if not tensors else (b"".join([text, *tensors]), len(text))


def output(name: str, values: npt.NDArray[Any], *, binary: bool) -> tuple[OutputTensor, bytes | None]:
    """One tensor of an answer, its data in the JSON or as bytes."""
    if values.dtype.kind in "OU":
        values = np.array([_text(value) for value in values.ravel().tolist()], dtype=object).reshape(values.shape)
    datatype = _NAMES[values.dtype]
    if not binary:
        return OutputTensor(name, values.shape, datatype, values.ravel().tolist()), None
    content = _to_bytes(values)
    return OutputTensor(name, values.shape, datatype, None, {"binary_data_size": len(content)}), content


def datatype_of(dtype: npt.DTypeLike) -> str:
    """The protocol's name of a numpy type."""
    return _NAMES[np.dtype(dtype)]


def _count(given: InputTensor, where: str) -> int:
    if given.datatype not in DTYPES:
        raise SchemaMismatch("there is no such datatype", where=where, fix=f"Use one of {', '.join(DTYPES)}.")
    if not given.shape or any(size < 0 for size in given.shape):
        raise SchemaMismatch("a shape is a list of sizes, the rows first", where=where)
    if given.shape[0] > ROW_LIMIT:
        raise TooLarge(f"a request has at most {ROW_LIMIT} rows", where=where, fix="Send them in parts.")
    if len(given.shape) > DIMENSIONS_LIMIT or math.prod(max(size, 1) for size in given.shape) > VALUES_LIMIT:
        raise TooLarge(f"a tensor has at most {DIMENSIONS_LIMIT} dimensions and {VALUES_LIMIT} values", where=where)
    return math.prod(given.shape)


def _from_json(given: InputTensor, count: int, where: str) -> npt.NDArray[Any]:
    flat = _flat(given.data)
    if len(flat) != count:
        raise SchemaMismatch(f"there are {len(flat)} values for the shape {given.shape}", where=where)
    if not all(_is(given.datatype, value) for value in flat):
        raise SchemaMismatch(f"a value is not of datatype {given.datatype}", where=where)
    try:
        with np.errstate(over="raise"):
            return np.array(flat, dtype=DTYPES[given.datatype]).reshape(given.shape)
    except (OverflowError, FloatingPointError, ValueError):
        raise SchemaMismatch(f"a value is outside {given.datatype}", where=where) from None


def _flat(data: Any) -> list[Any]:
    """The values of nested lists, in row-major order; the protocol takes them flat, too."""
    if not isinstance(data, list):
        return [] if data is None else [data]
    found: list[Any] = []
    waiting = [iter(data)]
    while waiting:
        for value in waiting[-1]:
            if isinstance(value, list):
                waiting.append(iter(value))
                break
            found.append(value)
        else:
            waiting.pop()
    return found


def _is(datatype: str, value: Any) -> bool:
    if datatype == "BYTES":
        return isinstance(value, str)
    if datatype == "BOOL":
        return isinstance(value, bool)
    if datatype.startswith("FP"):
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return isinstance(value, int) and not isinstance(value, bool)


def _from_bytes(given: InputTensor, content: memoryview, count: int, where: str) -> npt.NDArray[Any]:
    if given.datatype == "BYTES":
        texts = _texts(bytes(content), count)
        if texts is None:
            raise SchemaMismatch("the bytes are not those of texts in UTF-8", where=where)
        array = np.empty(count, dtype=object)
        array[:] = texts
        return array.reshape(given.shape)
    dtype = np.dtype(DTYPES[given.datatype]).newbyteorder("<")
    if len(content) != count * dtype.itemsize:
        raise SchemaMismatch(f"there are {len(content)} bytes for the shape {given.shape}", where=where)
    return np.frombuffer(content, dtype=dtype).reshape(given.shape)


def _texts(content: bytes, count: int) -> list[str] | None:
    """Texts behind their lengths; None when the bytes are not so many."""
    found, at = [], 0
    for _ in range(count):
        if at + _LENGTH.size > len(content):
            return None
        (size,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        if at + size > len(content):
            return None
        try:
            found.append(content[at : at + size].decode())
        except UnicodeDecodeError:
            return None
        at += size
    return found if at == len(content) else None


def _to_bytes(values: npt.NDArray[Any]) -> bytes:
    if values.dtype != object:
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    texts = [value.encode() for value in values.ravel().tolist()]
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
