"""One-row predictions over HTTP: MLflow, LitServe, BentoML and Headrace, each with the same model, in turns.

    python benchmarks/serving.py --peers PYTHON [--models forest lightgbm] [--rounds 3] [--seconds 4]

PYTHON is the interpreter of an environment made of requirements/peers/serving.txt. MLflow's client saves each model
once; every server loads that directory, or what is in it. All processes of a server share one core, the client has
another, so a figure is what one core gives. Every server checks its input as its users would have it do; Headrace
writes its prediction log, too, and is measured without it beside. Answers are compared with the model's own first.
"""

import argparse
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from headrace.registry.nouns import ModelFile, RegisterVersion, Version
from headrace.sdk.platform import Platform
from headrace.server.load import Load
from headrace.serving.nouns import LoadedVersion
from headrace.testing.platform import temporary_platform

HERE = Path(__file__).parent
PEERS = HERE / "peers"
SERVERS_CORE, CLIENTS_CORE = 0, 1
CONNECTIONS = (1, 16, 64)
PATIENCE_S = 180.0
MODELS = ("forest", "lightgbm", "xgboost", "pyfunc")
SAME = 1e-5
"""How far an answer may be from the model's own: forms in single precision pass."""
WITHOUT_LOG = """from headrace.serving.gateway.prediction_log import PredictionLog
PredictionLog.append = lambda self, logged: None
"""


class Served(NamedTuple):
    """A server that is ready to be asked."""

    port: int
    path: str
    body: bytes
    answer: Callable[[Any], Any]
    """From the answer's JSON to the row's prediction."""


class Saved(NamedTuple):
    """A model as MLflow saved it, with a row and what the model answers to it."""

    name: str
    folder: Path
    columns: list[str]
    row: list[float]
    expected: Any


def save(peers: Path, name: str, folder: Path) -> Saved:
    """Have MLflow's client train and save a model."""
    told = subprocess.run(
        [peers, PEERS / "save_model.py", name, folder / name],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env=_environment(folder),
    ).stdout
    known = json.loads(told.splitlines()[-1])
    return Saved(name, folder / name, known["columns"], known["row"], np.array(known["expected"]))


