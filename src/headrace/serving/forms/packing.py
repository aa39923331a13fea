"""Rows as plain arrays and back, for the way between processes: texts as one run of bytes and where each ends.

As JSON, ten thousand texts would be read in one go, during which the interpreter does nothing else. What comes back
is a stranger's as far as a hostile body has ended up in the process that sends it, so it is checked.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidInput
from headrace.serving.forms.inputs import Columns, Inputs

_MATRIX = "matrix"
_PLAIN, _TEXT, _BYTES = "plain", "text", "bytes"
Layout = list[list[Any]]
"""Name, form and shape of each array."""


def pack(inputs: Inputs) -> tuple[Layout, Columns]:
    """Rows as arrays of numbers, and what there is to know to put them together again."""
    if not isinstance(inputs, dict):
        return [["", _MATRIX, list(inputs.shape)]], {"0": inputs}
    layout: Layout = []
    arrays: Columns = {}
    for place, (name, values) in enumerate(inputs.items()):
        if values.dtype != object:
            layout.append([name, _PLAIN, list(values.shape)])
            arrays[f"{place}"] = values
            continue
        form, *parts = _texts(values.ravel().tolist())
        layout.append([name, form, list(values.shape)])
        arrays |= {f"{place}.{part}": array for part, array in zip(("which", "ends", "run"), parts, strict=True)}
    return layout, arrays


def unpack(layout: Layout, arrays: Columns, names: Sequence[str] | None = None) -> Inputs:
    """The rows.

    Args:
        layout: from `pack`.
        arrays: from `pack`.
        names: that the columns must have, or a matrix as many columns as; None for any.

    Raises:
        InvalidInput: they do not fit together.
    """
    try:
        inputs = _unpacked(layout, arrays)
    except (KeyError, IndexError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise _odd() from error
    if isinstance(inputs, dict):
        fits = names is None or set(inputs) == set(names)
        fits = fits and len({len(values) for values in inputs.values()}) <= 1
    else:
        fits = inputs.dtype == np.float64 and inputs.ndim == 2 and (names is None or inputs.shape[1] == len(names))
    if not fits:
        raise _odd()
    return inputs


def _unpacked(layout: Layout, arrays: Columns) -> Inputs:
    if layout and layout[0][1] == _MATRIX:
        return arrays["0"]
    found: Columns = {}
    for place, (name, form, shape) in enumerate(layout):
        if form == _PLAIN:
            found[name] = arrays[f"{place}"].reshape(shape)
        else:
            which, ends, run = (arrays[f"{place}.{part}"] for part in ("which", "ends", "run"))
            found[name] = _read(which, ends, run, text=form == _TEXT).reshape(shape)
    return found


def _texts(values: list[Any]) -> tuple[Any, ...]:
    """Each text once: a small file may hold one that all of many rows share."""
    places: dict[Any, int] = {}
    which = np.array([-1 if each is None else places.setdefault(each, len(places)) for each in values], np.int32)
    form = _BYTES if any(isinstance(each, bytes) for each in places) else _TEXT
    encoded = [each if isinstance(each, bytes) else each.encode("utf-8", "surrogatepass") for each in places]
    ends = np.cumsum([len(each) for each in encoded], dtype=np.int64)
    return form, which, ends, np.frombuffer(b"".join(encoded), np.uint8)


def _read(
    which: npt.NDArray[Any], ends: npt.NDArray[Any], run: npt.NDArray[Any], *, text: bool
) -> npt.NDArray[Any]:
    content = run.tobytes()
    if len(which) and (which.min() < -1 or which.max() >= len(ends)):
        raise ValueError
    found: list[Any] = []
    begin = 0
    for end in ends.tolist():
        if not begin <= end <= len(content):
            raise ValueError
        each = content[begin:end]
        found.append(each.decode("utf-8", "surrogatepass") if text else each)
        begin = end
    found.append(None)  # at place -1
    values = np.empty(len(which), dtype=object)
    values[:] = [found[place] for place in which.tolist()]
    return values


def _odd() -> InvalidInput:
    return InvalidInput("the body cannot be read: what was read of it does not fit together", where="body")
