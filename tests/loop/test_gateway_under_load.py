"""A gateway of a whole platform under load: versions change, it is killed, and control goes away."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from tests.serving import models
from tests.serving.gateway.test_process import Load, eventually

from headrace.delivery.machine import Phase
from headrace.delivery.nouns import ReleaseAction
from headrace.serving.log.segments import CLOSED, OPEN, read_segment, segments
from headrace.serving.nouns import GatewayState
from headrace.testing.platform import TemporaryPlatform, temporary_platform

from . import elsewhere
from .test_loading import register

pytestmark = pytest.mark.loop

MODEL = "churn"
ROUNDS = 10
AWAY_S = float(os.environ.get("CONTROL_AWAY_S", "1"))
"""How long control is away; a minute of it is asked for with CONTROL_AWAY_S=60."""

DELIVERY = """
rollout=hr.Canary([50, 100], minimum_time="1s", cooling="3s"), fallback=hr.Fallback(default=0.5)
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    """Two versions of a model, the first in production."""
    folder = tmp_path_factory.mktemp("under-load")
    with temporary_platform(folder / "home", {"HEADRACE_OPTIMIZE": "0"}) as running:
        elsewhere.apply(running.local, folder / "project", model=MODEL, delivery=DELIVERY)
        for number, flip in ((1, False), (2, True)):
            register(running.local, MODEL, models.write_model(folder / str(number), models.binary_model(flip=flip)))
        release_id = promote(running, 1)
        eventually(lambda: running.local.release(release_id).phase is Phase.COMPLETED)
        yield running


def state(platform: TemporaryPlatform) -> GatewayState:
    content = httpx.get(f"{platform.gateway_url}/api/v1/gateway", timeout=20).content
    return msgspec.json.decode(content, type=GatewayState)


def in_force(platform: TemporaryPlatform) -> tuple[int | None, int | None]:
    """Champion and challenger that the gateway applies."""
    found = next(iter(state(platform).routes), None)
    return (None, None) if found is None else (found.champion, found.challenger)


def is_healthy(platform: TemporaryPlatform) -> bool:
    try:
        return httpx.get(f"{platform.gateway_url}/health", timeout=20).status_code == 200
    except httpx.TransportError:
        return False


def promote(platform: TemporaryPlatform, number: int) -> str:
    """Release a version at once, and wait until the gateway obeys; the release's id."""
    release = platform.local.open_release(MODEL, number)
    eventually(lambda: in_force(platform)[1] == number)
    platform.local.command_release(release.id, ReleaseAction.PROMOTE, "the test")
    eventually(lambda: in_force(platform) == (number, None))
    return release.id


@contextmanager
def load(platform: TemporaryPlatform) -> Iterator[Load]:
    made = Load(int(urlsplit(platform.gateway_url).port or 0))
    try:
        eventually(lambda: len(made.ids) > 100)
        yield made
    finally:
        made.end()


def logged(home: Path) -> set[str]:
    return {
        record.prediction_id
        for suffix in (CLOSED, OPEN)
        for paths in segments(home / "predictions", MODEL, suffix).values()
        for path in paths
        for record in read_segment(path)
        if record is not None
    }


def is_in_log(home: Path, ids: list[str]) -> Callable[[], bool]:
    return lambda: set(ids) <= logged(home)


def test_versions_change_under_load_and_no_request_fails(platform: TemporaryPlatform) -> None:
    with load(platform) as made:
        for _ in range(ROUNDS):
            promote(platform, 2)
            assert platform.local.roll_back(MODEL).now == 1
            eventually(lambda: in_force(platform) == (1, None))
    assert made.failed == []
    eventually(is_in_log(platform.launched.home, made.ids))


def test_control_is_away_and_serving_goes_on(
    platform: TemporaryPlatform, record_testsuite_property: Callable[[str, object], None]
) -> None:
    control = platform.launched.processes()["control"].pid
    with load(platform) as made:
        os.kill(control, signal.SIGSTOP)
        try:
            eventually(lambda: state(platform).control_away)
            before = len(made.ids)
            time.sleep(AWAY_S)
            assert len(made.ids) > before
        finally:
            os.kill(control, signal.SIGCONT)
        eventually(lambda: not state(platform).control_away)
        promote(platform, 2)  # and it follows again
    assert made.failed == []
    record_testsuite_property("answered", len(made.ids))  # --junit-xml shows it
    assert platform.local.roll_back(MODEL).now == 1
    eventually(lambda: in_force(platform) == (1, None))
    (route,) = platform.local.transport.call("GET", "/api/v1/routes", returns=list[dict[str, object]])
    assert route["default"] == 0.5  # the declared answer stays through all of it


def test_a_gateway_is_killed_under_load_and_control_is_told_of_the_loss(platform: TemporaryPlatform) -> None:
    home = platform.launched.home
    boot = platform.local.gateways()[0].boot
    with load(platform) as made:
        platform.launched.kill("gateway-1")
    eventually(lambda: any(each.boot != boot for each in platform.local.gateways()))
    (gateway,) = platform.local.gateways()
    missing = set(made.ids) - logged(home)
    assert len(missing) <= gateway.predictions_lost
    assert missing <= set(made.ids[-gateway.predictions_lost - 8 :])
    assert len(missing) < len(made.ids)
    eventually(lambda: is_healthy(platform))
    with load(platform) as again:
        pass
    assert again.failed == []
