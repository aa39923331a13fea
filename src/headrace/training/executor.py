"""The Executor seam: where users' code runs. Here, in supervised subprocesses of this machine.

Users' code never runs in the platform's own processes: it may take all memory, never end, or crash the
interpreter, and it must not see the platform's tokens.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import psutil

from headrace.errors import StartError
from headrace.kernel.settings import inherited_environment

MESSAGES_FILE = "messages.jsonl"
LOG_FILE = "output.log"
PATIENCE_S = 3.0
"""How long a process may take to end after it was asked to."""
PASSED_ON = re.compile(
    r"PATH|LANG|LC_[A-Z]+|TZ|LD_LIBRARY_PATH|DYLD_[A-Z_]+|OPENBLAS_[A-Z0-9_]+|PYTHONPATH|PYTHONDONTWRITEBYTECODE"
)
"""Variables that tasks get; what is not named here may be a secret."""


Reason = Literal["exited", "killed", "memory", "time"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a task may use.

    Attributes:
        wall_time_s: seconds until it is killed.
        memory_bytes: resident memory of all its processes together, at which it is killed; None for no limit.
    """

    wall_time_s: float = 6 * 3_600.0
    memory_bytes: int | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to run.

    Attributes:
        module: a module of this environment, run as `python -m`.
        arguments: what it is called with.
        directory: its working folder.
        output: an existing folder for its messages and its log.
        environment: all environment variables that it gets.
    """

    module: str
    arguments: Sequence[str]
    directory: Path
    output: Path
    environment: Mapping[str, str]
    limits: Limits = Limits()


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a task ended.

    Attributes:
        exit_code: of its main process; negative for the signal that killed it.
        reason: "exited" by itself, "killed" on request, or over a limit of "memory" or "time".
        peak_memory_bytes: the most memory that was seen.
    """

    exit_code: int
    reason: Reason
    peak_memory_bytes: int


def bare_environment(scratch: Path) -> dict[str, str]:
    """What a task needs of this process's environment, without its secrets.

    Args:
        scratch: the task's own folder for what it keeps for a while.
    """
    passed = {name: value for name, value in inherited_environment().items() if PASSED_ON.fullmatch(name)}
    return passed | {"HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}


class Execution(Protocol):
    """One running task.

    Thread safety: used by the thread that started it.
    Order: `messages` gives each complete line of standard output once, in order; after `wait` has given an ending,
    one more call gives the rest.
    Ownership: the caller must call `kill`, or wait for the ending, before it lets go.
    Errors: none; a task that fails has an ending that says so.
    """

    def wait(self, timeout_s: float) -> Ending | None:
        """The ending, or None when the task still runs after the timeout."""
        ...

    def messages(self) -> list[bytes]:
        """The lines that came since the last call, without their newline."""
        ...

    def log(self, last_bytes: int) -> bytes:
        """The end of what the task wrote to standard error."""
        ...

    def kill(self) -> Ending:
        """Ends the task with all its processes; harmless when it has ended."""
        ...


class Executor(Protocol):
    """Runs tasks.

    Thread safety: `start` may be called from any thread.
    Order: tasks are independent of each other.
    Ownership: the execution belongs to the caller; a task ends when the process that started it dies.
    Errors: StartError when the task cannot be started at all.
    """

    def start(self, task: Task) -> Execution:
        """Starts a task and returns at once."""
        ...


class SubprocessExecutor:
    """Runs each task as a subprocess in a session of its own; see `Executor`."""

    def start(self, task: Task) -> Execution:
        """Starts a task and returns at once."""
        try:
            with (task.output / MESSAGES_FILE).open("wb") as messages, (task.output / LOG_FILE).open("wb") as log:
                process = subprocess.Popen(
                    # -P: the project's folder, which is the working folder, must not hide installed modules
                    [sys.executable, "-P", "-m", task.module, *task.arguments],
                    cwd=task.directory,
                    env=dict(task.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=messages,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise StartError(
                f"the subprocess cannot be started: {error.strerror}",
                where=task.module,
                fix="Free memory, processes or disk space on the worker's machine.",
            ) from error
        return _SubprocessExecution(process, task)


class _SubprocessExecution:
    def __init__(self, process: "subprocess.Popen[bytes]", task: Task) -> None:
        self._process = process
        self._output = task.output
        self._limits = task.limits
        self._ends_at_s = time.monotonic() + task.limits.wall_time_s
        self._read_bytes = 0
        self._peak_memory_bytes = 0
        self._reason: Reason = "exited"
        self._ended: Ending | None = None

    def wait(self, timeout_s: float) -> Ending | None:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._enforce_limits()
        return None if self._process.poll() is None else self._ending()

    def messages(self) -> list[bytes]:
        with (self._output / MESSAGES_FILE).open("rb") as file:
            file.seek(self._read_bytes)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(complete) + len(newline)
        return complete.split(b"\n") if newline else []

    def log(self, last_bytes: int) -> bytes:
        with (self._output / LOG_FILE).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - last_bytes))
            return file.read()

    def kill(self) -> Ending:
        if self._process.poll() is None:
            self._reason = "killed"
            self._end_group()
        return self._ending()

    def _enforce_limits(self) -> None:
        memory_bytes = self._memory_bytes()
        self._peak_memory_bytes = max(self._peak_memory_bytes, memory_bytes)
        if self._limits.memory_bytes is not None and memory_bytes > self._limits.memory_bytes:
            self._reason = "memory"
            self._end_group()
        elif time.monotonic() > self._ends_at_s:
            self._reason = "time"
            self._end_group()

    def _memory_bytes(self) -> int:
        total = 0
        with contextlib.suppress(psutil.Error):
            for process in _family(self._process.pid):
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
        return total

    def _end_group(self) -> None:
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_S)
        self._signal(signal.SIGKILL)  # what ignored the first signal, and children that the main process left
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _ending(self) -> Ending:
        if self._ended is None:
            self._signal(signal.SIGKILL)  # children that the main process left behind
            self._ended = Ending(
                exit_code=self._process.returncode, reason=self._reason, peak_memory_bytes=self._peak_memory_bytes
            )
        return self._ended


def _family(pid: int) -> list[psutil.Process]:
    """A process and all below it.

    psutil looks at every process of the machine to find them; where Linux knows them, it is asked.
    """
    main = psutil.Process(pid)
    found, unseen = [main], [pid]
    try:
        while unseen:
            for thread in Path(f"/proc/{unseen.pop()}/task").iterdir():
                below = [int(child) for child in (thread / "children").read_text().split()]
                unseen += below
                for child in below:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        found.append(psutil.Process(child))
    except OSError:  # one has ended meanwhile, or this kernel does not tell
        return [main, *main.children(recursive=True)]
    return found
