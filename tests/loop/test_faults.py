"""kill -9 of each process at every boundary of a release: nothing is lost, nothing happens twice."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.delivery.machine import Phase
from headrace.kernel import audit, checkpoints
from headrace.testing.platform import TemporaryPlatform, temporary_platform

from . import small_shop

pytestmark = pytest.mark.loop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    """A platform with the small shop applied, version 1 in production and versions 2 to 4 registered."""
    folder: Path = tmp_path_factory.mktemp("faults")
    project = small_shop.write(folder / "project")
    with temporary_platform(folder / "home") as platform:
        dana = small_shop.open_shop(platform, project)
        for strength in (1.0, 0.5, 2.0, 4.0):
            small_shop.train(dana, strength)
        ravi = platform.person("ravi", "approver")
        assert small_shop.deliver(platform, dana, ravi, 1, victim=None).phase is Phase.COMPLETED
        yield platform


@pytest.mark.parametrize(("victim", "number"), [("control", 2), ("gateway-1", 3), ("worker-1", 4)])
def test_a_release_survives_the_death_of_a_process_at_every_boundary(
    shop: TemporaryPlatform, victim: str, number: int
) -> None:
    dana = shop.person(f"dana-{number}", "developer")
    ravi = shop.person(f"ravi-{number}", "approver")
    before = shop.local.model(small_shop.MODEL).production

    ended = small_shop.deliver(shop, dana, ravi, number, victim=victim)

    assert ended.phase is Phase.COMPLETED, ended.reason
    assert shop.local.model(small_shop.MODEL).production == number
    assert shop.local.version(small_shop.MODEL, before or 0).stage == "Archived"
    happened = Counter(event.type for event in shop.local.events(subject=f"release/{ended.id}", limit=1000))
    once = [name for name, count in happened.items() if count > 1 and "step" not in name and "judged" not in name]
    assert not once, happened
    granted = [item for item in shop.local.approvals("used") if item.release_id == ended.id]
    assert len(granted) == 1
    home = shop.launched.home
    report = audit.verify(home / "headrace.db", checkpoints.checkpoints_path(home))
    assert report.verified, report.problems
