"""Two versions in shadow on a whole platform: feedback on the requests takes one back and lets the other go on."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
from tests.serving import models
from tests.serving.gateway.test_process import eventually

from headrace.delivery.machine import Phase
from headrace.delivery.nouns import Release, ReleaseAction
from headrace.testing.platform import TemporaryPlatform, temporary_platform

from . import elsewhere
from .test_loading import register

pytestmark = pytest.mark.loop

MODEL = "churn"
REQUESTS = 120
DELIVERY = """
    shadow=hr.Shadow(
        units=50, quality=hr.PairedLoss("error", margin=0.2, feedback="label", matures_after="1s")
    ),
    rollout=hr.Canary(
        [50, 100],
        tolerance=0.1,
        invalid_tolerance=None,
        fallback_tolerance=None,
        minimum_time="1s",
        cooling="1s",
    ),
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    """The first of three versions is in production; the second decides the other way, the third as the first."""
    folder = tmp_path_factory.mktemp("paired")
    with temporary_platform(folder / "home", {"HEADRACE_OPTIMIZE": "0"}) as running:
        local = running.local
        elsewhere.apply(local, folder / "project", model=MODEL, delivery=DELIVERY)
        for number, flip in ((1, False), (2, True), (3, False)):
            register(local, MODEL, models.write_model(folder / str(number), models.binary_model(flip=flip)))
        release = local.open_release(MODEL, 1)
        local.wait_for(lambda: local.release(release.id), lambda now: now.phase is Phase.ROLLING_OUT, "traffic")
        local.command_release(release.id, ReleaseAction.PROMOTE)
        local.wait_for(lambda: local.release(release.id), lambda now: now.phase is Phase.COMPLETED, "the end")
        eventually(lambda: answers(running))
        yield running


def predict(platform: TemporaryPlatform, purchases: float, spend: float) -> httpx.Response:
    body = {"dataframe_records": [{"purchases": purchases, "spend": spend}]}
    return httpx.post(f"{platform.gateway_url}/models/{MODEL}/invocations", json=body, timeout=30)


def answers(platform: TemporaryPlatform) -> bool:
    return predict(platform, 0.0, 0.0).status_code == 200


def routed(platform: TemporaryPlatform) -> tuple[int | None, str | None]:
    """Champion and release of the route that the gateway applies."""
    (route,) = httpx.get(f"{platform.gateway_url}/api/v1/gateway", timeout=30).json()["routes"]
    return route["champion"], route["release_id"]


def judge(platform: TemporaryPlatform, number: int, is_through: Callable[[Release], bool]) -> Release:
    """Put a version into shadow, ask, and say that production was right each time."""
    local = platform.local
    release = local.open_release(MODEL, number)
    eventually(lambda: routed(platform) == (1, release.id))
    rows = np.random.default_rng(number).normal(size=(REQUESTS, 2))
    items = []
    for purchases, spend in rows.tolist():
        told = predict(platform, purchases, spend).json()
        items.append({"prediction_id": told["prediction_ids"][0], "value": int(purchases + spend > 0)})
    assert httpx.post(f"{platform.gateway_url}/feedback", json=items, timeout=30).status_code == 202
    return local.wait_for(lambda: local.release(release.id), is_through, "the outcomes")


def test_outcomes_take_one_version_back_and_let_another_go_on(platform: TemporaryPlatform) -> None:
    worse = judge(platform, 2, lambda now: now.state.final)
    assert worse.phase is Phase.ROLLED_BACK
    assert worse.reason.startswith("the error is worse than production's by more than 0.2")
    eventually(lambda: routed(platform) == (1, None))
    good = judge(platform, 3, lambda now: (now.state.step or 0) > 0)
    assert good.phase is Phase.ROLLING_OUT
    seen = good.quality
    assert seen is not None
    assert (seen.verdict, seen.difference) == ("ADVANCE", 0.0)
    assert 25 < seen.units <= seen.units + seen.unlabelled + seen.waiting <= REQUESTS
    here = os.environ | {"HEADRACE_URL": platform.url, "COLUMNS": "160", "NO_COLOR": "1"}
    for command, part in ((["release", MODEL], "not worse than production's by 0.2"), (["status"], "outcomes")):
        told = subprocess.run(
            [sys.executable, "-m", "headrace", *command], capture_output=True, text=True, env=here, check=True
        )
        assert part in told.stdout
