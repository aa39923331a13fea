"""Whether the platform has anything left to do: what a replay waits for before it moves the clock on."""

from collections.abc import Sequence

import msgspec

from headrace.kernel import jobs, schedules, subscriptions
from headrace.kernel.database import Tx
from headrace.kernel.subscriptions import Subscriber


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """Work that is due now.

    Attributes:
        jobs: due or under way; those that wait for a time to come do not count.
        subscribers: names of those that have events before them.
        schedules_due: whether a schedule has a firing that is not enqueued yet.
    """

    jobs: int
    subscribers: list[str]
    schedules_due: bool

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do at the present business time."""
        return not self.jobs and not self.subscribers and not self.schedules_due


def read(tx: Tx, subscribers: Sequence[Subscriber]) -> Activity:
    """What is due in this workspace, on one snapshot."""
    return Activity(
        jobs=jobs.unfinished(tx),
        subscribers=[subscriber.name for subscriber in subscribers if subscriptions.behind(tx, subscriber)],
        schedules_due=schedules.due(tx),
    )