def _environment(folder: Path, **more: str) -> dict[str, str]:
    """One thread for each library, nobody told of it, and a home of its own."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {"PATH": os.environ["PATH"], "HOME": str(folder)} | quiet | threads | more


@contextmanager
def _process(command: list[Any], folder: Path, **more: str) -> Iterator[None]:
    """A peer's server on the servers' core, in a session of its own so that its children end with it."""
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(SERVERS_CORE), *map(str, command)],
            cwd=folder,
            env=_environment(folder, **more),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        time.sleep(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- the servers ------------------------------------------------------------------------------------------------


@contextmanager
def mlflow(peers: Path, saved: Saved, folder: Path) -> Iterator[Served]:
    """`mlflow models serve` with one worker."""
    port = _free_port()
    command = [peers.with_name("mlflow"), "models", "serve", "--model-uri", saved.folder, "--env-manager", "local"]
    path = f"{peers.parent}:{os.environ['PATH']}"
    with _process([*command, "--port", port, "--workers", 1], folder, PATH=path):
        yield Served(port, "/invocations", _frame(saved), lambda answer: answer["predictions"][0])


@contextmanager
def litserve(peers: Path, saved: Saved, folder: Path) -> Iterator[Served]:
    """LitServe with one worker, which batches up to 64 rows."""
    port = _free_port()
    with _process([peers, PEERS / "litserve_server.py", saved.folder, port], folder):
        body = json.dumps({"row": saved.row}).encode()
        yield Served(port, "/predict", body, lambda answer: answer["prediction"])


@contextmanager
def bentoml(peers: Path, saved: Saved, folder: Path) -> Iterator[Served]:
    """BentoML with one worker, which batches up to 64 rows."""
    port = _free_port()
    command = [peers, "-m", "bentoml", "serve", "bentoml_service:Model", "--port", port, "--host", "127.0.0.1"]
    with _process([*command, "--working-dir", PEERS], folder, MODEL_FOLDER=str(saved.folder)):
        body = json.dumps({"rows": [saved.row]}).encode()
        yield Served(port, "/predict", body, lambda answer: answer[0])


def headrace(*, optimize: bool = True, log: bool = True) -> Callable[..., AbstractContextManager[Served]]:
    """A whole platform with one gateway, the version registered and in production."""

    @contextmanager
    def served(_peers: Path, saved: Saved, folder: Path) -> Iterator[Served]:
        everywhere = os.sched_getaffinity(0)
        home = Path(tempfile.mkdtemp(prefix="home-", dir=folder))
        environment = {"HEADRACE_OPTIMIZE": str(int(optimize)), "OMP_NUM_THREADS": "1"}
        if not log:
            (home / "sitecustomize.py").write_text(WITHOUT_LOG)
            environment["PYTHONPATH"] = str(home)
        os.sched_setaffinity(0, {SERVERS_CORE})
        try:
            with temporary_platform(home / "platform", environment) as platform:
                os.sched_setaffinity(0, {CLIENTS_CORE})
                put_into_production(platform.local, saved, faster=optimize)
                port = int(platform.gateway_url.rpartition(":")[2])
                path = f"/models/{saved.name}/invocations"
                yield Served(port, path, _frame(saved), lambda answer: answer["predictions"][0])
        finally:
            os.sched_setaffinity(0, everywhere)

    return served


def register(local: Platform, saved: Saved) -> None:
    """Register a saved model as version 1."""
    files = []
    for path in sorted(file for file in saved.folder.rglob("*") if file.is_file()):
        content = path.read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        local.transport.upload(f"/api/v1/blobs/{digest}", content, returns=dict)
        kept = path.relative_to(saved.folder).as_posix()
        files.append(ModelFile(path=kept, digest=digest, size_bytes=len(content)))
    asked = RegisterVersion(model=saved.name, source=f"file://{saved.name}", files=tuple(files))
    local.transport.call("POST", f"/api/v1/models/{saved.name}/versions", asked, returns=Version)


def put_into_production(local: Platform, saved: Saved, *, faster: bool) -> None:
    """Register a saved model, release it, and wait until it is served as it will be."""
    register(local, saved)
    if saved.name == "pyfunc":
        local.loading.allow(saved.name, 1, code=True, reason="the benchmark's own")
    local.open_release(saved.name, 1)

    def held() -> LoadedVersion | None:
        return next((each for gateway in local.gateways() for each in gateway.loaded), None)

    def ready(version: LoadedVersion | None) -> bool:
        if version is None or version.error:
            return False
        prepared = local.loading.of(saved.name, 1).preparation
        if not faster:
            return True
        if prepared is None or prepared.prepared is None or prepared.prepared.report is None:
            return False
        return version.runtime == "onnx" or prepared.prepared.converted is None

    local.wait_for(held, ready, "it to be served", timeout_s=PATIENCE_S)


def _frame(saved: Saved) -> bytes:
    return json.dumps({"dataframe_split": {"columns": saved.columns, "data": [saved.row]}}).encode()


SERVERS: dict[str, Callable[..., AbstractContextManager[Served]]] = {
    "MLflow": mlflow,
    "LitServe": litserve,
    "BentoML": bentoml,
    "Headrace, as registered": headrace(optimize=False),
    "Headrace": headrace(),
    "Headrace, without its log": headrace(log=False),
}


# -- measuring --------------------------------------------------------------------------------------------------


def check(served: Served, saved: Saved) -> None:
    """Wait for the server, and see that it answers what the model does."""
    give_up = time.monotonic() + PATIENCE_S
    url = f"http://127.0.0.1:{served.port}{served.path}"
    while True:
        try:
            answer = httpx.post(url, content=served.body, headers={"Content-Type": "application/json"}, timeout=30)
            if answer.status_code == httpx.codes.OK:
                break
            problem = f"{answer.status_code} {answer.text[:500]}"
        except httpx.TransportError as error:
            problem = str(error)
        if time.monotonic() > give_up:
            raise RuntimeError(f"{url} does not answer: {problem}")
        time.sleep(0.5)
    found = np.array(served.answer(answer.json()), dtype=float)
    if not np.allclose(found, saved.expected, atol=SAME):
        raise RuntimeError(f"{url} answers {found.tolist()} where the model answers {saved.expected.tolist()}")


def ask(served: Served, connections: int, seconds: float) -> Load:
    """The load, from a process on the client's core."""
    command = [
        "taskset",
        "--cpu-list",
        str(CLIENTS_CORE),
        sys.executable,
        HERE / "load.py",
        served.port,
        served.path,
    ]
    options = ["--connections", connections, "--seconds", seconds]
    done = subprocess.run(
        list(map(str, [*command, *options])), input=served.body, capture_output=True, check=True, cwd=HERE
    )
    return Load(**json.loads(done.stdout))


Figures = dict[tuple[str, int], list[Load]]


def measure(peers: Path, saved: Saved, folder: Path, options: argparse.Namespace, console: Console) -> Figures:
    """Every server in turn, as often as there are rounds."""
    figures: Figures = {(name, connections): [] for name in options.servers for connections in CONNECTIONS}
    for number in range(options.rounds):
        for name in options.servers:
            with SERVERS[name](peers, saved, folder) as served:
                check(served, saved)
                for connections in CONNECTIONS:
                    ask(served, connections, 1.0)
                    load = ask(served, connections, options.seconds)
                    figures[name, connections].append(load)
                    console.print(
                        f"{saved.name}, round {number + 1}: {name}, {connections} connections: "
                        f"{load.requests_per_s:,.0f} requests/s, {load.failed} failed",
                        style="dim",
                    )
    return figures


def show(name: str, figures: Figures, console: Console) -> None:
    """A table of one model: medians of the rounds."""
    table = Table(title=f"{name}: one-row requests to one core")
    for heading in ("server", "connections", "requests/s", "p50, ms", "p99, ms", "failed", "Headrace is"):
        table.add_column(heading, justify="left" if heading == "server" else "right")
    for (server, connections), loads in figures.items():
        rate = statistics.median(load.requests_per_s for load in loads)
        ours = figures.get(("Headrace", connections))
        ratio = statistics.median(load.requests_per_s for load in ours) / rate if ours else float("nan")
        table.add_row(
            server,
            str(connections),
            f"{rate:,.0f}",
            f"{statistics.median(load.p50_ms for load in loads):.2f}",
            f"{statistics.median(load.p99_ms for load in loads):.2f}",
            str(sum(load.failed for load in loads)),
            f"{ratio:.1f}x",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--servers", nargs="+", choices=list(SERVERS), default=list(SERVERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as made:
        folder = Path(made)
        for name in options.models:
            saved = save(options.peers, name, folder)
            show(name, measure(options.peers, saved, folder, options, console), console)


if __name__ == "__main__":
    main()
