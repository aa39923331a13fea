"""A slow model that is asked for more than it can answer: who is answered, turned away, or waits in vain.

    python benchmarks/overload.py [--trees 300] [--timeout 0.5] [--seconds 6]

`headrace serve` on a forest in its native form, and growing numbers of connections that each ask again at once, or
after a second when they were turned away. Every request has the same time. What counts is that answers go on at the
rate of what the model can do, and that few wait for an answer that comes too late.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import RandomForestClassifier

from headrace.project.environment import capture_environment
from headrace.server.capacity import served
from headrace.training.model_directory import export_model

NAMES = tuple("abcdefgh")
CONNECTIONS = (1, 16, 64, 256, 512)


async def ask(port: int, request: bytes, end_s: float, took_s: dict[int, list[float]]) -> None:
    """One connection, until the time is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end_s:
        began_s = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
        status = int(head[9:12])
        took_s[status].append(time.perf_counter() - began_s)
        if status == 503:
            await asyncio.sleep(1)
    writer.close()


async def load(port: int, connections: int, timeout_s: float, seconds: float) -> dict[int, list[float]]:
    """Seconds of each answer by status."""
    body = json.dumps({"dataframe_split": {"columns": NAMES, "data": [[0.1] * len(NAMES)]}}).encode()
    head = (
        f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"X-Request-Timeout: {timeout_s}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    took_s: dict[int, list[float]] = defaultdict(list)
    end_s = time.perf_counter() + seconds
    await asyncio.gather(*(ask(port, head.encode() + body, end_s, took_s) for _ in range(connections)))
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=300)
    parser.add_argument("--depth", type=int, default=14)
    parser.add_argument("--timeout", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(5_000, len(NAMES)))
    forest = RandomForestClassifier(options.trees, max_depth=options.depth, random_state=0)
    forest.fit(rows, (rows[:, 0] + generator.normal(size=5_000) > 0).astype(int))
    shown = Table("callers", "answered/s", "p50, ms", "p99, ms", "turned away/s", "too late/s", "other")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        directory = Path(folder) / "forest"
        export_model(forest, names=NAMES, sample=rows[:10], directory=directory, environment=capture_environment())
        with served(directory, allow_code=False, log=Path(folder) / "served.log") as (port, _):
            for connections in CONNECTIONS:
                took_s = uvloop.run(load(port, connections, options.timeout, options.seconds))
                good = np.array(took_s.pop(200, [float("nan")])) * 1_000
                away, late = len(took_s.pop(503, ())), len(took_s.pop(504, ()))
                shown.add_row(
                    str(connections),
                    f"{len(good) / options.seconds:,.0f}",
                    f"{np.quantile(good, 0.5):.1f}",
                    f"{np.quantile(good, 0.99):.1f}",
                    f"{away / options.seconds:,.1f}",
                    f"{late / options.seconds:,.1f}",
                    str({status: len(times) for status, times in took_s.items()} or ""),
                )
    Console().print(shown)


if __name__ == "__main__":
    main()
