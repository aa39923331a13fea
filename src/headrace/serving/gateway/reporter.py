"""Tells control what this gateway holds and has counted: often while it changes, each second otherwise.

Counts are cumulative, so while control is away nothing has to be kept but the counters themselves.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from headrace.client.transport import Transport
from headrace.errors import HeadraceError
from headrace.serving.nouns import GatewayReport

REPORT_PATH = "/api/v1/gateways/report"
LOOK_S = 0.25
LONGEST_SILENCE_S = 1.0


class News(NamedTuple):
    """What there is to tell: a report is sent when one of them differs from what was last taken."""

    counted: int
    """The counters' revision; only what was counted since the last report that control took is sent again."""
    state: object


class Reporter:
    """Sends reports from the gateway's event loop until it is stopped.

    Args:
        transport: to control.
        report: makes a report with what was counted after a revision of the counters.
        news: tells the present state of what may change.
    """

    def __init__(
        self, transport: Transport, *, report: Callable[[int], GatewayReport], news: Callable[[], News]
    ) -> None:
        self._transport = transport
        self._report = report
        self._news = news
        self._taken: News | None = None
        self._tried_s = 0.0

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            if self._news() != self._taken or time.monotonic() - self._tried_s >= LONGEST_SILENCE_S:
                await self.send()
            await asyncio.sleep(LOOK_S)

    async def send(self) -> bool:
        """Send one report; False when control does not take it now."""
        news = self._news()
        report = self._report(0 if self._taken is None else self._taken.counted)
        self._tried_s = time.monotonic()
        try:
            await asyncio.to_thread(self._transport.call, "POST", REPORT_PATH, report, returns=type(None))
        except HeadraceError:
            return False
        self._taken = news
        return True
