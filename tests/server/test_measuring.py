"""What Prometheus reads from control."""

from litestar import Litestar
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families


def counts(client: TestClient[Litestar]) -> dict[tuple[str, str, str], float]:
    """Requests by method, route and status."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "headrace_control_request_duration_seconds_count"
    }


def test_requests_are_measured_by_route_method_and_status(client: TestClient[Litestar]) -> None:
    client.get("/health")
    client.get("/health")
    client.get("/api/v1/jobs/job_1")
    client.get("/api/v1/jobs/job_2")
    client.get("/nothing/of/this/name")
    client.post("/api/v1/clock", content=b"x", headers={"content-type": "text/plain"})
    client.request("BREW", "/health")
    found = counts(client)
    assert found["GET", "/health", "200"] == 2
    assert found["GET", "/api/v1/jobs/{job_id}", "404"] == 2
    assert not any("nothing" in part or "BREW" in part for labels in found for part in labels)
    assert counts(client)["GET", "/metrics", "200"] == 1


def test_strangers_read_no_metrics(client: TestClient[Litestar]) -> None:
    answer = client.get("/metrics", headers={"Authorization": "Bearer of-nobody"})
    assert answer.status_code == 401
