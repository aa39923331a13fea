"""An A/B test on a whole platform: callers say what answers brought, and the better version takes over."""

import random
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest
from tests.serving import models

from headrace.delivery.machine import Phase
from headrace.delivery.nouns import Release, ReleaseAction
from headrace.sdk.platform import Platform
from headrace.serving.assignment import bucket
from headrace.testing.platform import TemporaryPlatform, temporary_platform

from . import elsewhere
from .test_loading import headrace, register

pytestmark = pytest.mark.loop

MODEL = "offers"
UNITS = 500
HALF = 5_000
"""Buckets that belong to a challenger with half of the units."""
BUYS = {1: 0.1, 2: 0.5, 3: 0.5}
"""How probable it is that an offer of a version is bought."""

DELIVERY = """
    rollout=hr.ABTest(
        reward="purchase", missing=0.0, matures_after="1d", minimum_time="1s", cooling="1s", slow_tolerance=None
    )
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    """Three versions of a model, the first in production."""
    folder = tmp_path_factory.mktemp("experiments")
    with temporary_platform(folder / "home", {"HEADRACE_OPTIMIZE": "0"}) as running:
        local = running.local
        elsewhere.apply(local, folder / "project", model=MODEL, delivery=DELIVERY)
        for number in BUYS:
            register(local, MODEL, models.write_model(folder / str(number), models.binary_model(flip=number == 2)))
        first = _begin(running, 1)
        local.command_release(first.id, ReleaseAction.PROMOTE, "the first")
        _wait(local, first, Phase.COMPLETED)
        yield running


def test_the_better_version_takes_over_by_itself(platform: TemporaryPlatform) -> None:
    local = platform.local
    release = _begin(platform, 2)
    _serve(platform)
    local.move_clock(local.clock().now + timedelta(days=2))  # now all of it is mature
    judged = local.wait_for(
        lambda: local.release(release.id), lambda now: now.state.weight_percent == 100, "the verdict"
    )
    seen = judged.experiment
    assert seen is not None
    assert seen.challenger_units + seen.champion_units == UNITS
    assert (seen.verdict, seen.problem) == ("ADVANCE", None)
    assert seen.difference_low > 0.0
    assert "bring more than version 1" in judged.canary[0].reason
    said = headrace(platform, "release", MODEL)
    assert "A/B test on purchase" in said
    assert "the better one" in said
    _serve(platform)  # at 100 % it is watched for faults, as any canary is
    _wait(local, release, Phase.COMPLETED)
    assert local.model(MODEL).production == 2


def test_callers_who_pin_a_version_are_noticed_and_nothing_is_decided(platform: TemporaryPlatform) -> None:
    local = platform.local
    release = _begin(platform, 3)
    _serve(platform, salt=release.id)
    local.move_clock(local.clock().now + timedelta(days=2))
    held = local.wait_for(lambda: local.release(release.id), lambda now: now.state.paused, "the alarm")
    assert held.experiment is not None
    assert (held.experiment.problem, held.experiment.verdict) == ("split", "HOLD")
    assert "callers pin a version" in held.reason
    assert (held.state.step, held.state.waited) == (0, True)
    assert "they are not" in headrace(platform, "release", MODEL)
    local.command_release(release.id, ReleaseAction.ABORT, "the test")


def test_control_that_dies_in_the_middle_loses_no_unit_and_no_reward(platform: TemporaryPlatform) -> None:
    """While units ask, while rewards are told, and while they are counted."""
    local = platform.local
    release = _begin(platform, 3)

    def die() -> None:
        platform.launched.kill("control")

    joined = local.feedback.state().joined
    at_first, bought = _serve(platform, buys={2: 0.1, 3: 0.5}, between=die)
    die()
    local.wait_for(local.feedback.state, lambda state: state.joined == joined + bought, "the join")
    local.move_clock(local.clock().now + timedelta(days=2))
    die()
    judged = local.wait_for(
        lambda: local.release(release.id), lambda now: now.state.weight_percent == 100, "the verdict"
    )
    seen = judged.experiment
    assert seen is not None
    assert seen.challenger_units + seen.champion_units == UNITS
    assert (seen.challenger_mature, seen.champion_mature) == (seen.challenger_units, seen.champion_units)
    assert (seen.verdict, seen.problem) == ("ADVANCE", None)
    total = seen.challenger_units * (seen.challenger_mean or 0) + seen.champion_units * (seen.champion_mean or 0)
    assert total == pytest.approx(at_first)
    assert local.release_history(release.id).agrees


def _begin(platform: TemporaryPlatform, number: int) -> Release:
    """Open a release and wait until the gateway obeys."""
    release = platform.local.open_release(MODEL, number)

    def in_force() -> list[int | None]:
        state = httpx.get(f"{platform.gateway_url}/api/v1/gateway", timeout=20).json()
        return [route["challenger"] for route in state["routes"]]

    platform.local.wait_for(in_force, lambda found: found == [number], "the gateway")
    return release


def _wait(local: Platform, release: Release, phase: Phase) -> None:
    local.wait_for(lambda: local.release(release.id), lambda now: now.phase is phase, phase.value)


def _serve(
    platform: TemporaryPlatform,
    *,
    salt: str | None = None,
    buys: Mapping[int, float] = BUYS,
    between: Callable[[], object] = lambda: None,
) -> tuple[int, int]:
    """Every unit asks, some twice, and says what it bought; with a salt, some pin the champion.

    Returns:
        How many bought at their first time, and how often one bought at all.
    """
    chance = random.Random(4)
    bought: list[dict[str, Any]] = []
    at_first = 0
    with httpx.Client(base_url=platform.gateway_url, timeout=30) as client:
        for place in range(UNITS):
            if place == UNITS // 2:
                between()
            unit = f"customer-{place}"
            path = f"/models/{MODEL}"
            if salt is not None and bucket(salt, MODEL, unit) < HALF and place % 2:
                path += "/versions/2"
            body = {"dataframe_records": [dict.fromkeys(models.NAMES, 0.5)]}
            for again in range(1 + (place % 5 == 0)):
                answer = client.post(f"{path}/invocations", json=body, headers={"X-Unit": unit})
                assert answer.status_code == 200, answer.text
                told = answer.json()
                if chance.random() < buys[told["versions"][0]]:
                    bought.append({"prediction_id": told["prediction_ids"][0], "name": "purchase", "value": 1})
                    at_first += not again
        assert client.post("/feedback", json=bought).status_code == 202
    return at_first, len(bought)
