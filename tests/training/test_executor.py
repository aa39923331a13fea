"""Subprocesses: their messages, their log, their limits, and that nothing of them is left."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from headrace.errors import StartError
from headrace.kernel.settings import inherited_environment
from headrace.training.executor import Ending, Execution, Limits, SubprocessExecutor, Task, bare_environment

Start = Callable[..., Execution]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Runs a program as a module of the task's own folder."""

    def begin(program: str, **limits: float) -> Execution:
        (tmp_path / "program.py").write_text(program)
        environment = {**inherited_environment(), "PYTHONPATH": str(tmp_path)}
        task = Task(
            module="program",
            arguments=("one", "two"),
            directory=tmp_path,
            output=tmp_path,
            environment=environment,
            limits=Limits(**limits),  # type: ignore[arg-type]
        )
        return SubprocessExecutor().start(task)

    return begin


def ended(execution: Execution) -> Ending:
    while (ending := execution.wait(0.05)) is None:
        pass
    return ending


def gone(pid: int) -> bool:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_messages_and_log_are_apart(start: Start) -> None:
    execution = start(
        "import sys; print(sys.argv[1:]); print('second'); print('noise', file=sys.stderr); sys.exit(3)"
    )
    ending = ended(execution)
    assert (ending.exit_code, ending.reason) == (3, "exited")
    assert execution.messages() == [b"['one', 'two']", b"second"]
    assert execution.messages() == []
    assert execution.log(100) == b"noise\n"
    assert execution.log(3) == b"se\n"


def test_half_a_line_waits_for_its_end(start: Start) -> None:
    program = (
        "import sys, pathlib, time\n"
        "sys.stdout.write('whole\\nha'); sys.stdout.flush()\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
        "sys.stdout.write('lf\\n')"
    )
    execution = start(program)
    seen: list[bytes] = []
    while not seen:
        seen += execution.messages()
    assert seen == [b"whole"]
    Path(execution._output, "go").touch()  # type: ignore[attr-defined]
    ended(execution)
    assert execution.messages() == [b"half"]


def test_a_killed_task_leaves_no_child(start: Start) -> None:
    program = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    execution = start(program)
    seen: list[bytes] = []
    while not seen:
        seen += execution.messages()
    assert execution.kill().reason == "killed"
    assert gone(int(seen[0]))
    assert execution.kill().exit_code < 0


def test_a_child_that_outlives_its_task_is_ended(start: Start) -> None:
    program = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True)"
    )
    execution = start(program)
    assert ended(execution).exit_code == 0
    assert gone(int(execution.messages()[0]))


def test_too_much_memory_ends_it(start: Start) -> None:
    ending = ended(start("import time; held = b'x' * 200_000_000; time.sleep(600)", memory_bytes=100_000_000))
    assert ending.reason == "memory"
    assert ending.peak_memory_bytes > 100_000_000


def test_the_memory_of_children_counts(start: Start) -> None:
    child = "import time; held = b'x' * 200_000_000; time.sleep(600)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert ended(start(program, memory_bytes=150_000_000)).reason == "memory"


def test_a_bare_environment_has_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_TOKEN", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://who:secret@proxy")
    bare = bare_environment(tmp_path)
    assert "PATH" in bare
    assert "secret" not in " ".join(bare.values())


def test_too_much_time_ends_it(start: Start) -> None:
    assert ended(start("import time; time.sleep(600)", wall_time_s=0.2)).reason == "time"


def test_what_cannot_start_says_so(tmp_path: Path) -> None:
    task = Task(module="x", arguments=(), directory=tmp_path / "none", output=tmp_path, environment={})
    with pytest.raises(StartError, match="No such file"):
        SubprocessExecutor().start(task)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_confined_process_dies_with_its_parent(tmp_path: Path) -> None:
    child = (
        "import os, sys, time; from headrace.training.confinement import confine; confine(int(sys.argv[1]));"
        "print(os.getpid(), flush=True); time.sleep(600)"
    )
    parent = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, str(os.getpid())])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    assert gone(pid)


def test_a_process_whose_parent_is_gone_ends_at_once(tmp_path: Path) -> None:
    program = "from headrace.training.confinement import confine; confine(0); print('went on')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=tmp_path, env=dict(os.environ))
    assert (done.returncode, done.stdout) == (1, b"")
