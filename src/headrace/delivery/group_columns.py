"""Which group each row of a verdict belongs to, by a feature of the model or by what a source says of its entity.

Work-side. A column of a source is joined as of the rows' moment, for the evaluation alone; no model sees it.
Numbers are cut at declared edges, or at quantiles of the rows when there are many different ones. A row without a
value is in a group of its own, so that what is not known is not left out of sight.
"""

from contextlib import closing
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.delivery.evaluation_rows import Rows
from headrace.errors import InvalidInput, NotFound, Unavailable
from headrace.features.engine import DuckDBEngine
from headrace.features.frames import AS_OF, UTC_TIME
from headrace.features.latest import latest_values
from headrace.features.nouns import ObjectDetails
from headrace.kernel.work import WorkContext
from headrace.project.column import Column
from headrace.project.entity import Entity

MISSING = "(none)"
FEW_VALUES = 10
"""Up to so many different numbers are groups as they are."""
MOST_GROUPS = 50

Groups = dict[str, npt.NDArray[np.str_]]
"""The name of each row's group, shape (rows,), by the column's title."""


class Grouped(msgspec.Struct, frozen=True, kw_only=True):
    """The groups of rows, and why a column has none."""

    groups: Groups
    problems: dict[str, str]
    sources: dict[str, int]
    """The lake version that each source was read at."""


def group_rows(
    ctx: WorkContext, entity: Entity, columns: tuple[Column, ...], rows: Rows, other: Rows | None
) -> Grouped:
    """The groups of the rows by each column.

    Args:
        ctx: of the job.
        entity: whom the rows are about.
        columns: what they are grouped by.
        rows: with the candidate's features.
        other: the same rows with production's features, where those differ.

    Raises:
        Unavailable: a source has not been read yet.
    """
    groups: Groups = {}
    problems: dict[str, str] = {}
    sources: dict[str, int] = {}
    for column in columns:
        if column.title in groups:
            continue
        try:
            here = column.source is None
            values = _feature(column, rows, other) if here else _joined(ctx, entity, column, rows, sources)
            groups[column.title] = labels_of(values, column)
        except (InvalidInput, NotFound) as problem:
            problems[column.title] = problem.message
    return Grouped(groups=groups, problems=problems, sources=sources)


def labels_of(values: pa.ChunkedArray | pa.Array, column: Column) -> npt.NDArray[np.str_]:
    """The name of each value's group, shape (values,).

    Raises:
        InvalidInput: there are too many different values to be groups.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_decimal(values.type):
        numbers = values.cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False)
        return _cut(np.asarray(numbers, dtype=np.float64), column)
    if column.edges is not None:
        raise InvalidInput(f"{column.title} holds {values.type}, which edges cannot cut", where=column.declared_at)
    texts = [MISSING if value is None else str(value) for value in values.to_pylist()]
    _require_few(column, len(set(texts)))
    return np.array(texts, dtype=np.str_)


def _cut(numbers: npt.NDArray[np.float64], column: Column) -> npt.NDArray[np.str_]:
    known = ~np.isnan(numbers)
    distinct = np.unique(numbers[known])
    if column.edges is None and len(distinct) <= FEW_VALUES:
        few = [f"{value:.12g}" if value == value else MISSING for value in numbers.tolist()]
        return np.array(few, dtype=np.str_)
    if column.edges is not None:
        edges = np.array(column.edges)
    else:
        parts = np.arange(1, column.quantiles) / column.quantiles
        edges = np.unique(np.quantile(numbers[known], parts, method="higher"))
    written = [f"{edge:g}" for edge in edges.tolist()]
    if len(set(written)) < len(written):  # groups of one name would be one
        written = [repr(edge) for edge in edges.tolist()]
    names = [f"below {written[0]}"]
    names += [f"{low} to below {high}" for low, high in pairwise(written)]
    names += [f"{written[-1]} and more", MISSING]
    places = np.where(known, np.searchsorted(edges, np.where(known, numbers, 0.0), side="right"), len(edges) + 1)
    return np.array(names, dtype=np.str_)[places]


def _require_few(column: Column, distinct: int) -> None:
    if distinct > MOST_GROUPS:
        raise InvalidInput(
            f"{column.title} has {distinct} different values, too many to be groups",
            where=column.declared_at or column.title,
            fix=f"Group by something with at most {MOST_GROUPS} values, or cut numbers at edges.",
        )


def _feature(column: Column, rows: Rows, other: Rows | None) -> pa.Array:
    for known in (rows, other):
        if known is not None and column.name in known.names:
            return pa.array(known.features[:, known.names.index(column.name)], from_pandas=True)
    raise InvalidInput(f"the rows have no feature {column.name!r}", where=column.declared_at or column.title)


def _joined(
    ctx: WorkContext, entity: Entity, column: Column, rows: Rows, sources: dict[str, int]
) -> pa.ChunkedArray:
    source: Any = column.source
    path = f"/api/v1/features/source/{source.name}"
    (state, *_) = ctx.control.call("GET", path, returns=ObjectDetails).sources or (None,)
    if state is None or state.lake_version is None or state.ingested_through is None:
        raise Unavailable(f"source {source.name} has not been read yet", where=f"source/{source.name}")
    if state.ingested_through < rows.as_of:
        raise Unavailable(
            f"source {source.name} has not been read up to {rows.as_of:%Y-%m-%d}",
            where=f"source/{source.name}",
            fix="Wait for its ingest, or look at why it failed: headrace features.",
        )
    sources[source.name] = sources.get(source.name, state.lake_version)
    snapshot = ctx.lake.snapshot(state.table, sources[source.name])
    frame = pa.table({entity.key: pa.array(rows.keys), AS_OF: pa.array([rows.as_of] * len(rows.keys), UTC_TIME)})
    with closing(DuckDBEngine(ctx.directory / "duckdb")) as engine:
        return latest_values(engine, entity, snapshot, column.name, frame)
