"""Real rows of a version's inputs, from wherever there are some: its training set, what it was asked, its example.

Work-side. Only columns of numbers are gathered, as a matrix in the order of the signature with NaN for null.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from headrace.errors import NotFound
from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving.forms.inputs import Array
from headrace.serving.loading.description import Description
from headrace.serving.loading.example import example_rows
from headrace.serving.loading_nouns import PrepareRequest
from headrace.serving.log.compaction import predictions_table
from headrace.serving.log.feature_names import FeatureNames
from headrace.serving.nouns import Purpose
from headrace.serving.runtimes.files import ModelFiles
from headrace.training.nouns import TrainingSetManifest

ROWS = 2_000
"""From each place at most so many, spread over all that is there."""


def gather(
    ctx: WorkContext, request: PrepareRequest, files: ModelFiles, description: Description, names: Sequence[str]
) -> tuple[Array, dict[str, int]]:
    """Real rows of shape (rows, names), and how many came from where.

    Args:
        ctx: of the job.
        request: the version.
        files: of the version.
        description: of its directory.
        names: the columns, in order.
    """
    places = {
        "training set": _of_training_set(ctx, request.training_set_id, names),
        "prediction log": _of_log(ctx.lake, request.version.model, names),
        "input example": example_rows(files, description, names),
    }
    found = {place: rows for place, rows in places.items() if rows is not None and len(rows)}
    everything = np.concatenate([np.empty((0, len(names))), *found.values()])
    return everything, {place: len(rows) for place, rows in found.items()}


def _of_training_set(ctx: WorkContext, training_set_id: str | None, names: Sequence[str]) -> Array | None:
    if training_set_id is None:
        return None
    try:
        path = f"/api/v1/training-sets/{training_set_id}"
        manifest = ctx.control.call("GET", path, returns=TrainingSetManifest)
        table = pq.read_table(pa.BufferReader(ctx.blobs.read(manifest.data_digest)))
    except NotFound:
        return None
    return _matrix(table, names, names)


def _of_log(lake: Lake, model: str, names: Sequence[str]) -> Array | None:
    """What callers asked, whichever version answered."""
    name = predictions_table(model)
    if not lake.exists(name):
        return None
    snapshot = lake.snapshot(name)
    features = FeatureNames(snapshot.schema)
    columns = [features.of(each, text=False) for each in names]
    if not snapshot.files or not set(columns) <= set(snapshot.schema.names):
        return None
    dataset = ds.dataset(list(snapshot.files[-10:]), schema=snapshot.schema, format="parquet")
    live = pc.field("purpose") == Purpose.LIVE.value
    return _matrix(dataset.head(20 * ROWS, columns=columns, filter=live), columns, names)


def _matrix(table: pa.Table, columns: Sequence[str], names: Sequence[str]) -> Array | None:
    """Columns as a matrix, of rows spread over the table; None where one is missing or holds no numbers."""
    if not set(columns) <= set(table.schema.names):
        return None
    if table.num_rows > ROWS:
        table = table.take(np.linspace(0, table.num_rows - 1, ROWS).astype(np.int64))
    try:
        parts = [
            table[column].cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False)
            for column in columns
        ]
    except pa.ArrowInvalid:
        return None
    return np.column_stack(parts) if parts else np.empty((table.num_rows, len(names)))
