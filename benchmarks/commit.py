"""What an acknowledged write costs, by the flush setting and the number of callers that write at once.

    python benchmarks/commit.py [--seconds 3] [--directory .]

Each write appends one audited event, as every change of state does. The directory decides which disk is measured.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from headrace.kernel import events
from headrace.kernel.database import Database
from headrace.kernel.schema import metadata
from headrace.kernel.sqlite import SqliteDatabase

CALLERS = (1, 8, 64)
SETTINGS = ("OFF", "NORMAL", "FULL")


@contextmanager
def fresh_database(directory: Path, synchronous: str) -> Iterator[Database]:
    with tempfile.TemporaryDirectory(dir=directory, prefix="commit-") as home:
        path = Path(home) / "headrace.db"
        engine = sa.create_engine(f"sqlite:///{path}")
        metadata.create_all(engine)
        engine.dispose()
        database = SqliteDatabase(path, synchronous=synchronous)
        try:
            yield database
        finally:
            database.close()


def latencies_ms(database: Database, callers: int, seconds: float) -> list[float]:
    """Latency in milliseconds of every write of `callers` threads, each writing one after the other."""
    taken: list[list[float]] = [[] for _ in range(callers)]
    end = time.perf_counter() + seconds

    def call(mine: list[float]) -> None:
        while (start := time.perf_counter()) < end:
            database.write(
                lambda tx: events.append(tx, "benchmark.stone_laid", "stone/1", {"size": 1}), actor="ana"
            )
            mine.append((time.perf_counter() - start) * 1000)

    threads = [threading.Thread(target=call, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(latency for mine in taken for latency in mine)


def flush_ms(directory: Path, count: int = 200) -> float:
    """Median time of one fsync after a 4 KiB append, for comparison."""
    taken = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(count):
            start = time.perf_counter()
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each row is measured")
    parser.add_argument("--directory", type=Path, default=Path(), help="where the database is laid")
    options = parser.parse_args()
    print(f"one fsync after a 4 KiB append: {flush_ms(options.directory):.2f} ms (median)\n")
    print(f"{'synchronous':<12} {'callers':>7} {'writes/s':>9} {'p50 ms':>8} {'p99 ms':>8}")
    for synchronous in SETTINGS:
        for callers in CALLERS:
            with fresh_database(options.directory, synchronous) as database:
                latencies_ms(database, callers, 0.3)  # warm up
                taken = latencies_ms(database, callers, options.seconds)
            p50, p99 = statistics.median(taken), taken[int(len(taken) * 0.99)]
            rate = len(taken) / options.seconds
            print(f"{synchronous:<12} {callers:>7} {rate:>9,.0f} {p50:>8.2f} {p99:>8.2f}")


if __name__ == "__main__":
    main()
