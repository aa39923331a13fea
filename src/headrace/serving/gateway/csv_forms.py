"""Rows that come as CSV, as MLflow's scoring protocol takes them beside JSON."""

import csv
import io
from typing import Any

from headrace.errors import InvalidInput, SchemaMismatch, TooLarge
from headrace.serving.forms.json_forms import ROW_LIMIT, Asked, Forms

CSV = "text/csv"


def from_csv(forms: Forms, body: bytes) -> Asked:
    """Rows under a line of names; an empty value is null.

    Raises:
        InvalidInput: it is not CSV in UTF-8.
        SchemaMismatch: a field is missing, unknown or of another type; `where` names it.
        TooLarge: it has more rows than a request may have.
    """
    try:
        lines = csv.reader(io.StringIO(body.decode()), strict=True)
        names = next(lines, [])
        rows: list[dict[str, Any]] = []
        for values in lines:
            if not values:
                continue
            if len(values) != len(names):
                raise SchemaMismatch(
                    f"the row has {len(values)} values, not {len(names)}", where=f"csv[{len(rows)}]"
                )
            rows.append({name: value for name, value in zip(names, values, strict=True) if value != ""})
            if len(rows) > ROW_LIMIT:
                raise TooLarge(f"a request has at most {ROW_LIMIT} rows", where="body", fix="Send them in parts.")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"the body is not CSV in UTF-8 ({type(error).__name__})", where="body") from None
    if len(set(names)) != len(names):
        raise SchemaMismatch("a column is named twice", where="csv")
    known = {column.name for column in forms.signature.columns}
    nothing = {name: None for name in names if name in known}
    return Asked(forms.records([nothing | row for row in rows], "csv"))
