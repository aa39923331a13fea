"""A full disk: what does not fit is refused with the reason, nothing of it is kept, and with room all goes on."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from headrace.testing.platform import TemporaryPlatform, temporary_platform

from .wire import CONTROL_ALONE, PATIENCE_S, Answer, call, new_run, run_of

pytestmark = pytest.mark.loop

ROOM_BYTES = 200_000
LARGE = b"x" * 4_000_000
MOST_BATCHES = 2_000


class Disk(NamedTuple):
    """A platform on a disk that can be filled but for ROOM_BYTES, and made free again."""

    platform: TemporaryPlatform
    fill: Callable[[], None]
    free: Callable[[], None]


@pytest.fixture(params=["file size limit", "small disk"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    environment = {**CONTROL_ALONE, "HEADRACE_CHECKPOINT_EVERY": "1"}
    with ExitStack() as undo:
        if request.param == "small disk":
            yield small_disk(tmp_path, environment, undo)
        else:
            platform = undo.enter_context(temporary_platform(tmp_path / "home", environment))
            yield limited(platform)


def limited(platform: TemporaryPlatform) -> Disk:
    """No file of control may grow beyond the largest that there is, and a little."""
    control = platform.launched.processes()["control"]
    if not hasattr(control, "rlimit"):
        pytest.skip("the limits of another process can be set on Linux alone")

    def fill() -> None:
        sizes = [path.stat().st_size for path in platform.launched.home.rglob("*") if path.is_file()]
        control.rlimit(psutil.RLIMIT_FSIZE, (max(sizes) + ROOM_BYTES, psutil.RLIM_INFINITY))

    def free() -> None:
        control.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))

    return Disk(platform, fill, free)


def small_disk(folder: Path, environment: dict[str, str], undo: ExitStack) -> Disk:
    """A file system of its own, with a file in it that takes what is left."""
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only root can mount a small disk")
    undo.callback(subprocess.run, ["umount", "--lazy", str(place)], check=True)
    platform = undo.enter_context(temporary_platform(place / "home", environment))
    filler = place / "filler"

    def fill() -> None:
        state = os.statvfs(place)
        with filler.open("wb", buffering=0) as file:
            file.write(b"0" * (state.f_bavail * state.f_bsize - ROOM_BYTES))

    return Disk(platform, fill, filler.unlink)


def batch(number: int) -> dict[str, Any]:
    metrics = [{"key": f"m{point}", "value": point, "step": number} for point in range(20)]
    return {"metrics": metrics, "params": {f"p{number}": "v" * 500}, "tags": {f"t{number}": "v" * 2_000}}


def refused(answer: Answer) -> None:
    assert answer.status == 503, answer
    problem = answer.json.get("error", answer.json)
    assert problem.get("code", problem.get("error_code")) in {"UNAVAILABLE", "TEMPORARILY_UNAVAILABLE"}
    assert "could not write" in problem["message"]


def test_logging_on_a_full_disk(disk: Disk) -> None:
    platform, fill, free = disk
    url, home = platform.url, platform.launched.home
    control = platform.launched.processes()["control"].pid
    run_id = new_run(url)
    ours, mlflow = f"/api/v1/runs/{run_id}", "/api/2.0/mlflow-artifacts/artifacts/0"
    files = [f"{ours}/artifacts/a", f"{mlflow}/{run_id}/artifacts/b"]
    assert call(url, "POST", f"{ours}/batch", batch(0)).status == 200

    fill()
    for path in files:
        refused(call(url, "PUT", path, content=LARGE))
    kept, gone = [0], list[int]()
    for number in range(1, MOST_BATCHES):
        answer = call(url, "POST", f"{ours}/batch", batch(number))
        (kept if answer.status == 200 else gone).append(number)
        if answer.status != 200:
            refused(answer)
            if len(gone) == 5:
                break
    assert len(gone) == 5
    expect(url, run_id, kept)
    assert call(url, "GET", f"{ours}/artifacts").json == []
    assert list((home / "blobs" / "staging").iterdir()) == []
    assert call(url, "GET", "/health").status == 200

    free()
    for path in files:
        assert call(url, "PUT", path, content=LARGE).status == 200
        assert call(url, "GET", path).body == LARGE
    for number in gone:
        assert call(url, "POST", f"{ours}/batch", batch(number)).status == 200
    expect(url, run_id, [*kept, *gone])
    assert platform.launched.processes()["control"].pid == control
    assert "request failed" not in (home / "logs" / "control.log").read_text()
    deadline = time.monotonic() + PATIENCE_S
    while (report := platform.local.verify_audit()).signed_through < report.events:  # the loops go on, too
        assert time.monotonic() < deadline, report
        time.sleep(0.1)
    assert report.verified, report.problems


def expect(url: str, run_id: str, numbers: list[int]) -> None:
    """Of these batches all is there, and of the others nothing."""
    run = run_of(url, run_id)
    assert set(run["params"]) == {f"p{number}" for number in numbers}
    assert set(run["tags"]) == {f"t{number}" for number in numbers}
    for point in (0, 19):
        page = call(url, "GET", f"/api/v1/runs/{run_id}/metrics/m{point}").json
        assert [found["step"] for found in page["points"]] == sorted(numbers)
