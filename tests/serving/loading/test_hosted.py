"""A model that answers from its own process: it comes back when that dies, and ends with whoever held it."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tests.processes import eventually, runs
from tests.serving import models

from headrace.errors import DeadlineExceeded, HeadraceError, InternalError, ModelFault, Overloaded
from headrace.serving.assignment import Assignment
from headrace.serving.forms.signature import read_signature
from headrace.serving.gateway import asking
from headrace.serving.gateway.asking import Asking, Part
from headrace.serving.loading import host as host_module
from headrace.serving.loading import hosted as module
from headrace.serving.loading.host import HostOrder
from headrace.serving.loading.hosted import HostedModel
from headrace.serving.loading.loader import LoadedModel
from headrace.serving.loading.predictor import Predictor
from headrace.serving.nouns import Arm, ServedVersion
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Recipe

MODULE = """
import os, subprocess, time
import numpy as np


class Behaved:
    def predict(self, rows):
        kind = float(np.asarray(rows)[:, 0].max())
        if kind == 1.0:
            os._exit(7)
        if kind == 2.0:
            time.sleep(60)
        if kind == 3.0:
            print("x" * 3_000_000)
        if kind == 4.0:
            raise ValueError("no such row")
        if kind == 5.0:
            return object()
        if kind == 6.0:
            return np.full(len(rows), float(subprocess.Popen(["sleep", "60"]).pid))
        if kind == 7.0:
            return np.zeros((len(rows), 10_000))
        return np.full(len(rows), float(os.getpid()))
"""
WELL, DIE, HANG, PRINT, RAISE, NONSENSE, START, LARGE = (np.array([[float(kind)]]) for kind in range(8))
OWNER = """
import pathlib, sys, time
import numpy as np
from headrace.serving.loading.host import HostOrder
from headrace.serving.loading.hosted import HostedModel
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Recipe

recipe = Recipe("pickle", file="model.pkl", columns=(("kind", "double"),), options={"serialization": "pickle"})
model = HostedModel(HostOrder(ModelFiles(pathlib.Path(sys.argv[1])), recipe, code=("code",)))
print(int(model.predict(np.array([[6.0]]))[0]), model.pid, flush=True)
time.sleep(60)
"""
"""Of a host, and killed before it can end that."""


@pytest.fixture
def order(tmp_path: Path) -> HostOrder:
    """A model whose class lies in a module of its author's, and which does what its rows say."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "behaved.py").write_text(MODULE)
    (tmp_path / "model.pkl").write_bytes(b"cbehaved\nBehaved\n)R.")
    recipe = Recipe("pickle", file="model.pkl", columns=(("kind", "double"),), options={"serialization": "pickle"})
    return HostOrder(ModelFiles(tmp_path), recipe, code=("code",))


@pytest.fixture
def hosted(order: HostOrder) -> Iterator[HostedModel]:
    model = HostedModel(order, timeout_s=20.0, first_pause_s=0.02)
    yield model
    model.close()


def answers(model: HostedModel) -> bool:
    try:
        model.predict(WELL)
    except (ModelFault, Overloaded):
        return False
    return True


def pid_of(model: HostedModel) -> int:
    found = model.predict(WELL)
    assert isinstance(found, np.ndarray)
    return int(found[0])


def test_it_answers_from_another_process_and_a_fault_of_the_model_does_not_end_that(hosted: HostedModel) -> None:
    first = pid_of(hosted)
    assert first not in {0, os.getpid()}
    with pytest.raises(ModelFault, match="ValueError: no such row"):
        hosted.predict(RAISE)
    with pytest.raises(ModelFault, match="not an answer"):
        hosted.predict(NONSENSE)
    assert pid_of(hosted) == first


def test_a_process_that_died_is_started_again(hosted: HostedModel) -> None:
    first = pid_of(hosted)
    with pytest.raises(ModelFault, match="exit status 7"):
        hosted.predict(DIE)
    eventually(lambda: answers(hosted))
    second = pid_of(hosted)
    assert second != first


