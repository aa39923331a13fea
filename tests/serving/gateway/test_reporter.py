"""The reporter tells what is new, again and again until control takes it."""

import asyncio
from typing import Any

from tests.conftest import START

from headrace.errors import Unavailable
from headrace.serving.gateway.reporter import News, Reporter
from headrace.serving.nouns import GatewayReport


class Transport:
    """Takes reports, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.taken: list[GatewayReport] = []

    def call(self, method: str, path: str, body: Any, *, returns: Any) -> None:
        assert (method, path, returns) == ("POST", "/api/v1/gateways/report", type(None))
        if self.away:
            raise Unavailable("control is away")
        self.taken.append(body)


def test_what_control_did_not_take_is_told_again() -> None:
    transport = Transport()
    counted = 7
    asked: list[int] = []

    def report(since: int) -> GatewayReport:
        asked.append(since)
        return GatewayReport(gateway="g", boot="b", booted_at=START, url="", applied_sequence=1)

    async def scenario() -> None:
        nonlocal counted
        reporter = Reporter(transport, report=report, news=lambda: News(counted, None))  # type: ignore[arg-type]
        assert await reporter.send()
        counted = 9
        transport.away = True
        assert not await reporter.send()
        assert not await reporter.send()
        transport.away = False
        assert await reporter.send()
        counted = 12
        assert await reporter.send()

    asyncio.run(scenario())
    assert asked == [0, 7, 7, 7, 9]
    assert len(transport.taken) == 3


def test_it_reports_at_once_when_there_is_news_and_else_only_now_and_then() -> None:
    transport = Transport()
    state = [0]

    def report(_since: int) -> GatewayReport:
        return GatewayReport(gateway="g", boot="b", booted_at=START, url="", applied_sequence=1)

    async def scenario() -> None:
        reporter = Reporter(transport, report=report, news=lambda: News(0, state[0]))  # type: ignore[arg-type]
        running = asyncio.create_task(reporter.run())
        await asyncio.sleep(0.4)
        assert len(transport.taken) == 1
        state[0] = 1
        while len(transport.taken) < 2:  # noqa: ASYNC110 - the reporter looks by itself
            await asyncio.sleep(0.01)
        running.cancel()

    asyncio.run(scenario())
