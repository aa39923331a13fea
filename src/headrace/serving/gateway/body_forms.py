"""The kinds of bodies that hold rows, and where each is read: here, or beside the gateway if it may do harm."""

from collections.abc import Callable
from typing import Any

from headrace.serving.forms.inputs import Columns, Inputs
from headrace.serving.forms.json_forms import Asked, Entities, Forms, described_forms
from headrace.serving.forms.packing import pack, unpack
from headrace.serving.gateway import doors
from headrace.serving.gateway.csv_forms import CSV, from_csv
from headrace.serving.gateway.reading import LARGE_BYTES, VALUES_HERE, Reading

PARQUET = "application/vnd.apache.parquet"
PARQUET_READER = "headrace.serving.gateway.parquet_forms:read"
"""By its name: it takes a library that no gateway has to load."""
HERE: dict[str, Callable[[Forms, bytes], Asked]] = {doors.JSON: Forms.decode, CSV: from_csv}
KINDS = (*HERE, PARQUET)
"""What `Content-Type` may say."""


def is_aside(kind: str, size_bytes: int) -> bool:
    """Whether such a body is read beside the gateway: it is a file that a library reads, or takes long."""
    return kind == PARQUET or size_bytes > LARGE_BYTES


def spreads(forms: Forms, kind: str, body: bytes) -> bool:
    """Whether a small body may hold more than is read here: its rows need not have all columns."""
    if len(body) * forms.optional <= VALUES_HERE:
        return False
    return _rows_at_most(kind, body) * forms.optional > VALUES_HERE


def _rows_at_most(kind: str, body: bytes) -> int:
    """Lines, or objects, or where there may be any the lists of a split and the values of a column."""
    if kind == CSV:
        return max(body.count(b"\n"), body.count(b"\r")) + 1
    rows = body.count(b"{")
    if b"dataframe_split" in body or b"\\" in body:  # which may write the same otherwise
        rows = max(rows, body.count(b"["))
    if b"inputs" in body or b"instances" in body or b"\\" in body:
        rows = max(rows, 1 + max(part.count(b",") for part in body.split(b"]")))
    return rows


def read_aside(reading: Reading, kind: str, body: bytes, forms: Forms) -> Asked:
    """What a body asks for, read beside the gateway.

    Raises:
        HeadraceError: what is wrong with it; or it cannot be read, see `Reading.read`.
    """
    known, found = reading.read(
        PARQUET_READER if kind == PARQUET else f"{__name__}:read", {"kind": kind, "forms": forms.description}, body
    )
    params = forms.checked_params(known["params"])
    if known["entities"] is not None:
        return Asked(Entities(*known["entities"]), params)
    arrays = found if isinstance(found, dict) else {}
    rows = unpack(known["rows"], arrays, forms.signature.names)
    reading.hold(rows, sum(array.nbytes for array in arrays.values()))
    return Asked(rows, params)


def read(about: Any, body: bytes) -> tuple[dict[str, Any], Columns | None]:
    """Read a body, beside the gateway: the other end of `read_aside`.

    Raises:
        HeadraceError: what is wrong with it.
    """
    forms = described_forms(about["forms"])
    if about["kind"] == CSV:
        return packed(from_csv(forms, body).rows, None)
    rows, params = forms.read(body)
    forms.checked_params(params)  # so that what goes back is no more than they may be
    return packed(rows, params)


def packed(rows: Inputs | Entities, params: dict[str, Any] | None) -> tuple[dict[str, Any], Columns | None]:
    """What was read, for the way back."""
    if isinstance(rows, Entities):
        return {"params": params, "entities": [rows.key, rows.values]}, None
    layout, arrays = pack(rows)
    return {"params": params, "entities": None, "rows": layout}, arrays
