"""A body that ends before its end leaves nothing behind, no file and no part of a batch; the server lives on."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.testing.platform import TemporaryPlatform, temporary_platform

from .wire import CONTROL_ALONE, PATIENCE_S, call, cut_off, new_run, run_of

pytestmark = pytest.mark.loop

CONTENT = b"abc" * 50_000  # more than one read of a socket
POINT = {"key": "m", "value": 1, "timestamp": 1}
PAIR = {"key": "k", "value": "v"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    with temporary_platform(tmp_path_factory.mktemp("bodies") / "home", CONTROL_ALONE) as running:
        yield running


def announced(body: bytes, missing: int = 10) -> bytes:
    """Fewer bytes than the header says."""
    return b"Content-Length: %d\r\n\r\n%b" % (len(body) + missing, body)


def chunked(body: bytes, ending: bytes = b"") -> bytes:
    """A chunk, and then not the one of no bytes that ends a body."""
    return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n%b" % (len(body), body, ending)


ENDS: dict[str, Callable[[bytes], bytes]] = {
    "fewer bytes than announced": announced,
    "no byte at all": lambda body: announced(b"", len(body)),
    "no last chunk": chunked,
    "half a chunk": lambda body: chunked(body, b"a\r\nabc"),
    "half a chunk's size": lambda body: chunked(body, b"a"),
    "no chunk's size": lambda body: chunked(body, b"oops\r\n"),
    "half a last chunk": lambda body: chunked(body, b"0\r\n"),
}


def batches(run_id: str) -> list[tuple[str, bytes]]:
    """Requests whose whole body would be taken."""
    mlflow = {"run_id": run_id, "metrics": [POINT], "params": [PAIR], "tags": [PAIR]}
    ours = {"metrics": [{"key": "m", "value": 1}], "params": {"k": "v"}, "tags": {"k": "v"}}
    return [
        ("POST /api/2.0/mlflow/runs/log-batch", json.dumps(mlflow).encode()),
        ("POST /api/2.0/mlflow/runs/log-metric", json.dumps({"run_id": run_id, **POINT}).encode()),
        (f"POST /api/v1/runs/{run_id}/batch", json.dumps(ours).encode()),
        (f"POST /api/v1/runs/{run_id}/finish", b"{}"),
        ("POST /api/2.0/mlflow/runs/delete", json.dumps({"run_id": run_id}).encode()),
    ]


def files(run_id: str) -> list[str]:
    return [
        f"PUT /api/v1/runs/{run_id}/artifacts/a",
        f"PUT /api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/b",
        f"POST /ajax-api/2.0/mlflow/upload-artifact?run_uuid={run_id}&path=c",
        "PUT /api/v1/blobs/sha256:" + "0" * 64,
    ]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("hangs_up", [True, False], ids=["closed", "half closed"])
def test_nothing_is_kept(platform: TemporaryPlatform, end: str, *, hangs_up: bool) -> None:
    url, home = platform.url, platform.launched.home
    run_id = new_run(url)
    before = run_of(url, run_id)
    control = platform.launched.processes()["control"].pid
    for request, body in batches(run_id):
        cut_off(url, request, b"Content-Type: application/json\r\n" + ENDS[end](body), hangs_up=hangs_up)
    for request in files(run_id):
        cut_off(url, request, ENDS[end](CONTENT), hangs_up=hangs_up)
    assert await_empty(home / "blobs" / "staging") == []
    assert run_of(url, run_id) == before
    assert call(url, "GET", f"/api/v1/runs/{run_id}/artifacts").json == []
    assert not [path for path in (home / "blobs" / "sha256").rglob("*") if path.is_file()]
    for request, body in batches(run_id):  # the same, whole: it is not the requests that are bad
        method, path = request.split()
        assert call(url, method, path, json.loads(body)).status == 200
    assert platform.launched.processes()["control"].pid == control
    assert "request failed" not in (home / "logs" / "control.log").read_text()  # it is no defect of ours


def await_empty(folder: Path) -> list[Path]:
    """What is left in a folder once the server has noticed that nobody is there any more."""
    deadline = time.monotonic() + PATIENCE_S
    while (left := list(folder.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
