"""`hr.run` against a real platform, and without one."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.client.transport import Transport
from headrace.errors import InvalidInput, NotFound
from headrace.sdk.spool import spooled_runs
from headrace.sdk.sync import Synced, sync
from headrace.testing.platform import TemporaryPlatform
from headrace.tracking.nouns import RunStatus

PLAIN: Any = {"capture": False, "system_metrics_every_s": None, "quiet": True}


def send_all(spool: Path, platform: TemporaryPlatform) -> list[Synced]:
    return list(sync(spool, platform.local.transport))


def test_everything_arrives(running: TemporaryPlatform, elsewhere: Path) -> None:
    (elsewhere / "plots").mkdir()
    (elsewhere / "plots" / "roc.txt").write_text("roc")
    with hr.run("everything", name="first", params={"depth": 3}, url=running.url, **PLAIN) as run:
        run.log_param("rate", 0.1)
        run.set_tag("team", "growth")
        run.log_metrics({"loss": 0.5, "auc": 0.7}, step=1)
        run.log_metrics({"loss": 0.25, "auc": math.nan}, step=2)
        run.log_metric("peak", math.inf)
        run.log_text("a note", "notes/ä %41?.txt")
        run.log_dict({"a": [1]}, "config.json")
        run.log_artifact("plots", "all")
        run.log_artifact(elsewhere / "plots" / "roc.txt")
    found = running.local.runs.get(run.id)
    assert (found.name, found.status, found.params) == ("first", RunStatus.FINISHED, {"depth": "3", "rate": "0.1"})
    assert found.tags["team"] == "growth"
    assert found.metrics["loss"].number == 0.25
    assert found.metrics["loss"].min is not None
    assert found.metrics["loss"].min.step == 2
    assert math.isnan(found.metrics["auc"].number)
    assert found.metrics["peak"].number == math.inf
    assert [point.value for point in running.local.runs.history(run.id, "loss")] == [0.5, 0.25]
    fetched = running.local.runs.download(run.id, "", elsewhere / "fetched")
    files = {path.relative_to(fetched).as_posix() for path in fetched.rglob("*") if path.is_file()}
    assert files == {"notes/ä %41?.txt", "config.json", "all/roc.txt", "roc.txt"}
    assert json.loads((fetched / "config.json").read_text()) == {"a": [1]}
    assert list(spooled_runs(elsewhere / ".headrace" / "spool")) == []


def test_a_great_many_at_once(running: TemporaryPlatform, elsewhere: Path) -> None:
    with hr.run("many", url=running.url, **PLAIN) as run:
        run.log_params({f"p{number}": number for number in range(12_000)})
        run.log_metrics({f"m{number}": number for number in range(12_000)}, step=1)
    found = running.local.runs.get(run.id)
    assert (len(found.params), len(found.metrics)) == (12_000, 12_000)
    assert found.params["p11999"] == "11999"


def test_steps_count_up_on_their_own(running: TemporaryPlatform, elsewhere: Path) -> None:
    with hr.run("steps", url=running.url, **PLAIN) as run:
        for value in (3.0, 2.0, 1.0):
            run.log_metric("loss", value)
        run.log_metric("auc", 0.5)
    assert [(p.step, p.value) for p in running.local.runs.history(run.id, "loss")] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert [p.step for p in running.local.runs.history(run.id, "auc")] == [0]


def test_a_copy_is_taken_when_a_file_is_logged(running: TemporaryPlatform, elsewhere: Path) -> None:
    file = elsewhere / "model.bin"
    with hr.run("copies", url=running.url, **PLAIN) as run:
        for version in (b"one", b"two"):
            file.write_bytes(version)
            run.log_artifact(file, version.decode())
        file.unlink()
    fetched = running.local.runs.download(run.id, "", elsewhere / "fetched")
    assert {path.read_bytes() for path in fetched.rglob("*.bin")} == {b"one", b"two"}


def test_a_file_that_can_neither_be_copied_nor_read_holds_up_nothing(
    running: TemporaryPlatform, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with hr.run("unread", **PLAIN) as run:
        for name in ("kept.txt", "gone.txt", "folder.txt"):
            (elsewhere / name).write_text(name)
            run.log_artifact(name)
        run.log_metric("loss", 0.5)
    (elsewhere / "gone.txt").unlink()
    (elsewhere / "folder.txt").unlink()
    (elsewhere / "folder.txt").mkdir()
    (sent,) = send_all(elsewhere / ".headrace" / "spool", running)
    assert (sent.problem, sent.rejected) == (None, 2)
    assert [entry.path for entry in running.local.runs.artifacts(run.id)] == ["kept.txt"]
    found = running.local.runs.get(run.id)
    assert (found.status, found.metrics["loss"].number) == (RunStatus.FINISHED, 0.5)


def test_a_time_without_its_offset_is_local(running: TemporaryPlatform, elsewhere: Path) -> None:
    at = datetime(2026, 1, 31, 12)  # noqa: DTZ001 - as `datetime.now()` gives it
    with hr.run("local time", url=running.url, **PLAIN) as run:
        run.log_metric("loss", 0.5, at=at)
    (point,) = running.local.runs.history(run.id, "loss")
    assert point.at == at.astimezone()


def test_how_a_block_ends_is_how_the_run_ends(running: TemporaryPlatform, elsewhere: Path) -> None:
    outcomes: list[tuple[BaseException, RunStatus]] = [
        (ValueError("secret"), RunStatus.FAILED),
        (KeyboardInterrupt(), RunStatus.KILLED),
        (SystemExit(0), RunStatus.FINISHED),
        (SystemExit(3), RunStatus.FAILED),
    ]
    for error, status in outcomes:
        with pytest.raises(type(error)), hr.run("ends", url=running.url, **PLAIN) as run:
            raise error
        found = running.local.runs.get(run.id)
        assert found.status is status
        if isinstance(error, ValueError):
            assert found.tags["headrace.failure"].startswith("ValueError at test_run.py:")
            assert "secret" not in str(found.tags)


def test_what_is_no_number_is_refused_at_once(elsewhere: Path) -> None:
    with hr.run("refused", **PLAIN) as run:
        for value in ("0.5", None, [1.0], object()):
            with pytest.raises(InvalidInput, match="is no number"):
                run.log_metric("loss", value)  # type: ignore[arg-type]
        for path in ("/etc/passwd", "../up", "a/../../b", "a#b", "a\nb", ""):
            with pytest.raises(InvalidInput, match="relative"):
                run.log_text("x", path)
        with pytest.raises(InvalidInput, match="no such file"):
            run.log_artifact("not there")
        with pytest.raises(InvalidInput, match="needs a key"):
            run.log_param("", 1)
    with pytest.raises(InvalidInput, match="has ended"):
        run.log_metric("loss", 1.0)
    with pytest.raises(InvalidInput, match="32 hexadecimal"):
        hr.run(resume="../../etc")


def test_without_a_platform_it_waits_and_is_sent_later(
    running: TemporaryPlatform, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with hr.run("later", params={"a": 1}, **PLAIN) as run:
        run.log_metrics({"loss": 0.5}, step=7)
        run.log_text("hello", "hello.txt")
    assert "no platform is known" in caplog.text
    with pytest.raises(NotFound):
        running.local.runs.get(run.id)
    spool = elsewhere / ".headrace" / "spool"
    (sent,) = send_all(spool, running)
    assert (sent.run_id, sent.problem, sent.rejected) == (run.id, None, 0)
    found = running.local.runs.get(run.id)
    assert (found.status, found.params, found.metrics["loss"].step) == (RunStatus.FINISHED, {"a": "1"}, 7)
    assert [entry.path for entry in running.local.runs.artifacts(run.id)] == ["hello.txt"]
    assert send_all(spool, running) == []


def test_a_platform_that_is_away_fails_nobody(
    running: TemporaryPlatform, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with hr.run("away", url="http://127.0.0.1:9", patience_s=0.2, **PLAIN) as run:
        run.log_metric("loss", 0.5)
    assert "does not answer" in caplog.text
    assert "the run goes on and is kept in" in caplog.text
    (sent,) = send_all(elsewhere / ".headrace" / "spool", running)
    assert sent.run_id == run.id
    assert running.local.runs.get(run.id).metrics["loss"].number == 0.5


def test_what_was_sent_twice_is_there_once(running: TemporaryPlatform, elsewhere: Path) -> None:
    """The answers are lost on the way: each request arrives, and is sent again."""
    with losing_answers(running.url) as url:
        with hr.run("twice", url=url, patience_s=0.5, **PLAIN) as run:
            for step in range(50):
                run.log_metric("loss", 1 / (step + 1), step=step)
        spool = elsewhere / ".headrace" / "spool"
        assert running.local.runs.get(run.id).status is RunStatus.RUNNING
        (sent,) = send_all(spool, running)
        assert sent.problem is None
    assert len(running.local.runs.history(run.id, "loss")) == 50
    assert running.local.runs.get(run.id).status is RunStatus.FINISHED
    assert len(running.local.runs.search("", experiment="twice")) == 1


def test_a_line_that_is_refused_is_laid_aside_and_the_rest_goes_on(
    running: TemporaryPlatform, elsewhere: Path
) -> None:
    with hr.run("aside", url=running.url, **PLAIN) as run:
        run.log_param("depth", 3)
        run.log_metric("loss", 0.5, step=0)
        run.log_param("depth", 4)
        run.log_metric("a\x00b", 1.0)
        run.log_metric("loss", 0.25, step=1)
    found = running.local.runs.get(run.id)
    assert (found.params, found.status) == ({"depth": "3"}, RunStatus.FINISHED)
    assert set(found.metrics) == {"loss"}
    assert len(running.local.runs.history(run.id, "loss")) == 2
    rejected = elsewhere / ".headrace" / "spool" / run.id / "rejected.jsonl"
    lines = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert [json.loads(line["line"])["values"] for line in lines] == [{"depth": "4"}, {"a\x00b": 1.0}]
    assert all(line["reason"] for line in lines)
    assert [path.name for path in rejected.parent.iterdir()] == ["rejected.jsonl"]


def test_a_run_goes_on(running: TemporaryPlatform, elsewhere: Path) -> None:
    first = hr.run("resumed", url=running.url, **PLAIN)
    first.log_metric("loss", 1.0, step=0)
    first.end("FAILED")
    with hr.run(resume=first.id, tags={"try": 2}, url=running.url, **PLAIN) as second:
        second.log_metric("loss", 0.5, step=1)
    found = running.local.runs.get(first.id)
    assert second.id == first.id
    assert (found.status, found.tags["try"]) == (RunStatus.FINISHED, "2")
    assert len(running.local.runs.history(first.id, "loss")) == 2


LOGS_UNTIL_KILLED = """
import sys, headrace as hr
run = hr.run("killed", url=sys.argv[1] or None, capture=False, system_metrics_every_s=None, quiet=True)
print(run.id, flush=True)
for step in range(10_000_000):
    run.log_metric("loss", 1.0, step=step)
    print(step, flush=True)
