"""The whole platform on PostgreSQL: the same processes, the same project, one setting changed."""

from pathlib import Path

import pytest

from headrace.delivery.machine import Phase
from headrace.testing.platform import temporary_platform

from . import small_shop

pytestmark = pytest.mark.loop


def test_a_version_reaches_production_though_control_is_killed(tmp_path: Path, empty_postgresql: str) -> None:
    project = small_shop.write(tmp_path / "project")
    with temporary_platform(tmp_path / "home", {"HEADRACE_DATABASE": empty_postgresql}) as platform:
        dana = small_shop.open_shop(platform, project)
        number = small_shop.train(dana, 1.0)
        ravi = platform.person("ravi", "approver")
        ended = small_shop.deliver(platform, dana, ravi, number, victim="control")
        assert ended.phase is Phase.COMPLETED, ended.reason
        assert platform.local.model(small_shop.MODEL).production == number
        report = platform.local.verify_audit()
        assert report.verified, report.problems
        assert report.events > 40
        assert not (tmp_path / "home" / "headrace.db").exists()
