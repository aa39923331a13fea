"""Batch scoring on Ray, with a real cluster of two cores; asked for with RAY_PYTHON, since Ray is large."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.serving import models

import headrace
from headrace.errors import InvalidInput, MissingExtra
from headrace.kernel.lake import open_lake
from headrace.registry.nouns import ModelFile, RegisterVersion, Version
from headrace.sdk.platform import Platform
from headrace.sdk.scoring import score
from headrace.testing.platform import temporary_platform

PYTHON = os.environ.get("RAY_PYTHON", "")
needs_ray = pytest.mark.skipif(not PYTHON, reason="RAY_PYTHON names no Python that has Ray and Headrace's packages")

RUN = """
import os, signal, sys
import psutil, ray
from headrace.sdk.scoring import score
moment, model, rows, out = int(sys.argv[1]), *sys.argv[2:]
ray.init(address="local", num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
killed = []
def told(done, rejected, every):
    if moment and done >= moment and not killed:
        below = psutil.Process().children(recursive=True)
        workers = [process for process in below if "ray::Worker" in " ".join(process.cmdline())]
        killed.append(workers[0].pid)
        workers[0].send_signal(signal.SIGKILL)
done = score(model, rows, out, part_rows=300, on="ray", told=told)
assert bool(killed) == bool(moment)
print("scored", done.rows, done.rejected, done.parts, done.complete)
"""


def on_ray(home: Path, *arguments: object) -> str:
    environment = os.environ | {"PYTHONPATH": str(Path(headrace.__file__).parents[1]), "HEADRACE_HOME": str(home)}
    command = [PYTHON, "-c", RUN, *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return next(line for line in ended.stdout.splitlines() if line.startswith("scored "))


def write_rows(path: Path, count: int) -> Path:
    features = models.features(count)
    pq.write_table(pa.table(dict(zip(models.NAMES, features.T, strict=True))), path)
    return path


def register(platform: Platform, name: str, folder: Path) -> None:
    """Send a directory's files and register them as a version."""
    files = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        platform.transport.upload(f"/api/v1/blobs/{digest}", content, returns=dict)
        files.append(ModelFile(path=path.name, digest=digest, size_bytes=len(content)))
    request = RegisterVersion(model=name, files=tuple(files), source=f"file://{folder.name}")
    platform.transport.call("POST", f"/api/v1/models/{name}/versions", request, returns=Version)


def answers(out: Path) -> list[float]:
    """In the order of the rows; a row that is twice, or not at all, is seen."""
    table = pq.read_table(out).sort_by("row")
    assert table["row"].to_pylist() == list(range(table.num_rows))
    found: list[float] = table["prediction"].to_pylist()
    return found


@needs_ray
def test_the_same_answers_come_back_once_though_a_worker_is_killed(tmp_path: Path) -> None:
    model = models.write_model(tmp_path / "model", models.forest())
    rows = write_rows(tmp_path / "rows.parquet", 12_100)
    assert on_ray(tmp_path / "home", 1_500, model, rows, tmp_path / "out") == "scored 12100 0 41 True"
    expected = models.forest().predict_proba(models.features(12_100))[:, 1]
    assert answers(tmp_path / "out") == expected.tolist()


DIES = """
import os, signal, sys
from headrace.sdk.scoring import score
def told(done, rejected, every):
    if done >= 900:
        os.kill(os.getpid(), signal.SIGKILL)
score(*sys.argv[1:], part_rows=300, told=told)
"""


@needs_ray
def test_a_run_that_was_begun_here_goes_on_on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    model = models.write_model(tmp_path / "model", models.binary_model())
    arguments = [str(model), str(write_rows(tmp_path / "rows.parquet", 2_000)), str(tmp_path / "out")]
    killed = subprocess.run([sys.executable, "-c", DIES, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert before
    assert on_ray(tmp_path / "home", 0, *arguments) == "scored 2000 0 7 True"
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in before} == before
    assert len(answers(tmp_path / "out")) == 2_000


@needs_ray
def test_workers_fetch_a_registered_version_and_its_answers_are_logged(tmp_path: Path) -> None:
    directory = models.write_model(tmp_path / "model", models.binary_model())
    rows = write_rows(tmp_path / "rows.parquet", 1_000)
    with temporary_platform(tmp_path / "home") as platform:
        register(platform.local, "churn", directory)
        assert on_ray(tmp_path / "home", 0, "models:/churn/1", rows, tmp_path / "out") == "scored 1000 0 4 True"
    lake = open_lake(tmp_path / "home")
    logged = lake.read(lake.snapshot("predictions/churn"))
    assert len(set(logged["prediction_id"].to_pylist())) == logged.num_rows == 1_000
    assert sorted(logged["output"].to_pylist()) == sorted(answers(tmp_path / "out"))


def test_what_is_missing_or_no_cluster_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    model = str(models.write_model(tmp_path / "model", models.binary_model()))
    rows = write_rows(tmp_path / "rows.parquet", 10)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'headrace\[ray\]'"):
        score(model, rows, tmp_path / "out", on="ray")
    with pytest.raises(InvalidInput, match="ray://HOST:PORT"):
        score(model, rows, tmp_path / "out", on="dask")
