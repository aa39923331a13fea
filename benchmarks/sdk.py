"""Logging from Python beside MLflow's client: what a training pays for a call, and when everything has arrived.

    python benchmarks/sdk.py --mlflow .peers/mlflow-…/bin/python [--calls 2000] [--rounds 3]

Each client logs to a server of its own kind on this machine, from a process of its own: a loop of calls with two
metrics each, as a training would make them. MLflow's client is measured as it comes and with asynchronous logging.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table
from servers import mlflow_server

from headrace.testing.platform import temporary_platform

LOOP = """
calls = int(sys.argv[2])
taken = []
for step in range(calls):
    before = time.perf_counter()
    log({"loss": 1 / (step + 1), "auc": step / calls}, step)
    taken.append(time.perf_counter() - before)
looped = time.perf_counter()
end()
done = time.perf_counter()
taken.sort()
print(json.dumps({
    "import ms": (imported - started) * 1e3, "begin ms": (begun - imported) * 1e3,
    "call, median µs": taken[calls // 2] * 1e6, "call, 99th of 100 µs": taken[calls * 99 // 100] * 1e6,
    "all arrived ms": (done - begun) * 1e3,
}))
"""
MLFLOW = """
import json, sys, time
started = time.perf_counter()
import mlflow
imported = time.perf_counter()
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("benchmark")
mlflow.start_run()
begun = time.perf_counter()
waiting = []
def log(values, step):
    answer = mlflow.log_metrics(values, step=step, synchronous=SYNCHRONOUS)
    if answer is not None:
        waiting.append(answer)
def end():
    for one in waiting:
        one.wait()
    mlflow.end_run()
"""
HEADRACE = """
import json, sys, time
started = time.perf_counter()
import headrace as hr
run = hr.run
imported = time.perf_counter()
active = run("benchmark", url=sys.argv[1], quiet=True, capture=False, system_metrics_every_s=None)
begun = time.perf_counter()
log, end = active.log_metrics, active.end
"""


def measure(python: Path, program: str, url: str, calls: int, folder: Path) -> dict[str, float]:
    """One process that logs, in its own words."""
    command = [str(python), "-c", program + LOOP, url, str(calls)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlflow", type=Path, required=True, help="the Python of an environment that has MLflow")
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    console = Console(width=110)
    theirs, ours = options.mlflow.absolute(), Path(sys.executable)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        port, _ = stack.enter_context(mlflow_server(theirs, "sqlite:///mlflow.db", folder))
        mlflow_url = f"http://127.0.0.1:{port}"
        our_url = stack.enter_context(temporary_platform(folder / "home")).url
        contenders = {
            "MLflow": (theirs, MLFLOW.replace("SYNCHRONOUS", "True"), mlflow_url),
            "MLflow, asynchronous": (theirs, MLFLOW.replace("SYNCHRONOUS", "False"), mlflow_url),
            "Headrace": (ours, HEADRACE, our_url),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
        with console.status("measuring"):
            for _ in range(options.rounds):
                for name, (python, program, url) in contenders.items():
                    found[name].append(measure(python, program, url, options.calls, folder))
    table = Table("", *contenders, title=f"{options.calls:,} calls of two metrics; medians of {options.rounds}")
    for key in found["Headrace"][0]:
        medians = [statistics.median(one[key] for one in found[name]) for name in contenders]
        table.add_row(key, *(f"{value:,.1f}" for value in medians))
    console.print(table)


if __name__ == "__main__":
    main()
