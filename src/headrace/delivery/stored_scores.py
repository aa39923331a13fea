"""The file behind a verdict: every row's key, label, scores and groups, or every timed call, as Parquet.

Whoever has it computes the verdict again, without the platform; see recompute.py.
"""

import io
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.delivery.findings import Sample, Timings
from headrace.errors import InvalidInput

KEY, LABEL, CANDIDATE, PRODUCTION = "key", "label", "candidate", "production"
GROUP = "by "
"""What the columns of groups begin with; the column's title follows."""
ROUND, VERSION, SECONDS = "round", "version", "seconds"


def of_scores(sample: Sample) -> bytes:
    """The file of a sample's rows."""
    columns: dict[str, Any] = {KEY: sample.keys, LABEL: sample.labels, CANDIDATE: sample.candidate}
    if sample.production is not None:
        columns[PRODUCTION] = sample.production
    for title, members in sample.groups.items():
        columns[f"{GROUP}{title}"] = pa.array(members.tolist(), pa.string()).dictionary_encode()
    return _written(pa.table(columns))


def of_timings(timings: Timings) -> bytes:
    """The file of timed calls."""
    versions = pa.array(timings.versions.tolist(), pa.string()).dictionary_encode()
    return _written(pa.table({ROUND: timings.rounds, VERSION: versions, SECONDS: timings.seconds}))


def read(content: bytes) -> Sample:
    """A sample as it was stored; of timed calls, one without rows.

    Raises:
        InvalidInput: the content is no such file.
    """
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidInput("this is no file of scores", where="scores") from error
    names = table.schema.names
    if SECONDS in names:
        return msgspec.structs.replace(nothing(), timings=_timings(table))
    missing = [name for name in (KEY, LABEL, CANDIDATE) if name not in names]
    if missing:
        raise InvalidInput(f"the file has no column {missing[0]!r}", where="scores")
    return Sample(
        keys=_column(table, KEY),
        labels=_column(table, LABEL),
        candidate=_column(table, CANDIDATE),
        production=_column(table, PRODUCTION) if PRODUCTION in names else None,
        groups={
            name.removeprefix(GROUP): np.array(table[name].to_pylist(), dtype=np.str_)
            for name in names
            if name.startswith(GROUP)
        },
    )


def nothing() -> Sample:
    """A sample without rows, for verdicts on something else."""
    return Sample(keys=np.empty(0), labels=np.empty(0), candidate=np.empty(0))


def _timings(table: pa.Table) -> Timings:
    return Timings(
        rounds=_column(table, ROUND),
        versions=np.array(table[VERSION].to_pylist(), dtype=np.str_),
        seconds=_column(table, SECONDS),
    )


def _column(table: pa.Table, name: str) -> Any:
    return table[name].to_numpy(zero_copy_only=False)


def _written(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
