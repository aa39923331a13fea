"""The prediction log from Python and from the terminal, asked of a platform that runs."""

from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.sdk.test_cli import headrace

from headrace.errors import DeadlineExceeded, InvalidInput
from headrace.serving.feedback import JOIN
from headrace.serving.query_nouns import Asked
from headrace.testing.platform import TemporaryPlatform

ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1"


def query_processes(platform: TemporaryPlatform) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(platform.launched.supervisor.pid).children(recursive=True):
        with suppress(psutil.Error):  # has just ended
            if "headrace.serving.log.query_process" in process.cmdline():
                found.append(process)
    return found


def test_what_stops_a_query_is_said_by_its_own_error(running: TemporaryPlatform) -> None:
    log = running.local.predictions
    assert log.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    with pytest.raises(InvalidInput, match="versin") as refused:
        log.query("SELECT versin FROM predictions")
    assert "Did you mean version?" in (refused.value.fix or "")
    with pytest.raises(DeadlineExceeded, match=r"longer than 0\.3 s"):
        log.query(ENDLESS, timeout_s=0.3)
    assert log.query("SELECT 2 AS two").num_rows == 1


def test_an_answer_that_was_cut_says_so(running: TemporaryPlatform) -> None:
    with pytest.warns(UserWarning, match="more rows than these 1000000"):
        assert running.local.predictions.query("SELECT * FROM range(1000001)").num_rows == 1_000_000


def test_an_interrupted_query_is_cancelled_and_its_process_ends(running: TemporaryPlatform) -> None:
    seen: list[Asked] = []

    def interrupt(asked: Asked) -> None:
        seen.append(asked)
        if (asked.note or "").startswith("runs"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.local.predictions.ask(ENDLESS, told=interrupt)
    running.local.wait_for(lambda: query_processes(running), lambda found: not found, "the query to end")
    assert running.local.job(seen[-1].job_id).state == "cancelled"
    assert running.local.predictions.query("SELECT 1").num_rows == 1


def test_a_query_holds_up_no_other_work(running: TemporaryPlatform) -> None:
    """The platform has one worker."""
    local = running.local
    before = {job.id for job in local.jobs()}
    seen: list[Asked] = []

    def work_meanwhile(asked: Asked) -> None:
        if not (asked.note or "").startswith("runs"):
            return
        if not seen:
            local.feedback.say("prd_never", 1)
        seen.append(asked)
        if any(job.kind == JOIN.name and job.state == "done" and job.id not in before for job in local.jobs()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # and not DeadlineExceeded
        local.predictions.ask(ENDLESS, told=work_meanwhile)
    assert {asked.state for asked in seen} == {"leased"}


def test_rows_stand_in_a_table_on_the_terminal(running: TemporaryPlatform, elsewhere: Path) -> None:
    sql = "SELECT range AS number, 'text' AS said FROM range(60)"
    shown = headrace("predictions", "query", sql, folder=elsewhere, url=running.url)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split()[:2] == ["number", "said"]
    assert shown.stdout.split()[-2:] == ["59", "text"]
    assert "60 rows" in shown.stderr
    written = headrace("predictions", "query", sql, "-o", "rows.csv", folder=elsewhere, url=running.url)
    assert written.stdout == "60 rows in rows.csv\n"
    wrong = headrace("predictions", "query", "SELECT versin FROM predictions", folder=elsewhere, url=running.url)
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr
    assert "Did you mean version?" in wrong.stderr
