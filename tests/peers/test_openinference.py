"""The real clients of the Open Inference Protocol, Triton's and KServe's, ask a gateway as they do by default."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.serving import models
from tests.serving.conftest import route
from tests.serving.gateway.test_process import MAY, StandInControl, eventually, free_port

from headrace.kernel.blobs import open_blob_store
from headrace.serving.nouns import BusinessTime, Snapshot

from .conftest import peer_python

CLIENTS = Path(__file__).with_name("openinference_clients.py")
ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
GATEWAY = """
import sys
from pathlib import Path
from headrace.kernel.settings import Settings
from headrace.server.gateway import run
home, url, port = sys.argv[1:]
run(Settings(home=Path(home), url=url), "gateway-1", int(port))
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Where a gateway serves version 1 of `churn`."""
    home = tmp_path / "home"
    directory = models.write_model(tmp_path / "model", models.binary_model())
    version = models.store_version(open_blob_store(home), directory, 1, views=())
    served = route(version, champion=1)
    control = StandInControl(Snapshot(sequence=1, routes=(served,), time=BusinessTime(now=MAY, replayed=True)))
    control.start()
    listening = free_port()
    process = subprocess.Popen([sys.executable, "-c", GATEWAY, str(home), control.url, str(listening)])

    def healthy() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{listening}/health").status_code == 200
        except httpx.TransportError:
            return False

    eventually(healthy)
    yield listening
    os.kill(process.pid, signal.SIGTERM)
    process.wait(20)
    control.stop()


@pytest.mark.loop
def test_the_real_clients_are_at_home(port: int, tmp_path: Path) -> None:
    finished = subprocess.run(
        [str(peer_python("openinference")), str(CLIENTS), str(port)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert finished.returncode == 0, finished.stderr[-4_000:]
    found = json.loads(finished.stdout.splitlines()[-1])
    expected = pytest.approx(models.binary_model().predict_proba(ROWS)[:, 1].tolist())
    triton, kserve = found["triton"], found["kserve"]
    assert triton["bytes"] == triton["json"] == triton["columns"] == triton["asynchronous"] == expected
    assert kserve["json"] == kserve["bytes"] == expected
    assert (triton["live"], triton["ready"], triton["model_ready"], triton["version_ready"]) == (True,) * 4
    assert (kserve["live"], kserve["ready"], kserve["model_ready"]) == (True,) * 3
    assert triton["other_ready"] is False
    assert (triton["server"], triton["id"], triton["inputs"]) == ("headrace", "call-7", list(models.NAMES))
    assert triton["index"] == [{"name": "churn", "version": "1", "state": "READY", "reason": ""}]
    status, message = triton["refused"]
    assert status == "400"
    assert "spend" in message
    assert "registry" in triton["unload"]
    assert triton["counted"] == 12
