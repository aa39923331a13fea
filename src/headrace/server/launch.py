"""A platform of one's own: `headrace up` in a process of its own, on free ports, for demonstrations and tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from headrace.errors import StartError
from headrace.kernel.lifelines import die_with_parent
from headrace.kernel.settings import Endpoint, environment_without_settings, read_endpoint

START_PATIENCE_S = 60.0
STOP_PATIENCE_S = 30.0
LOOK_EVERY_S = 0.05
PROGRAM = ("-m", "headrace")


@dataclass(frozen=True, kw_only=True)
class Launched:
    """A running platform.

    Attributes:
        supervisor: the process of `headrace up`.
        endpoint: where it answers.
    """

    home: Path
    supervisor: "subprocess.Popen[bytes]"
    endpoint: Endpoint

    def processes(self) -> dict[str, psutil.Process]:
        """The platform's processes by name, such as `control` and `worker-1`."""
        found = {}
        for child in psutil.Process(self.supervisor.pid).children():
            with suppress(psutil.Error):  # died meanwhile
                command = child.cmdline()
                if "headrace.server.process" in command:
                    found[command[-2]] = child
        return found

    def kill(self, name: str) -> int:
        """Kill -9 one process, once it runs; the supervisor starts another. Returns the pid of the dead one.

        Raises:
            StartError: there is no process of this name.
        """
        deadline = time.monotonic() + START_PATIENCE_S
        while (victim := self.processes().get(name)) is None:
            if time.monotonic() > deadline:
                raise StartError(f"there is no process {name}", where=str(self.home))
            time.sleep(LOOK_EVERY_S)
        os.kill(victim.pid, signal.SIGKILL)
        return victim.pid


@contextmanager
def launched(
    home: Path,
    *,
    environment: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
    program: tuple[str, ...] = PROGRAM,
    keep: Callable[[], bool] | None = None,
) -> Iterator[Launched]:
    """Run `headrace up` on a home and free ports until the end of the block.

    Args:
        home: folder for its state.
        environment: settings as HEADRACE_* variables, on top of this process's environment without its own.
        arguments: further arguments of `headrace up`.
        program: how Python is told to run `headrace`; a test may change it first.
        keep: asked at the end; True leaves it running. Without it the platform also ends when this process
            is killed.

    Raises:
        StartError: it did not come up.
    """
    command = [
        sys.executable,
        "-P",
        *program,
        "up",
        "--home",
        str(home),
        "--port",
        "0",
        "--gateway-port",
        "0",
    ]
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.log").open("wb") as log:
        supervisor = subprocess.Popen(
            [*command, *arguments],
            env=environment_without_settings() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=None if keep else partial(die_with_parent, os.getpid(), by=signal.SIGTERM),  # noqa: PLW1509
        )
    try:
        yield Launched(home=home, supervisor=supervisor, endpoint=_await_endpoint(home, supervisor))
    finally:
        if keep is None or not keep():
            supervisor.terminate()
            supervisor.wait(STOP_PATIENCE_S)


def _await_endpoint(home: Path, supervisor: "subprocess.Popen[bytes]") -> Endpoint:
    deadline = time.monotonic() + START_PATIENCE_S
    while (
        endpoint := read_endpoint(home)
    ) is None or endpoint.pid != supervisor.pid:  # a former one's, left behind
        if supervisor.poll() is not None or time.monotonic() > deadline:
            said = (home / "up.log").read_text(errors="replace").strip()
            raise StartError(f"the platform did not start: {said[-2000:]}", where=str(home / "up.log"))
        time.sleep(LOOK_EVERY_S)
    return endpoint