"""


@pytest.mark.parametrize("online", [True, False])
def test_kill_9_loses_nothing_that_was_logged(running: TemporaryPlatform, elsewhere: Path, *, online: bool) -> None:
    command = [sys.executable, "-c", LOGS_UNTIL_KILLED, running.url if online else ""]
    spool = elsewhere / ".headrace" / "spool"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=elsewhere) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        last = -1
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            last = int(process.stdout.readline())
        (going,) = send_all(spool, running)
        assert going.in_progress
        process.send_signal(signal.SIGKILL)
        last = max([last, *(int(line) for line in process.stdout.read().splitlines())])
    (sent,) = send_all(spool, running)
    assert (sent.run_id, sent.problem) == (run_id, None)
    found = running.local.runs.get(run_id)
    assert (found.status, found.metrics["loss"].step) in [(RunStatus.KILLED, last), (RunStatus.KILLED, last + 1)]
    assert len(running.local.runs.history(run_id, "loss")) == found.metrics["loss"].step + 1
    assert found.ended_at is not None
    assert abs((found.ended_at - datetime.now(UTC)).total_seconds()) < 30


FORKS = """
import os, sys, headrace as hr
with hr.run("forked", url=sys.argv[1], capture=False, system_metrics_every_s=None, quiet=True) as run:
    run.log_metric("parent", 1.0)
    children = []
    for child in range(3):
        pid = os.fork()
        if pid == 0:
            run.log_metric(f"child {child}", float(child))
            sys.exit(0)
        children.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
    run.log_metric("parent", 2.0)
    print(run.id)
