"""What large and hostile bodies do to the small requests beside them, and what a small file costs.

    python benchmarks/bodies.py [--seconds 8] [--without WORD ...]

One gateway serves one linear model of thirty columns alone. A caller asks for one row, 100 times a second, and
notes how long each took; beside it another sends one large body after another. Then a file of ten rows is sent, and
the same rows as JSON.
"""

import argparse
import http.client
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import skops.io
import yaml
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LinearRegression

COLUMNS = [f"column_{place:02}" for place in range(30)]
PATH = "/invocations"
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
PORT = 8_765
RATE = 100


def write_model(folder: Path) -> None:
    """A linear model as MLflow writes it."""
    folder.mkdir()
    rows = np.random.default_rng(0).normal(size=(50, len(COLUMNS)))
    skops.io.dump(LinearRegression().fit(rows, rows.sum(axis=1)), folder / "model.skops")
    inputs = [{"name": name, "type": "double"} for name in COLUMNS]
    flavors = {
        "sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"},
        "python_function": {"loader_module": "mlflow.sklearn", "predict_fn": "predict"},
    }
    (folder / "MLmodel").write_text(
        yaml.safe_dump({"flavors": flavors, "signature": {"inputs": json.dumps(inputs)}})
    )


def table(rows: int) -> np.ndarray:
    """Numbers."""
    return np.random.default_rng(1).normal(size=(rows, len(COLUMNS)))


def as_json(rows: int) -> bytes:
    return json.dumps({"dataframe_split": {"columns": COLUMNS, "data": table(rows).tolist()}}).encode()


def as_parquet(rows: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(dict(zip(COLUMNS, table(rows).T, strict=True))), sink)
    return sink.getvalue()


def bomb() -> bytes:
    """A file of few bytes whose texts take gigabytes."""
    sink = io.BytesIO()
    texts = pa.table({COLUMNS[0]: ["x" * 400_000] * 100})
    options = {"column_encoding": {COLUMNS[0]: "DELTA_BYTE_ARRAY"}, "compression": "zstd"}
    with pq.ParquetWriter(sink, texts.schema, use_dictionary=False, **options) as writer:
        for _ in range(100):
            writer.write_table(texts)
    return sink.getvalue()


def bodies() -> dict[str, tuple[str, bytes]]:
    """What is sent beside the small requests."""
    line = ",".join(f"{value:.17g}" for value in table(1)[0])
    return {
        "nothing": (JSON, b""),
        "400 KB of JSON, 650 rows": (JSON, as_json(650)),
        "6 MB of JSON, 10,000 rows": (JSON, as_json(10_000)),
        "16 MB of numbers that are no rows": (JSON, b'{"instances":[' + b"1," * 8_000_000 + b"1]}"),
        "6 MB of CSV, 10,000 rows": (CSV, (",".join(COLUMNS) + "\n" + f"{line}\n" * 10_000).encode()),
        "2 MB of Parquet, 10,000 rows": (PARQUET, as_parquet(10_000)),
        "a Parquet file that unpacks to 4 GB": (PARQUET, bomb()),
    }


def ask(connection: http.client.HTTPConnection, kind: str, body: bytes) -> int:
    connection.request("POST", PATH, body, {"content-type": kind})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def quietly(seconds: float, stop: threading.Event | None = None) -> list[float]:
    """Ask for one row at a steady rate; how many milliseconds each took, from when it was due."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    body, took, due = as_json(1), [], time.perf_counter()
    end = due + seconds
    while due < end:
        time.sleep(max(0.0, due - time.perf_counter()))
        assert ask(connection, JSON, body) == 200
        took.append((time.perf_counter() - due) * 1_000)
        due += 1 / RATE
    if stop is not None:
        stop.set()
    return took


def beside(kind: str, body: bytes, stop: threading.Event, seen: list[tuple[int, float]]) -> None:
    """Send one body after another."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    while body and not stop.is_set():
        began = time.perf_counter()
        seen.append((ask(connection, kind, body), time.perf_counter() - began))


@contextmanager
def serving(folder: Path) -> Iterator[psutil.Process]:
    command = [sys.executable, "-c", "from headrace.cli.main import run; run()", "serve", str(folder)]
    process = subprocess.Popen([*command, "--port", str(PORT)], stdout=subprocess.DEVNULL)
    for _ in range(200):
        time.sleep(0.1)
        try:
            if ask(http.client.HTTPConnection("127.0.0.1", PORT), JSON, as_json(1)) == 200:
                break
        except OSError:
            continue
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--without", nargs="*", default=[], help="words of bodies that are not sent")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 130)
    shown = Table("beside one-row requests", "p50, ms", "p99", "max", "bodies", "ms each", "answers", "gateway, MB")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as made:
        write_model(Path(made) / "model")
        with serving(Path(made) / "model") as gateway:
            for name, (kind, body) in bodies().items():
                if any(word in name for word in options.without):
                    continue
                stop, seen = threading.Event(), list[tuple[int, float]]()
                sender = threading.Thread(target=beside, args=(kind, body, stop, seen))
                sender.start()
                took = quietly(options.seconds, stop)
                sender.join()
                each = f"{np.median([taken for _, taken in seen]) * 1_000:.0f}" if seen else ""
                statuses = ", ".join(str(status) for status in sorted({status for status, _ in seen}))
                figures = [f"{value:.1f}" for value in (*np.percentile(took, [50, 99]), max(took))]
                shown.add_row(
                    name, *figures, str(len(seen)), each, statuses, f"{gateway.memory_info().rss / 1e6:.0f}"
                )
            small = Table("ten rows", "p50, ms", "p99")
            connection = http.client.HTTPConnection("127.0.0.1", PORT)
            for name, kind, body in (("JSON", JSON, as_json(10)), ("Parquet", PARQUET, as_parquet(10))):
                taken = []
                for _ in range(1_000):
                    began = time.perf_counter()
                    assert ask(connection, kind, body) == 200
                    taken.append((time.perf_counter() - began) * 1_000)
                small.add_row(name, *(f"{value:.2f}" for value in np.percentile(taken[20:], [50, 99])))
    console.print(shown)
    console.print(small)


if __name__ == "__main__":
    main()
