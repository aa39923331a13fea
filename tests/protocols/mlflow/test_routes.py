"""Every path of MLflow's is answered: served, or refused by name."""

from typing import Any

import pytest
from packaging.version import Version

from headrace.kernel.access import Role
from headrace.protocols.mlflow import registered_changes, routes
from headrace.protocols.mlflow.prefixes import both

pytestmark = pytest.mark.both_databases

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from


def test_every_route_is_authorized_and_nothing_else_is() -> None:
    registered = {
        f"{method} {path}"
        for handler in routes.HANDLERS
        for path in handler.paths
        for method in handler.http_methods - {"HEAD"}  # needs what GET needs
    }
    assert registered == set(routes.AUTHORIZATION)
    assert not registered & {f"{each.method} {path}" for each in routes.ENDPOINTS for path in both(each.path)}


def test_what_writes_needs_a_developer_or_asks_the_policies() -> None:
    for endpoint in routes.ENDPOINTS:
        governed = endpoint in registered_changes.ENDPOINTS
        wanted = Role.DEVELOPER if endpoint.writes and not governed else Role.VIEWER
        assert endpoint.writes or not governed
        assert endpoint.needed is wanted
        assert (
            endpoint.writes
            or endpoint.method == "GET"
            or endpoint.path.endswith(("search", "search-datasets", "get-latest-versions"))
        )


def test_the_version_keeps_clients_from_sending_spans(door: Door) -> None:
    answer = door.client.get("/version")
    assert Version(answer.text) < Version("3.4")


def test_server_info(door: Door) -> None:
    info = door.client.get("/api/3.0/mlflow/server-info").json()
    assert info["workspaces_enabled"] is False
    assert info["multipart_uploads_enabled"] is True
    assert info["multipart_downloads_enabled"] is False


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/2.0/mlflow/prompt-optimization/jobs"),
        ("GET", "/api/2.0/mlflow/runs/create"),
        ("POST", "/api/3.0/mlflow/scorers/register"),
        ("GET", "/api/2.0/mlflow/webhooks"),
        ("POST", "/api/2.0/mlflow-artifacts/mpu/merge/x"),
        ("PATCH", "/api/2.0/mlflow-artifacts/artifacts/0/x"),
        ("PUT", "/api/2.0/mlflow/logged-models/m-1"),
        ("GET", "/api/2.0/mlflow/logged-models/m-1/nothing/at/all"),
    ],
)
def test_what_is_not_served_says_so(door: Door, method: str, path: str) -> None:
    answer = door.client.request(method, path)
    assert answer.status_code == 501
    assert answer.json()["error_code"] == "NOT_IMPLEMENTED"
    assert f"{method} {path}" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/api/3.0/mlflow/traces", "/api/2.0/mlflow/traces/tr-1/info"])
def test_clients_fall_back_to_no_traces(door: Door, path: str) -> None:
    answer = door.client.post(path, json={})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
