"""What a worker and the process of one query say to each other: an order in a file, then lines of messages.

Light on purpose: the process imports it at its start.
"""

import msgspec

THREADS = 2
MB = 1_000_000


class QueryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one query may use.

    Attributes:
        engine_bytes: memory of the engine itself, beyond which it spills to disk.
        process_bytes: memory of the whole process, with what is read and what is answered.
        spill_bytes: disk for what does not fit into memory.
        rows: of the answer; what is beyond is left off.
        file_bytes: of the answer's file, compressed.
        answer_bytes: of the answer as whoever asked will hold it in memory.
    """

    engine_bytes: int = 1_000 * MB
    process_bytes: int = 3_000 * MB
    spill_bytes: int = 4_000 * MB
    rows: int = 1_000_000
    file_bytes: int = 256 << 20
    answer_bytes: int = 1_000 * MB


class RawTable(msgspec.Struct, frozen=True, kw_only=True):
    """Parquet files that are a table under a name.

    Attributes:
        schema: the table's, as Arrow writes it; a file may lack columns.
    """

    name: str
    files: tuple[str, ...]
    schema: bytes


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One query and all that its process is told.

    Attributes:
        parent: id of the process that waits for it.
        views: SQL that makes of the raw tables those that the query sees.
        answer: where the rows go, as Parquet.
        spill: an empty folder.
        cpu_s: seconds of processors after which the system ends the process.
    """

    parent: int
    sql: str
    tables: tuple[RawTable, ...]
    views: tuple[str, ...]
    answer: str
    spill: str
    cpu_s: int
    limits: QueryLimits


class Began(msgspec.Struct, frozen=True, tag="began"):
    """The tables are there, and the query's time begins."""


class Advanced(msgspec.Struct, frozen=True, tag="advanced", kw_only=True):
    """How much of the query is done, from 0 to 1, as the engine guesses."""

    fraction: float


class Answered(msgspec.Struct, frozen=True, tag="answered", kw_only=True):
    """The rows are in their file."""

    rows: int
    truncated: bool


class Refused(msgspec.Struct, frozen=True, tag="refused", kw_only=True):
    """The engine does not run this, as it says itself."""

    told: str


class Exceeded(msgspec.Struct, frozen=True, tag="exceeded"):
    """There is not enough memory, and not enough disk instead."""


Message = Began | Advanced | Answered | Refused | Exceeded
