from datetime import UTC, datetime

import pytest

from headrace.errors import InvalidInput
from headrace.kernel.schedules import next_firing
from headrace.monitoring.firings import previous_firing


@pytest.mark.parametrize(
    ("cron", "at", "before"),
    [
        ("0 0 1 * *", datetime(1997, 9, 1, tzinfo=UTC), datetime(1997, 8, 1, tzinfo=UTC)),
        ("0 0 1 * *", datetime(1997, 9, 1, 0, 0, 1, tzinfo=UTC), datetime(1997, 9, 1, tzinfo=UTC)),
        ("0 0 1 * *", datetime(1997, 9, 1, 0, 0, 0, 5, tzinfo=UTC), datetime(1997, 9, 1, tzinfo=UTC)),
        ("*/5 * * * *", datetime(1997, 3, 1, tzinfo=UTC), datetime(1997, 2, 28, 23, 55, tzinfo=UTC)),
    ],
)
def test_windows_border_on_each_other(cron: str, at: datetime, before: datetime) -> None:
    assert previous_firing(cron, at) == before
    assert next_firing(cron, before) >= at.replace(microsecond=0)


@pytest.mark.parametrize("cron", ["soon", "0 0 31 2 *", "61 * * * *"])
def test_what_is_no_schedule_is_refused(cron: str) -> None:
    with pytest.raises(InvalidInput, match="cron"):
        previous_firing(cron, datetime(1997, 9, 1, tzinfo=UTC))
