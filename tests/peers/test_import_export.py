"""Histories that a real MLflow made, in each form in which it keeps them: imported, repeated, cut off, exported."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import sqlalchemy as sa

from headrace.kernel.postgresql import sqlalchemy_url
from headrace.testing.platform import TemporaryPlatform, temporary_platform
from headrace.tracking.nouns import Entry

from .conftest import peer_python

SCRIPT = Path(__file__).with_name("mlflow_history.py")
FORMS = ("oldest", "folder", "sqlite", "server", "postgresql")
BIG_RUNS = 6
BIG_POINTS = 10_000
INFINITY = "1.7976931348623157e+308"  # what MLflow's databases keep for it

pytestmark = pytest.mark.loop


class Form(NamedTuple):
    """One form of a history: which MLflow makes it, with which address, and what an import is given."""

    python: Path
    tracking_uri: str
    source: str


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        **more,
    }


def history(python: Path, folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [str(python), str(SCRIPT), *arguments]
    with (folder / f"{arguments[-1].replace(',', '-')}.log").open("ab") as log:
        return subprocess.Popen(
            command, env=environment(folder), cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
        )


def told(process: "subprocess.Popen[str]") -> dict[str, Any]:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, process.args
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def headrace(platform: TemporaryPlatform, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments],
        env={**os.environ, "HEADRACE_URL": platform.url, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("histories")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    """A platform on which nothing has happened."""
    with temporary_platform(tmp_path_factory.mktemp("ours") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def server(mlflow_python: Path, folder: Path) -> Iterator[str]:
    """The address of a real MLflow server, perhaps still starting."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [mlflow_python.with_name("mlflow"), "server", "--backend-store-uri", "sqlite:///server.db"]
    command += ["--port", port, "--workers", 1]
    with (folder / "server.log").open("wb") as log:
        running = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env=environment(folder), stdout=log, stderr=log
        )
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()
            running.wait(timeout=30)


