"""Rows of the prediction log as a table, made of arrays: a batch is logged without a line for each row."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.serving.compaction import COLUMNS, as_text, feature_column
from headrace.serving.inputs import Inputs, Outputs, row_answers
from headrace.serving.nouns import Arm, Purpose


def logged_table(
    ids: Sequence[str],
    inputs: Inputs,
    outputs: Outputs,
    *,
    names: Sequence[str],
    texts: Collection[str],
    model: str,
    version: int,
    at: datetime,
    business_at: datetime,
    schema: pa.Schema | None = None,
) -> pa.Table:
    """The answers to a batch, as the compaction would have written them into a table of this schema."""
    rows = len(ids)
    same: dict[str, Any] = {
        "business_at": business_at,
        "at": at,
        "model": model,
        "version": version,
        "arm": Arm.PINNED.value,
        "propensity": 1.0,
        "latency_us": 0,
        "purpose": Purpose.BATCH.value,
    }
    known = {"prediction_id": pa.array(ids, pa.string())} | _outputs(outputs)
    columns = {
        name: known[name] if name in known else pa.repeat(pa.scalar(same.get(name), kind), rows)
        for name, kind in COLUMNS.items()
    }
    for place, name in enumerate(names):
        values = inputs[name] if isinstance(inputs, dict) else inputs[:, place]
        text = name in texts or _is_text(values)
        columns[feature_column(schema, name, text=text)] = _feature(values, text=text)
    return pa.table(columns)


def _outputs(outputs: Outputs) -> dict[str, pa.Array]:
    if isinstance(outputs, dict) or outputs.dtype.kind in "UO":
        texts = [msgspec.json.encode(answer).decode() for answer in row_answers(outputs)]
        return {"answer": pa.array(texts, pa.string())}
    if outputs.ndim == 1:
        return {"output": pa.array(outputs.astype(np.float64))}
    flat = pa.array(np.ascontiguousarray(outputs, dtype=np.float64).ravel())
    return {"outputs": pa.FixedSizeListArray.from_arrays(flat, outputs.shape[1]).cast(pa.list_(pa.float64()))}


def _feature(values: npt.NDArray[Any], *, text: bool) -> pa.Array:
    if text:
        return pa.array([None if value is None else as_text(value) for value in values.tolist()], pa.string())
    return pa.array(values.astype(np.float64), from_pandas=True)  # NaN is null


def _is_text(values: npt.NDArray[Any]) -> bool:
    """Whether what a tensor holds is no number a row."""
    if values.dtype == object:
        return any(not isinstance(value, int | float | None) for value in values.tolist())
    return values.ndim > 1 or values.dtype.kind not in "fiub"
