"""A file of rows through a linear model: a bare loop, MLflow's two ways, and `headrace score`, in turns.

    python benchmarks/batch.py --peers PYTHON [--rows 4000000] [--csv-rows 200000] [--rounds 3]

PYTHON is the interpreter of an environment made of requirements/peers/serving.txt. The bare loop reads Parquet,
asks scikit-learn, and writes Parquet: one column, nothing checked, nothing to go on from. Every contender is a
command on one core. It is run over one row first, which is its start; rows a second are of what follows.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from headrace.testing.platform import temporary_platform
from serving import CLIENTS_CORE, PEERS, Saved, register, save

FLOW = ("models", "predict", "--env-manager", "local", "-t", "csv")
ROWS_AT_ONCE = 100_000
"""Few, for a command begins with the peak of memory of the process that starts it."""


class Took(NamedTuple):
    """What one command took."""

    seconds: float
    peak_mb: float


Command = Callable[[Path, Path], list[Any]]
"""From rows and a place for the answers."""


def commands(peers: Path, saved: Saved) -> dict[str, tuple[str, Command]]:
    """The contenders: the kind of file that each takes, and how it is called."""
    loop = [peers, PEERS / "score_rows.py"]
    headrace = [Path(sys.executable).with_name("headrace"), "score"]
    flow = [peers.with_name("mlflow"), *FLOW, "-m", saved.folder]
    return {
        "bare loop": ("parquet", lambda rows, out: [*loop, "bare", saved.folder, rows, out]),
        "mlflow.pyfunc in a loop": ("parquet", lambda rows, out: [*loop, "pyfunc", saved.folder, rows, out]),
        "headrace score": ("parquet", lambda rows, out: [*headrace, saved.folder, "-i", rows, "-o", out]),
        "headrace score, with its log": (
            "parquet",
            lambda rows, out: [*headrace, f"models:/{saved.name}/1", "-i", rows, "-o", out],
        ),
        "mlflow models predict, CSV": ("csv", lambda rows, out: [*flow, "-i", rows, "-o", out]),
        "headrace score, CSV": ("csv", lambda rows, out: [*headrace, saved.folder, "-i", rows, "-o", out]),
    }


def write_rows(folder: Path, saved: Saved, kind: str, count: int) -> Path:
    """Rows of the model's columns."""
    path = folder / f"rows-{count}.{kind}"
    generator = np.random.default_rng(0)
    schema = pa.schema([(name, pa.float64()) for name in saved.columns])
    opened = pyarrow.csv.CSVWriter(path, schema) if kind == "csv" else pq.ParquetWriter(path, schema)
    with opened as writer:
        for start in range(0, count, ROWS_AT_ONCE):
            values = generator.normal(size=(len(saved.columns), min(ROWS_AT_ONCE, count - start)))
            writer.write_table(pa.table(dict(zip(saved.columns, values, strict=True))))
    return path


def run(command: list[Any], environment: dict[str, str], folder: Path) -> Took:
    """A command on one core, to its end."""
    pinned = ["taskset", "--cpu-list", str(CLIENTS_CORE), *map(str, command)]
    started = time.perf_counter()
    with (folder / "told.log").open("wb") as told:
        process = subprocess.Popen(pinned, env=environment, cwd=folder, stdout=told, stderr=told)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} failed: {(folder / 'told.log').read_text()[-2000:]}")
    return Took(seconds, usage.ru_maxrss / 1024)


def require_same(answers: Path, bare: Path) -> None:
    """See that the first file of a folder of answers holds what the bare loop found."""
    ours = pq.read_table(answers / "part-000000.parquet")["prediction"]
    expected = next(pq.ParquetFile(bare).iter_batches(len(ours)))["prediction"].to_numpy()
    if not np.allclose([value[1] for value in ours.to_pylist()], expected, rtol=1e-12):
        raise RuntimeError("the answers are not those of the model")


def measure(
    options: argparse.Namespace, saved: Saved, folder: Path, environment: dict[str, str], console: Console
) -> dict[str, list[tuple[Took, Took]]]:
    """Every contender in turn, over one row and over all, as often as there are rounds."""
    sizes = {"parquet": options.rows, "csv": options.csv_rows}
    files = {kind: [write_rows(folder, saved, kind, count) for count in (1, n)] for kind, n in sizes.items()}
    figures: dict[str, list[tuple[Took, Took]]] = {}
    for number in range(options.rounds):
        outputs = {}
        for name, (kind, command) in commands(options.peers, saved).items():
            took = []
            for size, rows in enumerate(files[kind]):
                outputs[name] = folder / f"{name.replace(' ', '-')}-{number}-{size}"
                took.append(run(command(rows, outputs[name]), environment, folder))
            figures.setdefault(name, []).append((took[0], took[1]))
            console.print(f"round {number + 1}: {name}: {took[1].seconds:.1f} s", style="dim")
        require_same(outputs["headrace score"], outputs["bare loop"])
    return figures


def show(figures: dict[str, list[tuple[Took, Took]]], options: argparse.Namespace, console: Console) -> None:
    """Medians of the rounds."""
    sizes = {name: options.csv_rows if "CSV" in name else options.rows for name in figures}
    rates = {
        name: statistics.median(sizes[name] / (every.seconds - one.seconds) for one, every in rounds)
        for name, rounds in figures.items()
    }
    table = Table(title=f"{options.rows:,} rows of ten numbers ({options.csv_rows:,} as CSV), one core")
    for heading in ("", "rows/s", "of the bare loop", "one row, s", "all rows, s", "peak, MB"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, rounds in figures.items():
        table.add_row(
            name,
            f"{rates[name]:,.0f}",
            f"{rates[name] / rates['bare loop']:.2f}",
            f"{statistics.median(one.seconds for one, _ in rounds):.1f}",
            f"{statistics.median(every.seconds for _, every in rounds):.1f}",
            f"{statistics.median(every.peak_mb for _, every in rounds):,.0f}",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--csv-rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as made:
        folder = Path(made)
        saved = save(options.peers, "linear", folder)
        with temporary_platform(folder / "home") as platform:
            register(platform.local, saved)
            environment = os.environ | {
                "HEADRACE_HOME": str(folder / "home"),
                "HEADRACE_URL": platform.url,
                "OMP_NUM_THREADS": "1",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "PATH": f"{options.peers.parent}:{os.environ['PATH']}",
            }
            show(measure(options, saved, folder, environment, console), options, console)


if __name__ == "__main__":
    main()
