"""`headrace up` as processes: one platform a home, ports that are free, children that come back or go away."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from headrace.errors import HomeLocked, PortInUse
from headrace.kernel.settings import Settings, inherited_environment, read_endpoint
from headrace.server.launch import Launched, launched
from headrace.server.processes import choose_port
from headrace.server.supervisor import Child, Supervisor, healthy

pytestmark = pytest.mark.loop


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("supervisor") / "home") as running:
        yield running


def up(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `headrace up` where it must refuse."""
    return subprocess.run(
        [sys.executable, "-m", "headrace", "up", *arguments], capture_output=True, text=True, timeout=60
    )


def test_a_second_platform_on_the_home_is_refused(platform: Launched) -> None:
    refused = up("--home", str(platform.home), "--port", "0", "--gateway-port", "0")
    assert refused.returncode == 1
    assert "another platform already runs on this home" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert healthy(platform.endpoint.url)
    assert read_endpoint(platform.home) == platform.endpoint

    supervisor = Supervisor(Settings(home=platform.home, port=0, gateway_port=0), inherited_environment())
    with pytest.raises(HomeLocked), supervisor.running():
        pass


def test_a_port_in_use_is_refused(platform: Launched, tmp_path: Path) -> None:
    busy = platform.endpoint.url.rpartition(":")[2]
    for arguments in (("--port", busy, "--gateway-port", "0"), ("--port", "0", "--gateway-port", busy)):
        refused = up("--home", str(tmp_path), *arguments)
        assert refused.returncode == 1
        assert f"port {busy}" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_port_is_chosen_without_sharing_it() -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortInUse):
            choose_port("127.0.0.1", port)
    assert choose_port("127.0.0.1", port) == port
    with pytest.raises(PortInUse):
        choose_port("127.0.0.1", port, taken=frozenset({port}))


def test_every_process_that_dies_is_started_again(platform: Launched) -> None:
    before = {name: process.pid for name, process in platform.processes().items()}
    assert set(before) == {"control", "gateway-1", "worker-1"}
    for name in before:
        platform.kill(name)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        after = {name: process.pid for name, process in platform.processes().items()}
        if set(after) == set(before) and not set(after.values()) & set(before.values()):
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"not all came back: {before} -> {after}")
    while not (healthy(platform.endpoint.url) and healthy(platform.endpoint.gateways[0])):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_no_process_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with launched(tmp_path / "home", keep=lambda: True) as running:
        children = list(running.processes().values())
        os.kill(running.supervisor.pid, signal.SIGKILL)
        running.supervisor.wait(10)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
    with launched(tmp_path / "home") as again:  # the lock went with its holder, the state is there
        assert healthy(again.endpoint.url)


def test_a_launched_platform_ends_with_who_launched_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from headrace.server.launch import launched\n"
        "with launched(Path(sys.argv[1])) as running:\n"
        "    print(running.supervisor.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "home")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        supervisor = psutil.Process(int(launcher.stdout.readline()))
        everybody = [supervisor, *supervisor.children()]
        launcher.kill()
        _, alive = psutil.wait_procs(everybody, timeout=20)
    assert not alive


def test_logs_and_database_are_the_owners_alone(platform: Launched) -> None:
    assert (platform.home / "headrace.db").stat().st_mode & 0o077 == 0
    assert (platform.home / "keys" / "audit.pem").stat().st_mode & 0o077 == 0
    for log in (platform.home / "logs").iterdir():
        text = log.read_text()
        for process in platform.processes().values():
            assert process.environ()["HEADRACE_SYSTEM_TOKEN"] not in text


def test_a_full_disk_does_not_end_the_supervisor(tmp_path: Path) -> None:
    """Whether it is the note of a restart that finds no room, or the log of the process that is to be started."""

    def note(_name: str) -> None:
        raise OSError("no space left on device")

    log = tmp_path / "logs" / "child.log"
    child = Child(name="child", command=[sys.executable, "-c", "pass"], log=log)
    supervisor = Supervisor(Settings(home=tmp_path), inherited_environment(), on_restart=note, children=[child])
    supervisor.look()
    (process,) = [each.process for each in supervisor.children]
    assert process is not None
    process.wait()
    log.unlink()
    log.mkdir()  # nothing can be appended to it
    child.pause_s = 0.0
    for _ in range(3):
        supervisor.look()
        child.start_again_at = 0.0
    assert (child.restarts, [each.process for each in supervisor.children]) == (1, [None])
    log.rmdir()
    supervisor.look()
    (process,) = [each.process for each in supervisor.children]
    assert process is not None
    process.wait()