"""


def test_forked_workers_log_too(running: TemporaryPlatform, elsewhere: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, running.url], capture_output=True, text=True, cwd=elsewhere
    )
    assert done.returncode == 0, done.stderr
    found = running.local.runs.get(done.stdout.strip())
    assert {key: metric.number for key, metric in found.metrics.items()} == {
        "parent": 2.0,
        "child 0": 0.0,
        "child 1": 1.0,
        "child 2": 2.0,
    }
    assert found.status is RunStatus.FINISHED


def test_a_run_that_nobody_ends_is_ended_at_exit(running: TemporaryPlatform, elsewhere: Path) -> None:
    begin = f"import headrace as hr; run = hr.run('exit', url={running.url!r}, capture=False); print(run.id)"
    for line, status in (("pass", RunStatus.FINISHED), ("1/0", RunStatus.FAILED)):
        done = subprocess.run(
            [sys.executable, "-c", f"{begin}\n{line}"], capture_output=True, text=True, cwd=elsewhere
        )
        assert running.local.runs.get(done.stdout.strip()).status is status
        assert f"/runs/{done.stdout.strip()}" in done.stderr


def test_a_spool_that_cannot_be_written_keeps_the_run_in_memory(
    running: TemporaryPlatform, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (elsewhere / "file").write_text("in the way")
    with hr.run("memory", url=running.url, home=elsewhere / "file", **PLAIN) as run:
        run.log_metric("loss", 0.5)
        run.log_text("lost", "lost.txt")
        run.log_artifact(elsewhere / "file")
    assert "in memory only" in caplog.text
    assert "lost.txt could not be kept" in caplog.text
    found = running.local.runs.get(run.id)
    assert (found.metrics["loss"].number, found.status) == (0.5, RunStatus.FINISHED)
    assert [entry.path for entry in running.local.runs.artifacts(run.id)] == ["file"]


def test_who_made_it_is_captured(running: TemporaryPlatform, elsewhere: Path) -> None:
    with hr.run("captured", url=running.url, quiet=True, system_metrics_every_s=0.05) as run:
        time.sleep(0.3)
    found = running.local.runs.get(run.id)
    assert found.tags["mlflow.source.type"] == "LOCAL"
    assert found.metrics["system/process_memory_usage_megabytes"].number > 1
    assert found.metrics["system/cpu_utilization_percentage"].step >= 2
    machine = json.loads(running.local.runs.download(run.id, "headrace/machine.json", elsewhere).read_text())
    assert machine["packages"]["msgspec"]
    assert machine["cpus"] == os.cpu_count()


def test_the_end_is_told_with_a_link(
    running: TemporaryPlatform, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hr.run("told", url=running.url, capture=False, system_metrics_every_s=None) as run:
        run.log_metrics({"loss": 0.5})
        run.log_metrics({"loss": 0.25})
    shown = capsys.readouterr().err
    assert f"{running.url}/runs/{run.id}" in shown
    assert "FINISHED" in shown
    assert [line.split() for line in shown.splitlines() if line.strip().startswith("loss")] == [
        ["loss", "0.25", "0.25", "0.5", "2"]
    ]


@contextmanager
def losing_answers(url: str) -> Iterator[str]:
    """A door in front of a platform that hands requests on and cuts the connection before the answer to a batch."""
    behind = Transport(url)

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(behind.call("POST", self.path, body, returns=dict)).encode()
            if self.path.endswith("/batch"):
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            """Tests keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        behind.close()
