"""Tells control what this gateway holds and has counted: often while it changes, each second otherwise.

Reports are cumulative, so while control is away nothing has to be kept but the counters themselves.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from headrace.client.transport import Transport
from headrace.errors import HeadraceError
from headrace.serving.nouns import GatewayReport

REPORT_PATH = "/api/v1/gateways/report"
LOOK_S = 0.25
LONGEST_SILENCE_S = 1.0


class Reporter:
    """Sends reports from the gateway's event loop until it is stopped.

    Args:
        transport: to control.
        report: makes the present report.
        revision: a number that changes when there is something new to tell.
    """

    def __init__(
        self, transport: Transport, *, report: Callable[[], GatewayReport], revision: Callable[[], object]
    ) -> None:
        self._transport = transport
        self._report = report
        self._revision = revision
        self._told: object = None
        self._told_s = 0.0

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            if self._revision() != self._told or time.monotonic() - self._told_s >= LONGEST_SILENCE_S:
                await self.send()
            await asyncio.sleep(LOOK_S)

    async def send(self) -> bool:
        """Send one report; False when control does not take it now."""
        revision = self._revision()
        report = self._report()
        with suppress(HeadraceError):
            await asyncio.to_thread(self._transport.call, "POST", REPORT_PATH, report, returns=type(None))
            self._told, self._told_s = revision, time.monotonic()
            return True
        self._told_s = time.monotonic()
        return False
