"""Training sets, built on a worker: who is in, what was known about each as of T, and what became of them.

A training set is a file of its own with a content hash, and names the lake versions that it was made from, which
its registration pins. So it can be read again, and made again.
"""

import hashlib
import struct
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.errors import InvalidInput, Unavailable
from headrace.features.engine import DataEngine, DuckDBEngine
from headrace.features.frames import known_entities
from headrace.features.join import point_in_time
from headrace.features.labels import label_values
from headrace.features.maturity import require_mature
from headrace.features.nouns import ObjectDetails, SourceState
from headrace.kernel.lake import Snapshot
from headrace.kernel.work import WorkContext
from headrace.project.entity import Entity
from headrace.project.source import Source
from headrace.training.nouns import LakeVersion, RegisterTrainingSet, TrainingSetManifest, TrainingSetRequest

HOLDOUT = "holdout"
BUCKETS = 10_000
"""Entities are hashed into this many buckets; a hold-out takes whole ones."""


def build_training_set(context: WorkContext, request: TrainingSetRequest) -> TrainingSetManifest:
    """Builds a training set, stores it and registers it.

    The rows are all entities that any of the views' sources has seen by `as_of`, ordered by key.

    Args:
        context: of the job; its business time says which labels are mature.
        request: the model, the moment, the hold-out.

    Raises:
        LabelsNotMature: outcomes as of that moment are not final, or not in the lake.
        Unavailable: a source has not been read up to that moment.
        InvalidInput: no entity was seen by then, or the hold-out's fraction is impossible.
    """
    declaration, label = request.declaration, request.declaration.label
    require_mature(label, request.as_of, context.business_now)
    if not 0 <= request.holdout_fraction < 1:
        raise InvalidInput(
            f"a hold-out of {request.holdout_fraction} is impossible",
            where="holdout_fraction",
            fix="Use 0 or more and below 1, such as 0.25.",
        )
    sources = {source.name: source for source in (*(view.source for view in declaration.features), label.source)}
    states = {name: _state(context, source) for name, source in sources.items()}
    snapshots = {name: context.lake.snapshot(state.table, state.lake_version) for name, state in states.items()}
    for view in declaration.features:
        _require_read(states[view.source.name], request.as_of)
    with closing(DuckDBEngine(context.directory / "duckdb")) as engine:
        seen = {view.source.name: snapshots[view.source.name] for view in declaration.features}
        frame = _frame(engine, label.entity, seen, request.as_of)
        context.progress(0.2, f"{frame.num_rows} entities")
        table = point_in_time(engine, declaration.features, snapshots, frame)
        outcomes = label_values(
            engine,
            label,
            snapshots[label.source.name],
            frame,
            business_now=context.business_now,
            ingested_through=states[label.source.name].ingested_through,
        )
    table = table.append_column(label.name, outcomes.cast(pa.int8()))
    table = table.append_column(HOLDOUT, holdout_mask(table[label.entity.key], request))
    context.progress(0.6, "writing the training set")
    return _register(context, request, table, snapshots)


def holdout_mask(keys: pa.ChunkedArray, request: TrainingSetRequest) -> pa.Array:
    """Whether each entity is held out: by a hash of its key, so that it stays on its side in every training set."""
    limit = round(request.holdout_fraction * BUCKETS)
    return pa.array([_bucket(key, request.seed) < limit for key in keys.to_pylist()], pa.bool_())


def content_digest(table: pa.Table) -> str:
    """sha256 of a table's names, types and values in order; how they are chunked or stored plays no part."""
    digest = hashlib.sha256()
    for name in table.schema.names:
        column = table[name].combine_chunks()
        digest.update(f"{name}\0{column.type}\0{len(column)}\0".encode())
        digest.update(np.packbits(pc.is_valid(column).to_numpy(zero_copy_only=False)).tobytes())
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            for text in column.to_pylist():
                encoded = (text or "").encode()
                digest.update(struct.pack("<q", len(encoded)) + encoded)
        else:
            digest.update(_numbers(column).tobytes())
    return f"sha256:{digest.hexdigest()}"


def _numbers(column: pa.Array) -> "np.ndarray[tuple[int], np.dtype[np.generic]]":
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    if pa.types.is_floating(column.type):
        values = column.fill_null(0.0).to_numpy(zero_copy_only=False).astype("<f8")
        values[np.isnan(values)] = np.nan  # one bit pattern for all
        return values
    return column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).astype("<i8")


def _bucket(key: object, seed: int) -> int:
    hashed = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big") % BUCKETS


def _state(context: WorkContext, source: Source) -> SourceState:
    path = f"/api/v1/features/source/{source.name}"
    states = context.control.call("GET", path, returns=ObjectDetails).sources
    if not states or states[0].lake_version is None:
        raise Unavailable(
            f"source {source.name} has not been read yet",
            where=f"source/{source.name}",
            fix="Wait for its ingest, or look at why it failed: headrace features.",
        )
    return states[0]


def _require_read(state: SourceState, as_of: datetime) -> None:
    if state.ingested_through is None or state.ingested_through < as_of:
        raise Unavailable(
            f"source {state.source} has been read through {state.ingested_through}, the features need {as_of}",
            where=f"source/{state.source}",
            fix="Wait for its ingest, or look at why it failed: headrace features.",
        )


def _frame(engine: DataEngine, entity: Entity, sources: Mapping[str, Snapshot], as_of: datetime) -> pa.Table:
    frames = [known_entities(engine, entity, snapshot, as_of) for snapshot in sources.values()]
    frame = (
        frames[0] if len(frames) == 1 else pa.concat_tables(frames).group_by(frames[0].schema.names).aggregate([])
    )
    if not frame.num_rows:
        raise InvalidInput(
            f"no {entity.name} was seen by {as_of:%Y-%m-%d %H:%M}",
            where="as_of",
            fix="Train as of a later moment.",
        )
    return frame.sort_by(entity.key)


def _register(
    context: WorkContext, request: TrainingSetRequest, table: pa.Table, snapshots: Mapping[str, Snapshot]
) -> TrainingSetManifest:
    declaration = request.declaration
    path: Path = context.directory / f"{request.purpose}-set.parquet"
    pq.write_table(table, path, compression="zstd")
    blob = context.blobs.put(path)
    path.unlink()
    registration = RegisterTrainingSet(
        model=declaration.name,
        purpose=request.purpose,
        as_of=request.as_of,
        entity_key=declaration.label.entity.key,
        features=declaration.feature_names,
        label=declaration.label.name,
        rows=table.num_rows,
        holdout_rows=pc.sum(table[HOLDOUT]).as_py(),
        positives=pc.sum(table[declaration.label.name]).as_py(),
        holdout_fraction=request.holdout_fraction,
        seed=request.seed,
        content_digest=content_digest(table),
        data_digest=blob.digest,
        size_bytes=blob.size_bytes,
        lake_versions=tuple(
            LakeVersion(table=snapshot.table, version=snapshot.version) for _, snapshot in sorted(snapshots.items())
        ),
    )
    return context.control.call("POST", "/api/v1/training-sets", registration, returns=TrainingSetManifest)
