"""What was predicted in a window, read from the lake.

Work-side. Only live traffic is monitored: staging replays are the platform's own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from headrace.kernel.lake import Lake
from headrace.monitoring.nouns import OUTPUT_COLUMN
from headrace.serving.log.compaction import predictions_table
from headrace.serving.log.feature_names import FeatureNames
from headrace.serving.nouns import Purpose

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """Rows of the prediction log."""

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def of_version(self, version: int) -> "Predictions":
        """The rows that one version answered."""
        return Predictions(self.table.filter(pc.equal(self.table["version"], version)))

    def answered(self) -> "Predictions":
        """The rows that have an output."""
        return Predictions(self.table.filter(pc.is_valid(self.table["output"])))

    @property
    def faults(self) -> int:
        """Rows on which the model faulted."""
        return len(self) - int(self.table["fault"].null_count)

    def columns(self, names: Iterable[str]) -> dict[str, Floats]:
        """Features by name and the output under `OUTPUT_COLUMN`, each of shape (rows,), NaN where missing.

        Args:
            names: columns of a reference profile; what the log does not have is left out.
        """
        found: dict[str, Floats] = {}
        features = FeatureNames(self.table.schema)
        for name in names:
            logged = "output" if name == OUTPUT_COLUMN else features.of(name, text=False)
            if logged in self.table.column_names:
                found[name] = to_floats(self.table[logged])
        return found

    def entity_rows(self) -> list[int]:
        """How many rows each entity has; a row without an entity stands for itself."""
        entities = self.table["entity"]
        counted = pc.value_counts(entities.drop_null().combine_chunks())
        return [*counted.field("counts").to_pylist(), *[1] * entities.null_count]


def read_live(lake: Lake, model: str, start: datetime | None, end: datetime) -> Predictions:
    """Live predictions with business time in [start, end), in the log's order.

    Returns:
        The predictions; none when nothing was ever logged.
    """
    name = predictions_table(model)
    if not lake.exists(name):
        return Predictions(_EMPTY.empty_table())
    snapshot = lake.snapshot(name)
    if not snapshot.files:
        return Predictions(snapshot.schema.empty_table())
    wanted = (pc.field("business_at") < pa.scalar(end, _INSTANT)) & (pc.field("purpose") == Purpose.LIVE.value)
    if start is not None:
        wanted &= pc.field("business_at") >= pa.scalar(start, _INSTANT)
    dataset = ds.dataset(list(snapshot.files), schema=snapshot.schema, format="parquet")
    return Predictions(dataset.to_table(filter=wanted))


def to_floats(column: pa.ChunkedArray) -> Floats:
    """A numeric Arrow column as floats, shape (rows,), with NaN for null."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


_INSTANT = pa.timestamp("us", tz="UTC")
_EMPTY = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("business_at", _INSTANT),
        ("version", pa.int64()),
        ("entity", pa.string()),
        ("output", pa.float64()),
        ("fault", pa.string()),
        ("purpose", pa.string()),
    ]
)
"""What monitoring reads besides the features."""