def test_where_the_system_has_killed_a_process_no_spare_one_takes_more_memory(hosted: HostedModel) -> None:
    def hang() -> None:
        with pytest.raises(ModelFault, match="SIGKILL"):
            hosted.predict(HANG)

    asked = threading.Thread(target=hang)
    pid = pid_of(hosted)
    asked.start()
    time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    asked.join()
    eventually(lambda: answers(hosted))
    time.sleep(0.3)
    assert hosted.spare_pid is None
    assert hosted._seat._spare_until_s == 0.0


def killed(pid: int | None) -> None:
    """End a process from outside, and wait until that has happened."""
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    # with all of its threads, which a zombie may still have; who started it is left to ask after it
    eventually(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None)


def test_a_process_that_was_killed_between_two_questions_is_no_fault_on_the_next(hosted: HostedModel) -> None:
    killed(pid_of(hosted))
    with pytest.raises(Overloaded, match="started again"):
        hosted.predict(WELL)
    eventually(lambda: answers(hosted))
    killed(hosted.pid)
    assert not hosted.await_process(0.0)
    assert hosted.await_process(30.0)
    assert answers(hosted)


def test_a_spare_process_that_has_died_takes_over_from_none(hosted: HostedModel) -> None:
    with pytest.raises(ModelFault):
        hosted.predict(DIE)
    eventually(lambda: hosted.pid is not None and hosted.spare_pid is not None)
    killed(hosted.spare_pid)
    with pytest.raises(ModelFault):
        hosted.predict(DIE)
    with pytest.raises(Overloaded):
        hosted.predict(WELL)
    eventually(lambda: answers(hosted))


def parts_of(hosted: HostedModel, *rows: Any) -> list[Part]:
    signature = read_signature({"inputs": '[{"name": "kind", "type": "double"}]'})
    version = ServedVersion(model="m", number=1, digest="", files=())
    loaded = LoadedModel(signature, hosted.predict, hosted=True, await_ready=hosted.await_process)
    predictor = Predictor(version, loaded)
    return [asking.part_of(predictor, Assignment(1, Arm.CHAMPION, 1.0), each) for each in rows]


def test_a_row_that_ends_the_process_is_no_fault_of_those_asked_with_it(hosted: HostedModel) -> None:
    parts = parts_of(hosted, WELL, DIE, WELL, WELL)
    asking.answer_together(parts)
    assert [part.outputs is not None for part in parts] == [True, False, True, True]
    assert [bool(part.faults) for part in parts] == [False, True, False, False]


def test_who_asks_after_such_a_row_waits_for_the_next_process(hosted: HostedModel) -> None:
    async def scenario() -> None:
        asked = Asking()
        parts = parts_of(hosted, DIE, WELL, WELL)
        for part in parts:  # one after another: each alone in its call
            await asked.ask(part)
        assert [part.outputs is not None for part in parts] == [False, True, True]
        assert [bool(part.faults) for part in parts] == [True, False, False]

    asyncio.run(scenario())


def test_who_has_waited_long_enough_was_not_asked_and_is_no_fault(
    order: HostOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "RESTART_PATIENCE_S", 0.05)
    hosted = HostedModel(order, first_pause_s=60.0)

    async def scenario() -> None:
        asked = Asking()
        dies, well = parts_of(hosted, DIE, WELL)
        await asked.ask(dies)
        with pytest.raises(Overloaded, match="started again"):
            await asked.ask(well)
        assert (well.outputs, well.faults, well.begun) == (None, {}, False)

    asyncio.run(scenario())
    hosted.close()


