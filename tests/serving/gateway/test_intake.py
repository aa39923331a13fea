"""What a gateway has under way at once is bounded."""

import pytest

from headrace.errors import Overloaded
from headrace.serving.gateway.intake import Intake


def test_requests_beyond_the_limit_are_turned_away_until_others_end() -> None:
    intake = Intake(requests=2)
    intake.enter()
    intake.enter()
    with pytest.raises(Overloaded) as refused:
        intake.enter()
    assert refused.value.retry_after_s >= 1
    assert (intake.requests, intake.turned_away) == (2, 1)
    intake.leave()
    intake.enter()


def test_large_bodies_are_bounded_together() -> None:
    intake = Intake(size_bytes=100)
    intake.hold(60)
    with pytest.raises(Overloaded):
        intake.hold(41)
    intake.hold(40)
    intake.release(60)
    intake.hold(60)
    assert (intake.size_bytes, intake.turned_away) == (100, 1)
