"""The supervisor's child processes, and ports that are really free."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from headrace.errors import PortInUse
from headrace.kernel.lifelines import die_with_parent


def spawn(command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a process that writes to `log` and ends with its parent.

    Args:
        command: program and arguments.
        environment: the whole environment of the child.
        log: file that its output is appended to.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is the supervisor's to handle
            preexec_fn=partial(die_with_parent, os.getpid(), by=signal.SIGTERM),  # noqa: PLW1509 - the supervisor has one thread
        )


def stop(process: "subprocess.Popen[bytes]", patience_s: float) -> None:
    """Ask a process to end, and make it end when `patience_s` seconds have passed."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def choose_port(host: str, port: int, *, taken: frozenset[int] = frozenset()) -> int:
    """`port` if it is free, or a free one for 0.

    The probe binds without SO_REUSEPORT, because a server that sets it would share a busy port in silence.

    Raises:
        PortInUse: another program listens there.
    """
    problem = PortInUse(
        f"port {port} on {host} is in use",
        where=f"{host}:{port}",
        fix="Stop what listens there, or choose another with --port or --gateway-port; 0 picks a free one.",
    )
    if port in taken and port:
        raise problem
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            raise problem from error
        return int(probe.getsockname()[1])
