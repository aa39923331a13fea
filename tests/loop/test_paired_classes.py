"""Versions with three classes in shadow on a whole platform: what became of the requests takes one back."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from tests.serving import models
from tests.serving.gateway.test_process import eventually

from headrace.delivery.machine import Phase
from headrace.delivery.nouns import Release, ReleaseAction
from headrace.testing.platform import TemporaryPlatform, temporary_platform

from . import elsewhere
from .test_loading import register
from .test_paired import MODEL, REQUESTS, answers, predict, routed

pytestmark = pytest.mark.loop

KINDS = ("low", "middle", "high")
DELIVERY = """
    shadow=hr.Shadow(
        units=50,
        quality=hr.PairedLoss(
            "log_loss", margin=0.4, feedback="kind", matures_after="1s", classes=["low", "middle", "high"]
        ),
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


def model(*, shifted: bool = False) -> LogisticRegression:
    """Gives each of the classes a probability; a shifted one takes each for the next."""
    data = models.features()
    kinds = np.digitize(data[:, 0], [-0.5, 0.5])
    return LogisticRegression(C=100.0).fit(data, (kinds + shifted) % 3)


def deliver(platform: TemporaryPlatform, number: int, phase: Phase) -> Release:
    """Put a version into shadow, ask, and say of which kind each was."""
    local = platform.local
    release = local.open_release(MODEL, number)
    eventually(lambda: routed(platform) == (1, release.id))
    items = []
    for purchases, spend in np.random.default_rng(number).normal(size=(2 * REQUESTS, 2)).tolist():
        told = predict(platform, purchases, spend).json()
        assert len(told["predictions"][0]) == len(KINDS)
        kind = KINDS[int(np.digitize(purchases, [-0.5, 0.5]))]
        items.append({"prediction_id": told["prediction_ids"][0], "name": "kind", "value": kind})
    assert httpx.post(f"{platform.gateway_url}/feedback", json=items, timeout=30).status_code == 202
    return local.wait_for(
        lambda: local.release(release.id),
        lambda now: now.phase is phase and (now.state.final or (now.state.step or 0) > 0),
        "the outcomes",
    )


def test_outcomes_of_three_classes_take_one_version_back_and_let_another_go_on(tmp_path: Path) -> None:
    with temporary_platform(tmp_path / "home", {"HEADRACE_OPTIMIZE": "0"}) as platform:
        local = platform.local
        elsewhere.apply(local, tmp_path / "project", model=MODEL, delivery=DELIVERY)
        for number, shifted in ((1, False), (2, True), (3, False)):
            register(local, MODEL, models.write_model(tmp_path / str(number), model(shifted=shifted)))
        first = local.open_release(MODEL, 1)
        local.wait_for(lambda: local.release(first.id), lambda now: now.phase is Phase.ROLLING_OUT, "traffic")
        local.command_release(first.id, ReleaseAction.PROMOTE)
        local.wait_for(lambda: local.release(first.id), lambda now: now.phase is Phase.COMPLETED, "the end")
        eventually(lambda: answers(platform))
        worse = deliver(platform, 2, Phase.ROLLED_BACK)
        assert worse.reason.startswith("the log loss is worse than production's by more than 0.4")
        eventually(lambda: routed(platform) == (1, None))
        good = deliver(platform, 3, Phase.ROLLING_OUT)
        assert good.quality is not None
        assert (good.quality.verdict, good.quality.incomplete) == ("ADVANCE", 0)
        assert good.quality.difference == pytest.approx(0.0)
