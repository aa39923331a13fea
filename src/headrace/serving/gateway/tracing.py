"""Spans of predictions for OpenTelemetry, where an OTLP endpoint is set; without one, nothing of it is loaded.

A span says which model, version and arm answered and with what status; never what was asked or answered. It goes on
with the caller's trace (`traceparent`), and obeys the caller's decision whether to keep it.
"""

import importlib
from collections.abc import Callable
from typing import Any

from headrace.errors import MissingExtra
from headrace.kernel.settings import Settings
from headrace.serving.gateway.doors import Headers, Trace
from headrace.version import VERSION

Begin = Callable[[str, Headers], Trace]
TRACES_PATH = "/v1/traces"
EXPORT_TIMEOUT_S = 2
"""A collector that is away must not keep a gateway from ending."""
SPAN_NAME = "headrace.predict"


class Tracing:
    """Begins spans and sends them from a thread of its own.

    Args:
        provider: OpenTelemetry's tracer provider.
    """

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("headrace", VERSION)
        propagation = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
        self._propagator = propagation.TraceContextTextMapPropagator()
        api = importlib.import_module("opentelemetry.trace")
        self._server = api.SpanKind.SERVER
        self._failed = api.Status(api.StatusCode.ERROR)

    def begin(self, path: str, headers: Headers) -> Trace:
        """The span of a request."""
        parent = None
        given = headers.get("traceparent")
        if given is not None:
            carrier = {"traceparent": given, "tracestate": headers.get("tracestate") or ""}
            parent = self._propagator.extract(carrier)
        door = "openinference" if path.startswith("/v2") else "invocations"
        span = self._tracer.start_span(
            SPAN_NAME, context=parent, kind=self._server, attributes={"headrace.door": door}
        )
        return _Span(span, self._failed)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


class _Span:
    __slots__ = ("_failed", "_span")

    def __init__(self, span: Any, failed: Any) -> None:
        self._span = span
        self._failed = failed

    def tell(self, model: str, version: int | None, arm: str) -> None:
        """Who answered, or should have; several for a request that several versions answer."""
        attributes = {"headrace.model": model, "headrace.arm": str(arm)}
        if version is not None:
            attributes["headrace.version"] = str(version)
        self._span.add_event("answered", attributes)
        for name, value in attributes.items():
            self._span.set_attribute(name, value)

    def end(self, status: int) -> None:
        """The request is answered."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(self._failed)
        self._span.end()


def open_tracing(settings: Settings, *, gateway: str) -> Tracing | None:
    """Tracing to the endpoint of the settings; None where none is set.

    Raises:
        MissingExtra: the packages for it are not installed.
    """
    if not settings.otlp_endpoint:
        return None
    try:
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        export = importlib.import_module("opentelemetry.sdk.trace.export")
        resources = importlib.import_module("opentelemetry.sdk.resources")
        otlp = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError as error:
        raise MissingExtra(
            "sending traces needs packages that are not installed",
            where="HEADRACE_OTLP_ENDPOINT",
            fix="pip install 'headrace[tracing]'",
        ) from error
    resource = resources.Resource.create(
        {"service.name": "headrace-gateway", "service.version": VERSION, "service.instance.id": gateway}
    )
    provider = sdk.TracerProvider(resource=resource, shutdown_on_exit=False)
    endpoint = settings.otlp_endpoint.rstrip("/") + TRACES_PATH
    exporter = otlp.OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(export.BatchSpanProcessor(exporter))
    return Tracing(provider)
