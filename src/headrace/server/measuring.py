"""Measures control's requests by route, method and status, and tells them in Prometheus's words."""

import time
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, ProcessCollector, generate_latest

STREAMS = frozenset({"/api/v1/routes/stream"})
"""They last as long as whoever listens."""
ELSEWHERE = "other"
"""The route of what is answered past the router, or not at all: names from outside make no series."""


class Measuring:
    """An ASGI application that measures the one behind it.

    Args:
        measured: what answers.
    """

    def __init__(self, measured: ASGIApp) -> None:
        self._measured = measured
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._durations = Histogram(
            "headrace_control_request_duration_seconds",
            "Requests to control, from the first byte to the last of the answer.",
            labelnames=("method", "route", "status"),
            registry=self._registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and take the time."""
        if scope["type"] != ScopeType.HTTP or scope["path"] in STREAMS:
            await self._measured(scope, receive, send)
            return
        began_s = time.perf_counter()
        status = 500

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._measured(scope, receive, told)
        finally:
            facts: dict[str, Any] = dict(scope)
            route = str(facts.get("path_template") or ELSEWHERE)
            method = str(facts["method"]) if facts["method"] in METHODS else ELSEWHERE
            self._durations.labels(method, route, str(status)).observe(time.perf_counter() - began_s)

    def tell(self) -> tuple[bytes, str]:
        """The text, and its type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
