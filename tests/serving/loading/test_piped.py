"""A process over pipes: however it ends, it is noticed, and nothing that it has started stays behind."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.processes import eventually, runs

from headrace.serving.loading import piped
from headrace.serving.loading.piped import Died, PipedProcess

LONG_S = 60


@contextmanager
def process(script: str, folder: Path) -> Iterator[PipedProcess]:
    started = PipedProcess([sys.executable, "-c", script], {}, folder)
    try:
        yield started
    finally:
        started.end()


def test_a_process_that_closes_its_pipes_and_lives_is_waited_for_no_longer(tmp_path: Path) -> None:
    with process(f"import os, time; os.close(1); time.sleep({LONG_S})", tmp_path) as closed:
        with pytest.raises(Died, match="closed its pipes") as died:
            closed.ask({}, None, timeout_s=30)
        assert died.value.number is None  # nobody else has killed it
        assert closed.ended
        assert not runs(closed.pid)


def test_a_death_is_noticed_also_where_a_child_of_the_process_holds_its_pipes(tmp_path: Path) -> None:
    script = f"""
import os, sys, time
child = os.fork()
if not child:
    time.sleep({LONG_S})
print(child, file=sys.stderr, flush=True)
os._exit(7)
"""
    with process(script, tmp_path) as forked, pytest.raises(Died, match="exit status 7") as died:
        forked.ask({}, None, timeout_s=30)
    eventually(lambda: not runs(int(died.value.said)))


def test_what_a_process_has_started_ends_with_it(tmp_path: Path) -> None:
    script = f"""
import pathlib, subprocess, time
child = subprocess.Popen(["sleep", "{LONG_S}"])
pathlib.Path("made").write_text(str(child.pid))
pathlib.Path("made").rename("pid")
time.sleep({LONG_S})
"""
    with process(script, tmp_path):
        eventually((tmp_path / "pid").exists)
        child = int((tmp_path / "pid").read_text())
        assert runs(child)
    eventually(lambda: not runs(child))


def test_whether_a_process_has_died_is_known_before_it_is_asked(tmp_path: Path) -> None:
    with process("raise SystemExit(3)", tmp_path) as ended:
        eventually(ended.has_died)
        assert ended.death is not None
        assert ended.death.how == "exit status 3"
    with process(f"import time; time.sleep({LONG_S})", tmp_path) as lives:
        assert not lives.has_died()


def test_of_much_that_a_process_has_printed_only_the_end_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    pread = os.pread

    def counted(file: int, size: int, offset: int) -> bytes:
        found = pread(file, size, offset)
        read.append(len(found))
        return found

    monkeypatch.setattr(os, "pread", counted)
    script = "import sys; sys.stderr.write('x' * 5_000_000 + '\\nthe end'); raise SystemExit(1)"
    with process(script, tmp_path) as loud, pytest.raises(Died, match="the end"):
        loud.ask({}, None, timeout_s=30)
    assert read == [piped.LAST_COMPLAINT_BYTES]
