"""`headrace up`: starts control, gateways and workers on one home, and starts again what dies."""

import contextlib
import http.client
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import msgspec

from headrace.errors import StartError
from headrace.kernel.settings import ENDPOINT_FILE, Endpoint, Settings, http_address
from headrace.server.home import hold_home
from headrace.server.processes import choose_port, spawn, stop

START_PATIENCE_S = 60.0
STOP_PATIENCE_S = 10.0
SETTLED_AFTER_S = 5.0
LONGEST_PAUSE_S = 5.0
LOOK_EVERY_S = 0.05
FIX_INDENT = "  "
"""How the second line of one of our errors begins: what to do about it."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Numerical libraries spin on every core by default; processes that share cores then wait for one another."""


@dataclass
class Child:
    """One supervised process and how often it had to be started."""

    name: str
    command: list[str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    pause_s: float = 0.0
    start_again_at: float = 0.0
    restarts: int = 0


@dataclass
class Supervisor:
    """Holds a home and keeps its processes running.

    Args:
        settings: as given by the operator; ports may be 0.
        environment: what the children inherit.
        on_restart: told the name of each process that had to be started again.
    """

    settings: Settings
    environment: Mapping[str, str]
    on_restart: Callable[[str], None] = lambda _name: None
    children: list[Child] = field(default_factory=list)
    stopping: bool = False

    @contextlib.contextmanager
    def running(self) -> Iterator[Endpoint]:
        """Hold the home's lock, start every process, and stop them at the end.

        Raises:
            HomeLocked: another platform runs on this home.
            PortInUse: a port is taken.
            StartError: a process did not come up; names its log.
        """
        home = self.settings.home.resolve()
        with hold_home(home):
            endpoint = self._place(home)
            try:
                self._start(endpoint)
                _write_endpoint(home, endpoint)
                yield endpoint
            finally:
                (home / ENDPOINT_FILE).unlink(missing_ok=True)
                for child in reversed(self.children):
                    if child.process is not None:
                        stop(child.process, STOP_PATIENCE_S)

    def watch(self) -> None:
        """Start again what dies, until SIGINT or SIGTERM."""

        def end(_signal: int, _frame: FrameType | None) -> None:
            self.stopping = True

        former = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not self.stopping:
                self.look()
                time.sleep(LOOK_EVERY_S)
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def look(self) -> None:
        """Start again every process that is not running, with a pause that grows while it keeps dying."""
        now = time.monotonic()
        for child in self.children:
            if child.process is not None and child.process.poll() is None:
                continue
            if child.process is not None:  # just seen dead
                lived_s = now - child.started_at
                child.pause_s = (
                    0.0 if lived_s > SETTLED_AFTER_S else min(max(child.pause_s * 2, 0.1), LONGEST_PAUSE_S)
                )
                child.start_again_at = now + child.pause_s
                child.process = None
                child.restarts += 1
                with contextlib.suppress(OSError):  # whoever is told may have no room to note it
                    self.on_restart(child.name)
            if now >= child.start_again_at:
                try:
                    self._spawn(child)
                except OSError:  # no room for its log, or for one more process: perhaps later
                    child.start_again_at = now + LONGEST_PAUSE_S

    def _place(self, home: Path) -> Endpoint:
        settings = self.settings
        port = choose_port(settings.host, settings.port)
        taken = {port}
        for index in range(settings.gateways):
            wanted = settings.gateway_port + index if settings.gateway_port else 0
            taken.add(gateway_port := choose_port(settings.host, wanted, taken=frozenset(taken)))
            self._add(home, f"gateway-{index + 1}", gateway_port)
        self.children.insert(0, self._child(home, "control", port))
        for index in range(settings.workers):
            self._add(home, f"worker-{index + 1}", 0)
        gateways = [
            http_address(settings.host, int(child.command[-1]))
            for child in self.children[1 : settings.gateways + 1]
        ]
        return Endpoint(url=http_address(settings.host, port), gateways=gateways, pid=os.getpid())

    def _add(self, home: Path, name: str, port: int) -> None:
        self.children.append(self._child(home, name, port))

    def _child(self, home: Path, name: str, port: int) -> Child:
        # -P: what lies in the folder of whoever starts this must not hide installed modules
        command = [sys.executable, "-P", "-m", "headrace.server.process", name, str(port)]
        return Child(name=name, command=command, log=home / "logs" / f"{name}.log")

    def _start(self, endpoint: Endpoint) -> None:
        token = secrets.token_hex(32)
        self.environment = {
            **ONE_THREAD,
            **self.environment,
            "HEADRACE_HOME": str(self.settings.home.resolve()),
            "HEADRACE_HOST": self.settings.host,
            "HEADRACE_URL": endpoint.url,
            "HEADRACE_ARTIFACT_ROOT": self.settings.artifact_root,
            "HEADRACE_SYSTEM_TOKEN": token,
            "HEADRACE_TOKEN": token,
        }
        control, *others = self.children
        self._spawn(control)
        _await_health(control, endpoint.url)
        for child in others:
            self._spawn(child)
        for child, url in zip(others, endpoint.gateways, strict=False):
            _await_health(child, url)

    def _spawn(self, child: Child) -> None:
        child.process = spawn(child.command, environment=self.environment, log=child.log)
        child.started_at = time.monotonic()


def _await_health(child: Child, url: str) -> None:
    """Wait until a process answers on /health."""
    deadline = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < deadline:
        if child.process is not None and child.process.poll() is not None:
            break
        if healthy(url):
            return
        time.sleep(LOOK_EVERY_S)
    lines = child.log.read_text(errors="replace").rstrip().splitlines()
    story = "The whole story is in that log."
    fix = lines.pop().strip() if len(lines) > 1 and lines[-1].startswith(FIX_INDENT) else story
    raise StartError(
        f"{child.name} did not start: {lines[-1] if lines else 'it wrote nothing'}", where=str(child.log), fix=fix
    )


def healthy(url: str) -> bool:
    """Whether the process at `url` answers 200 on /health."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _write_endpoint(home: Path, endpoint: Endpoint) -> None:
    temporary = home / f"{ENDPOINT_FILE}.new"
    temporary.write_bytes(msgspec.json.encode(endpoint))
    temporary.replace(home / ENDPOINT_FILE)
