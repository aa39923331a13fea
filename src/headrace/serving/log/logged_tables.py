"""Rows of the prediction log as a table: what gateways have written line by line, and the answers to a batch."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.serving.forms.filled import filled_fields
from headrace.serving.forms.inputs import Inputs, Outputs, row_answers
from headrace.serving.log.feature_names import FeatureNames
from headrace.serving.log.segments import Block
from headrace.serving.nouns import Arm, Purpose

_INSTANT = pa.timestamp("us", tz="UTC")
COLUMNS: dict[str, pa.DataType] = {
    "prediction_id": pa.string(),
    "business_at": _INSTANT,
    "at": _INSTANT,
    "model": pa.string(),
    "version": pa.int64(),
    "arm": pa.string(),
    "propensity": pa.float64(),
    "release_id": pa.string(),
    "step": pa.int64(),
    "entity": pa.string(),
    "output": pa.float64(),
    "outputs": pa.list_(pa.float64()),
    "answer": pa.string(),
    "latency_us": pa.int64(),
    "fault": pa.string(),
    "purpose": pa.string(),
    "unit": pa.int64(),
    "filled": pa.list_(pa.string()),
}


def to_table(blocks: Sequence[Block], schema: pa.Schema | None = None) -> pa.Table:
    """Predictions as a table, a row each, with features in columns that fit a table of this schema."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for block in blocks:
        for name, values in (_facts(block) | _answers(block.rows.outputs)).items():
            columns[name] += values
    arrays = {name: pa.array(values, type=COLUMNS[name]) for name, values in columns.items()}
    return pa.table(arrays | _features(blocks, schema))


def _facts(block: Block) -> dict[str, list[Any]]:
    """The columns that tell who answered what and why."""
    rows = block.rows
    size = len(rows.ids)
    entities: list[str | None] = [None] * size
    if rows.entities is not None and rows.entity_key is not None:
        entities = [msgspec.json.encode({rows.entity_key: entity}).decode() for entity in rows.entities]
    return {
        "prediction_id": rows.ids,
        "business_at": rows.business_at,
        "at": rows.at,
        "model": [block.model] * size,
        "version": [rows.version] * size,
        "arm": [rows.arm] * size,
        "propensity": [rows.propensity] * size,
        "release_id": [rows.release_id] * size,
        "step": [rows.step] * size,
        "entity": entities,
        "latency_us": rows.latency_us,
        "fault": [rows.faults.get(place) for place in range(size)],
        "purpose": [rows.purpose] * size,
        "unit": [None] * size if rows.units is None else rows.units,
        "filled": block.filled or [None] * size,
    }


def _answers(outputs: list[Any]) -> dict[str, list[Any]]:
    """The columns of answers: each is in the one that fits it."""
    found: dict[str, list[Any]] = {name: [None] * len(outputs) for name in ("output", "outputs", "answer")}
    for place, output in enumerate(outputs):
        if isinstance(output, int | float):
            found["output"][place] = float(output)
        elif isinstance(output, list) and all(isinstance(value, int | float) for value in output):
            found["outputs"][place] = [float(value) for value in output]
        elif output is not None:
            found["answer"][place] = msgspec.json.encode(output).decode()
    return found


def _features(blocks: Sequence[Block], schema: pa.Schema | None) -> dict[str, pa.Array]:
    """A column for each feature, or two for one that has numbers and texts."""
    columns = _FeatureColumns(sum(len(block.rows.ids) for block in blocks), schema)
    begin = 0
    for block in blocks:
        features = block.features
        if isinstance(features, list):
            for place, values in enumerate(features, begin):
                for name, value in zip(block.names, values, strict=True):
                    columns.put(name, place, value, text=name in block.texts)
        else:
            for name, numbers in zip(block.names, features.T, strict=True):
                columns.put_numbers(name, begin, numbers)
        begin += len(block.rows.ids)
    return columns.arrays()


class _FeatureColumns:
    """The columns of features while they are filled: doubles with NaN for null, or texts."""

    def __init__(self, rows: int, schema: pa.Schema | None) -> None:
        self._rows = rows
        self._names = FeatureNames(schema)
        self._columns: dict[str, list[str | None] | npt.NDArray[np.float64]] = {}

    def put(self, name: str, place: int, value: Any, *, text: bool) -> None:
        """One row's value."""
        text = text or not isinstance(value, int | float | None)
        column = self._column(name, text=text, null=value is None)
        if value is not None:
            column[place] = as_text(value) if text else float(value)

    def put_numbers(self, name: str, begin: int, values: npt.NDArray[np.float64]) -> None:
        """The values of many rows."""
        null = bool(np.isnan(values).all())
        column = self._column(name, text=False, null=null)
        if not null:
            column[begin : begin + len(values)] = values

    def _column(self, name: str, *, text: bool, null: bool) -> Any:
        """Where a value belongs."""
        column = self._names.of(name, text=text, null=null)
        if column not in self._columns:
            texts = self._names.has_texts(column)
            self._columns[column] = [None] * self._rows if texts else np.full(self._rows, np.nan)
        return self._columns[column]

    def arrays(self) -> dict[str, pa.Array]:
        return {
            name: pa.array(values, pa.string() if self._names.has_texts(name) else pa.float64(), from_pandas=True)
            for name, values in self._columns.items()
        }


def as_text(value: Any) -> str:
    """A value that is no number: a text, or part of a tensor, which is kept as JSON."""
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else str(value)


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
    if not isinstance(inputs, dict):
        known["filled"] = pa.array(filled_fields(inputs, names), COLUMNS["filled"])
    columns = {
        name: known[name] if name in known else pa.repeat(pa.scalar(same.get(name), kind), rows)
        for name, kind in COLUMNS.items()
    }
    features = FeatureNames(schema)
    for place, name in enumerate(names):
        values = inputs[name] if isinstance(inputs, dict) else inputs[:, place]
        text = name in texts or _is_text(values)
        columns[features.of(name, text=text)] = _feature(values, text=text)
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