def test_those_asked_together_wait_for_the_next_process_together(
    order: HostOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "RESTART_PATIENCE_S", 1.0)
    hosted = HostedModel(order, first_pause_s=60.0)
    parts = parts_of(hosted, DIE, *[WELL] * 9)
    waited_s: list[float] = []

    def await_ready(timeout_s: float) -> bool:
        waited_s.append(timeout_s)
        return hosted.await_process(timeout_s)

    monkeypatch.setattr(parts[0].predictor, "await_ready", await_ready)
    asking.answer_together(parts)
    hosted.close()
    assert [part.away is not None for part in parts] == [True] * 10
    assert not any(part.faults for part in parts)
    assert max(waited_s) <= 1.0
    assert waited_s[1:] == [0.0] * 9  # the first has waited for all of them


def test_whose_time_is_over_while_a_process_is_started_again_was_not_asked(
    order: HostOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "RESTART_PATIENCE_S", 3.0)
    hosted = HostedModel(order, first_pause_s=60.0)

    async def scenario() -> None:
        asked = Asking()
        dies, impatient, after = parts_of(hosted, DIE, WELL, WELL)
        await asked.ask(dies)
        with pytest.raises(DeadlineExceeded):
            await asked.ask(impatient, asyncio.get_running_loop().time() + 0.2)
        assert not impatient.begun
        with pytest.raises(Overloaded):  # the line goes on
            await asked.ask(after)
        assert asked.rows_waiting == 0

    asyncio.run(scenario())
    hosted.close()


def test_the_next_death_is_bridged_by_a_spare_process(hosted: HostedModel) -> None:
    assert answers(hosted)
    for _ in range(3):
        with pytest.raises(ModelFault):
            hosted.predict(DIE)
        eventually(lambda: hosted.pid is not None and hosted.spare_pid is not None)
        spare = hosted.spare_pid
        with pytest.raises(ModelFault):
            hosted.predict(DIE)
        assert pid_of(hosted) == spare


def test_however_often_a_process_dies_one_thread_starts_the_next(hosted: HostedModel) -> None:
    def keepers() -> int:
        return [thread.name for thread in threading.enumerate()].count("model-host")

    before = keepers()
    for _ in range(5):
        with pytest.raises(ModelFault):
            hosted.predict(DIE)
        eventually(lambda: hosted.pid is not None and hosted.spare_pid is not None)
    assert keepers() == before


