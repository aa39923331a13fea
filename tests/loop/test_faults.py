"""kill -9 of each process at every boundary of a release: nothing is lost, nothing happens twice."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.cli.demonstration.traffic import live_traffic
from headrace.delivery.machine import Phase
from headrace.delivery.nouns import PipelineStatus, Release
from headrace.kernel import audit, checkpoints
from headrace.sdk.platform import Platform
from headrace.testing.platform import TemporaryPlatform, temporary_platform

from . import small_shop

pytestmark = pytest.mark.loop

NOW = datetime(2025, 10, 1, tzinfo=UTC)
MODEL = "small"
CUSTOMERS = list(range(1, small_shop.CUSTOMERS + 1))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    """A platform with the small shop applied, version 1 in production and versions 2 to 4 registered."""
    folder: Path = tmp_path_factory.mktemp("faults")
    project = small_shop.write(folder / "project")
    with temporary_platform(folder / "home") as platform:
        platform.local.move_clock(NOW)
        dana = platform.person("dana", "developer")
        dana.apply(*dana.plan(project))
        platform.local.settle()
        for strength in (1.0, 0.5, 2.0, 4.0):
            pipeline = dana.train(MODEL, params={"strength": strength}, release=False)
            ended = dana.wait_for(lambda: dana.pipeline(pipeline.id), lambda now: now.status.ended, "training")  # noqa: B023
            assert ended.status is PipelineStatus.SUCCEEDED, ended.note
        ravi = platform.person("ravi", "approver")
        assert deliver(platform, dana, ravi, 1, victim=None).phase is Phase.COMPLETED
        yield platform


def deliver(
    platform: TemporaryPlatform, dana: Platform, ravi: Platform, number: int, *, victim: str | None
) -> Release:
    """Release a version under live traffic, killing `victim` whenever the release has entered a new state."""
    release = dana.open_release(MODEL, number)
    seen: set[tuple[Phase, int | None]] = set()

    def look() -> Release:
        now = dana.release(release.id)
        state = (now.phase, now.state.step)
        if state not in seen:
            seen.add(state)
            if victim is not None and not now.state.final:
                platform.launched.kill(victim)
                dana.clock()  # answered again
            if now.phase is Phase.AWAITING_APPROVAL:
                (request,) = [item for item in ravi.approvals("requested") if item.release_id == release.id]
                ravi.decide(request.id, grant=True, reason="evidence read")
        return now

    with live_traffic(dana, MODEL, CUSTOMERS, seed=number):
        ended = dana.wait_for(look, lambda now: now.state.final, f"release of {number}", timeout_s=90)
    phases = {phase for phase, _ in seen}
    assert {Phase.AWAITING_APPROVAL, Phase.ROLLING_OUT} <= phases, phases
    return ended


@pytest.mark.parametrize(("victim", "number"), [("control", 2), ("gateway-1", 3), ("worker-1", 4)])
def test_a_release_survives_the_death_of_a_process_at_every_boundary(
    shop: TemporaryPlatform, victim: str, number: int
) -> None:
    dana = shop.person(f"dana-{number}", "developer")
    ravi = shop.person(f"ravi-{number}", "approver")
    before = shop.local.model(MODEL).production

    ended = deliver(shop, dana, ravi, number, victim=victim)

    assert ended.phase is Phase.COMPLETED, ended.reason
    assert shop.local.model(MODEL).production == number
    assert shop.local.version(MODEL, before or 0).stage == "Archived"
    happened = Counter(event.type for event in shop.local.events(subject=f"release/{ended.id}", limit=1000))
    once = [name for name, count in happened.items() if count > 1 and "step" not in name and "judged" not in name]
    assert not once, happened
    granted = [item for item in shop.local.approvals("granted") if item.release_id == ended.id]
    assert len(granted) == 1
    home = shop.launched.home
    report = audit.verify(home / "headrace.db", checkpoints.checkpoints_path(home))
    assert report.verified, report.problems