@pytest.fixture(scope="module")
def postgresql(postgresql_server: str) -> str:
    """The address of an empty PostgreSQL database."""
    address = sqlalchemy_url(postgresql_server)
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE mlflow")
    return address.set(database="mlflow", drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def forms(mlflow_python: Path, folder: Path, server: str, postgresql: str) -> dict[str, Form]:
    return {
        "oldest": Form(peer_python("mlflow-2.9"), str(folder / "oldest"), str(folder / "oldest")),
        "folder": Form(mlflow_python, str(folder / "folder"), str(folder / "folder")),
        "sqlite": Form(mlflow_python, f"sqlite:///{folder / 'mlflow.db'}", str(folder / "mlflow.db")),
        "postgresql": Form(mlflow_python, postgresql.replace("://", "+psycopg2://", 1), postgresql),
        "server": Form(mlflow_python, server, server),
    }


@pytest.fixture(scope="module")
def histories(forms: dict[str, Form], folder: Path) -> dict[str, Any]:
    """What each MLflow says of the history that it has made, by form."""
    seeding = {
        name: history(form.python, folder, "seed", form.tracking_uri, name)
        for name, form in forms.items()
        if name != "server"
    }
    found = {name: told(process)[name] for name, process in seeding.items()}
    for _ in range(240):
        try:
            if httpx.get(f"{forms['server'].source}/health").is_success:
                break
        except httpx.TransportError:
            time.sleep(0.25)
    return {**found, **told(history(forms["server"].python, folder, "seed", forms["server"].source, "server"))}


@pytest.fixture(scope="module")
def imports(
    ours: TemporaryPlatform, forms: dict[str, Form], histories: dict[str, Any]
) -> dict[str, "subprocess.CompletedProcess[str]"]:
    """What each import said, by form."""
    assert histories
    return {name: headrace(ours, "import", "mlflow", form.source) for name, form in forms.items()}


@pytest.fixture(scope="module")
def here(ours: TemporaryPlatform, imports: dict[str, Any], mlflow_python: Path, folder: Path) -> dict[str, Any]:
    """What the newest client reads of the imported histories, by form."""
    assert imports
    return told(history(mlflow_python, folder, "read", ours.url, ",".join(FORMS)))


@pytest.mark.parametrize("form", FORMS)
def test_everything_is_carried(
    form: str, imports: dict[str, Any], histories: dict[str, Any], here: dict[str, Any]
) -> None:
    done = imports[form]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "differs" not in done.stdout
    assert here[form] == histories[form]
    assert len(here[form]["runs"]) == 5
    losses = [run["metrics"]["val/loss"] for run in here[form]["runs"].values() if "val/loss" in run["metrics"]]
    infinity = INFINITY if form in {"sqlite", "postgresql", "server"} else "inf"
    assert [value for *_, value in losses[0]] == ["1.0", "nan", infinity, f"-{infinity}", "1e-310", "-0.5"]


def test_the_oldest_client_reads_it_too(
    ours: TemporaryPlatform,
    imports: dict[str, Any],
    histories: dict[str, Any],
    forms: dict[str, Form],
    folder: Path,
) -> None:
    assert imports
    assert (
        told(history(forms["oldest"].python, folder, "read", ours.url, "oldest"))["oldest"] == histories["oldest"]
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_second_import_changes_nothing(
    form: str, ours: TemporaryPlatform, imports: dict[str, Any], forms: dict[str, Form]
) -> None:
    before = ours.local.events(limit=1)
    again = headrace(ours, "import", "mlflow", forms[form].source)
    assert (again.returncode, again.stdout) == (0, imports[form].stdout), again.stderr
    assert ours.local.events(limit=1) == before


def test_an_export_is_read_by_both(
    ours: TemporaryPlatform, here: dict[str, Any], forms: dict[str, Form], folder: Path
) -> None:
    target = folder / "given back"
    done = headrace(ours, "export", "mlflow", str(target))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "differs" not in done.stdout
    newest = history(forms["folder"].python, folder, "read", target.as_uri(), ",".join(FORMS))
    oldest = told(history(forms["oldest"].python, folder, "read", target.as_uri(), "oldest,sqlite"))
    found = told(newest)
    assert found == here
    assert oldest["oldest"] == here["oldest"]
    kept: dict[str, Any] = {"outputs": []}  # MLflow 2 has no logged models
    assert oldest["sqlite"]["runs"] == {name: {**run, **kept} for name, run in here["sqlite"]["runs"].items()}
    refused = headrace(ours, "export", "mlflow", str(target))
    assert refused.returncode == 1
    assert "not empty" in refused.stderr


def test_one_experiment_is_exported_with_its_models(
    ours: TemporaryPlatform, here: dict[str, Any], forms: dict[str, Form], folder: Path
) -> None:
    target = folder / "one"
    done = headrace(ours, "export", "mlflow", str(target), "--experiment", "folder/churn")
    assert done.returncode == 0, done.stdout + done.stderr
    found = told(history(forms["folder"].python, folder, "read", target.as_uri(), ",".join(FORMS)))
    assert [len(found[form]["experiments"]) for form in FORMS] == [0, 1, 0, 0, 0]
    assert found["folder"]["models"] == here["folder"]["models"]
    assert found["oldest"]["models"] == {}


@pytest.fixture(scope="module")
def referring(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, histories: dict[str, Any]
) -> Iterator[TemporaryPlatform]:
    """A platform that may read the files where MLflow wrote them."""
    assert histories
    home = tmp_path_factory.mktemp("referring") / "home"
    with temporary_platform(home, {"HEADRACE_ARTIFACT_ROOTS": str(folder)}) as running:
        yield running


@pytest.mark.parametrize("form", ["oldest", "folder", "sqlite"])
def test_files_may_stay_where_they_are(
    form: str,
    referring: TemporaryPlatform,
    histories: dict[str, Any],
    forms: dict[str, Form],
    folder: Path,
    tmp_path: Path,
) -> None:
    done = headrace(referring, "import", "mlflow", forms[form].source, "--artifacts", "reference")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "differs" not in done.stdout
    newest = forms["folder"].python
    assert told(history(newest, folder, "read", referring.url, form))[form] == histories[form]
    for run_id, files in listed(referring).items():
        assert [file.size_bytes for file in files] != []
        fetched = referring.local.runs.download(run_id, files[0].path, tmp_path / run_id)
        assert fetched.stat().st_size == files[0].size_bytes
    exported = tmp_path / "given back"
    done = headrace(referring, "export", "mlflow", str(exported))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "differs" not in done.stdout
    assert told(history(newest, folder, "read", exported.as_uri(), form))[form] == histories[form]


def listed(platform: TemporaryPlatform) -> dict[str, list[Entry]]:
    """The logged files of each run that has some."""
    found = {}
    for run in platform.local.runs.search():
        path = f"/api/v1/runs/{run.id}/artifacts"
        entries = platform.local.transport.call("GET", path, query={"folder": "files"}, returns=list[Entry])
        assert run.artifact_uri or not entries
        if files := [entry for entry in entries if not entry.is_folder]:
            found[run.id] = files
    assert found
    return found


@pytest.fixture
def big(histories: dict[str, Any], folder: Path) -> Path:
    """A database of MLflow's, with runs whose import takes a while."""
    assert histories
    path = folder / "big.db"
    with sqlite3.connect(folder / "mlflow.db") as made, sqlite3.connect(path) as database:
        made.backup(database)
        for table in (
            "model_versions",
            "registered_models",
            "logged_models",
            "inputs",
            "runs",
            "metrics",
            "params",
        ):
            database.execute(f"DELETE FROM {table}")
        database.execute("DELETE FROM experiments WHERE experiment_id > 1")
        database.execute("UPDATE experiments SET name = 'big' WHERE experiment_id = 1")
        for number in range(BIG_RUNS):
            run_id = f"{number:032x}"
            row = (
                run_id,
                f"run {number}",
                "ana",
                "FINISHED",
                1_700_000_000_000,
                1_700_000_000_001,
                "active",
                "",
                1,
            )
            database.execute(
                "INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage,"
                " artifact_uri, experiment_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            database.executemany(
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('m', ?, ?, ?, ?, 0)",
                ((step / 7, 1_700_000_000_000 + step, run_id, step) for step in range(BIG_POINTS)),
            )
    return path


def points_here(platform: TemporaryPlatform) -> int:
    look = {"runs": [f"{number:032x}" for number in range(BIG_RUNS)]}
    found = httpx.post(f"{platform.url}/api/v1/import/look", json=look).raise_for_status().json()
    return sum(run["points"] for run in found["runs"].values())


def test_an_import_that_is_killed_goes_on(big: Path, ours: TemporaryPlatform) -> None:
    counted = headrace(ours, "import", "mlflow", str(big), "--dry-run")
    assert counted.returncode == 0, counted.stderr
    assert f"{BIG_RUNS * BIG_POINTS:,}" in counted.stdout
    assert points_here(ours) == 0  # it was only counted

    command = [sys.executable, "-m", "headrace", "import", "mlflow", str(big)]
    with subprocess.Popen(
        command, env={**os.environ, "HEADRACE_URL": ours.url}, stderr=subprocess.DEVNULL
    ) as first:
        while not points_here(ours):
            assert first.poll() is None
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
    assert 0 < points_here(ours) < BIG_RUNS * BIG_POINTS

    done = headrace(ours, "import", "mlflow", str(big))
    assert done.returncode == 0, done.stdout + done.stderr
    assert points_here(ours) == BIG_RUNS * BIG_POINTS
    run = httpx.get(f"{ours.url}/api/v1/runs/{BIG_RUNS - 1:032x}").raise_for_status().json()
    assert (run["status"], run["metrics"]["m"]["step"]) == ("FINISHED", BIG_POINTS - 1)