def test_where_the_system_gives_no_more_threads_a_process_is_started_again_all_the_same(
    hosted: HostedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(ModelFault):
        hosted.predict(DIE)
    eventually(lambda: answers(hosted))


def test_a_process_that_had_answered_is_started_again_without_a_longer_pause(hosted: HostedModel) -> None:
    for _ in range(4):
        eventually(lambda: answers(hosted))
        with pytest.raises(ModelFault):
            hosted.predict(DIE)
    assert hosted._seat._pause_s <= 4 * 0.02  # twice at once: the next process, and the spare one


def test_a_spare_process_goes_when_none_has_died_for_a_while(
    order: HostOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPARE_S", 5.0)
    hosted = HostedModel(order, first_pause_s=0.02)
    with pytest.raises(ModelFault):
        hosted.predict(DIE)
    eventually(lambda: hosted.pid is not None and hosted.spare_pid is not None)
    spare = psutil.Process(hosted.spare_pid)
    eventually(lambda: not spare.is_running())
    assert answers(hosted)
    hosted.close()


def test_spare_processes_end_with_the_model(hosted: HostedModel) -> None:
    with pytest.raises(ModelFault):
        hosted.predict(DIE)
    eventually(lambda: hosted.spare_pid is not None)
    both = [psutil.Process(pid) for pid in (hosted.pid, hosted.spare_pid)]
    hosted.close()
    assert not any(process.is_running() for process in both)


def test_who_asks_while_it_is_started_again_is_told_at_once(order: HostOrder) -> None:
    hosted = HostedModel(order, first_pause_s=60.0)
    try:
        with pytest.raises(ModelFault, match="died"):
            hosted.predict(DIE)
        with pytest.raises(Overloaded, match="started again"):
            hosted.predict(WELL)
        assert hosted.pid is None
    finally:
        hosted.close()


def test_a_question_that_takes_too_long_ends_the_process_and_not_the_others(order: HostOrder) -> None:
    hosted = HostedModel(order, timeout_s=1.0, first_pause_s=0.02)
    try:
        with pytest.raises(ModelFault, match="in time"):
            hosted.predict(HANG)
        eventually(lambda: answers(hosted))
    finally:
        hosted.close()


def test_what_a_model_prints_is_no_answer_and_does_not_pile_up(hosted: HostedModel) -> None:
    for _ in range(3):
        hosted.predict(PRINT)
    process = hosted._seat._process
    assert process is not None
    assert os.fstat(process._piped._complaints.fileno()).st_size < 4_000_000


def test_large_questions_and_answers_pass(hosted: HostedModel) -> None:
    found = hosted.predict(np.zeros((300_000, 1)))
    assert np.shape(found) == (300_000,)  # type: ignore[arg-type]


def test_an_answer_that_is_too_large_for_its_rows_is_a_fault_and_is_not_read(
    hosted: HostedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "FEW_BYTES", 1_000)
    monkeypatch.setattr(host_module, "ROW_BYTES", 100)
    assert len(hosted.predict(np.zeros((1_000, 1)))) == 1_000
    with pytest.raises(ModelFault, match="more than fits its rows"):
        hosted.predict(LARGE)
    eventually(lambda: answers(hosted))


def test_several_threads_may_ask(hosted: HostedModel) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(pid_of(hosted))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_it_ends_when_nobody_holds_it_any_more(order: HostOrder) -> None:
    hosted = HostedModel(order)
    process = psutil.Process(pid_of(hosted))
    del hosted
    gc.collect()
    eventually(lambda: not process.is_running())


def test_what_an_owner_that_was_killed_has_left_is_cleared_away(
    order: HostOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    environment = os.environ | {"TMPDIR": str(place)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        started, host = map(int, owner.stdout.readline().split())
        (left,) = place.iterdir()
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        monkeypatch.setattr(host_module, "NEW_S", 0.0)
        HostedModel(order).close()
        assert left.exists()  # its owner lives
        owner.kill()
    eventually(lambda: not runs(host) and not runs(started))
    HostedModel(order).close()
    assert not list(place.iterdir())


def test_a_model_that_cannot_be_loaded_is_told_at_once(order: HostOrder, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"no pickle")
    with pytest.raises(InternalError, match="could not be unpickled"):
        HostedModel(order)
    (tmp_path / "model.pkl").write_bytes(b"cos\n_exit\n(I9\ntR.")
    with pytest.raises(HeadraceError, match="exit status 9"):
        HostedModel(order)
    with pytest.raises(ModelFault, match="in time"):
        HostedModel(order, start_timeout_s=0.001)


def test_a_process_that_was_told_to_end_is_not_started_again(order: HostOrder) -> None:
    before = {child.pid for child in psutil.Process().children()}
    hosted = HostedModel(order, first_pause_s=0.01)
    hosted.close()
    with pytest.raises(ModelFault):
        hosted.predict(WELL)
    hosted._seat._keeper.join(30)
    assert not hosted._seat._keeper.is_alive()
    assert hosted.pid is None
    assert {child.pid for child in psutil.Process().children()} <= before


def test_a_process_that_is_being_started_when_the_model_is_closed_ends_as_well(order: HostOrder) -> None:
    before = {child.pid for child in psutil.Process().children()}
    hosted = HostedModel(order, first_pause_s=0.01)
    with pytest.raises(ModelFault):
        hosted.predict(DIE)
    eventually(lambda: {child.pid for child in psutil.Process().children()} - before)
    hosted.close()
    hosted._seat._keeper.join(30)
    assert not hosted._seat._keeper.is_alive()
    assert {child.pid for child in psutil.Process().children()} <= before


def test_a_refused_pickle_leaves_no_process(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(HeadraceError):
        HostedModel(HostOrder(ModelFiles(models.write_model(tmp_path / "m", object())), Recipe("nothing")))
    assert {child.pid for child in psutil.Process().children()} <= before
