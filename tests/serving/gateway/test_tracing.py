"""Spans of predictions reach a collector, with who answered and without what was asked."""

import importlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.serving import models
from tests.serving.conftest import Bench, route
from tests.serving.gateway.test_falling_back import BAD, GOOD, PATH

from headrace.errors import MissingExtra
from headrace.kernel.settings import Settings
from headrace.serving.gateway.tracing import Tracing, open_tracing

Run = Callable[[Coroutine[Any, Any, None]], None]
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Takes spans as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.received = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.received += body
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def traced(bench: Bench, collector: Collector) -> Tracing:
    """The bench's gateway sends its spans to the collector."""
    endpoint = f"http://127.0.0.1:{collector.server.server_port}"
    made = open_tracing(Settings(otlp_endpoint=endpoint), gateway="gateway-1")
    assert made is not None
    bench.gateway._tracing = made.begin
    return made


def attributes(span: Span) -> dict[str, str]:
    return {item.key: item.value.string_value or str(item.value.int_value) for item in span.attributes}


def test_a_span_goes_on_with_the_callers_trace_and_names_who_answered(
    bench: Bench, run: Run, collector: Collector, traced: Tracing
) -> None:
    async def scenario() -> None:
        await bench.settle(route(bench.version(1, models.raising_model(), lookup=False), champion=1))
        parent = f"00-{TRACE_ID}-{SPAN_ID}-01"
        assert (await bench.post(PATH, GOOD, traceparent=parent)).status == 200
        assert (await bench.post(PATH, BAD)).status == 500
        assert (await bench.post(PATH, b"{")).status == 400
        assert (await bench.post(PATH, GOOD, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00")).status == 200
        assert (await bench.post(PATH, GOOD, traceparent="nonsense")).status == 200

    run(scenario())
    traced.close()
    answered, failed, refused, alone = collector.spans  # whom the caller does not sample is not among them
    assert (answered.trace_id.hex(), answered.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert attributes(answered) == {
        "headrace.door": "invocations",
        "headrace.model": "churn",
        "headrace.version": "1",
        "headrace.arm": "champion",
        "http.response.status_code": "200",
    }
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert attributes(failed)["http.response.status_code"] == "500"
    assert (refused.status.code, attributes(refused)["http.response.status_code"]) == (
        Status.STATUS_CODE_UNSET, "400",
    )  # fmt: skip
    assert alone.trace_id.hex() != TRACE_ID
    assert b"purchases" not in collector.received


def test_it_is_off_unless_a_collector_is_named() -> None:
    assert open_tracing(Settings(), gateway="gateway-1") is None


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtra) as refused:
        open_tracing(Settings(otlp_endpoint="http://127.0.0.1:4318"), gateway="gateway-1")
    assert "headrace[tracing]" in str(refused.value)
