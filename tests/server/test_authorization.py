"""Every registered route has its line in the table, and the table is obeyed."""

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from headrace.errors import InternalError
from headrace.kernel.access import Role
from headrace.protocols.mlflow.prefixes import both
from headrace.server import composition
from headrace.server.authorization import compose, plain, registered


def test_every_route_is_in_the_table_and_every_line_is_a_route(app: Litestar) -> None:
    assert sorted(composition.authorization()) == registered(app)


def test_no_route_is_open_to_everyone_but_the_probes_and_what_asks_for_a_ticket() -> None:
    open_routes = {route for route, role in composition.authorization().items() if role is None}
    ticketed = {f"PUT {path}" for path in both("mlflow-artifacts/mpu/part/{number}")}
    ticketed |= {f"{method} /approvals/{{approval_id}}/decide" for method in ("GET", "POST")}
    assert open_routes == {"GET /health", "GET /version", *ticketed}


def test_without_a_ticket_a_part_is_not_read(client: TestClient[Litestar]) -> None:
    answer = client.put("/api/2.0/mlflow-artifacts/mpu/part/1", content=b"x" * 1000)
    assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_two_rooms_cannot_name_one_route() -> None:
    with pytest.raises(InternalError, match="two rooms"):
        compose([{"GET /a/{b}": Role.VIEWER}, {"GET /a/{b:str}": Role.ADMIN}])


def test_types_of_parameters_do_not_matter() -> None:
    assert (
        plain("GET /api/v1/runs/{run_id:str}/artifacts/{path:path}") == "GET /api/v1/runs/{run_id}/artifacts/{path}"
    )


def token(client: TestClient[Litestar], name: str, *roles: str) -> dict[str, str]:
    made = client.post("/api/v1/access/principals", json={"name": name, "roles": list(roles)})
    assert made.status_code == 201, made.text
    secret = client.post(f"/api/v1/access/principals/{name}/tokens").json()["secret"]
    return {"Authorization": f"Bearer {secret}"}


def test_roles_open_their_doors_and_no_others(client: TestClient[Litestar]) -> None:
    viewer, developer = token(client, "vera", "viewer"), token(client, "dana", "developer")
    assert client.get("/api/v1/models", headers=viewer).status_code == 200
    refused = client.post("/api/v1/runs", json={}, headers=viewer)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "PERMISSION_REFUSED"
    assert "developer" in refused.json()["error"]["message"]
    assert client.post("/api/v1/runs", json={}, headers=developer).status_code == 201
    assert client.get("/api/v1/access/principals", headers=developer).status_code == 403


def test_a_head_needs_what_a_get_needs(client: TestClient[Litestar]) -> None:
    """HEAD is served for files; it must not tell a stranger which there are, and how large."""
    viewer, nobody = token(client, "vera", "viewer"), token(client, "nora", "viewer")
    assert client.delete("/api/v1/access/principals/nora/roles/viewer").status_code == 200
    developer = token(client, "dana", "developer")
    run_id = client.post("/api/v1/runs", json={}, headers=developer).json()["id"]
    address = f"/api/v1/runs/{run_id}/artifacts/a.txt"
    assert client.put(address, content=b"abc", headers=developer).status_code == 200
    for method in (client.get, client.head):
        assert method(address, headers=viewer).status_code == 200
        assert method(address, headers=nobody).status_code == 403
        assert method(address, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_role_taken_away_is_gone_at_once(client: TestClient[Litestar]) -> None:
    developer = token(client, "dana", "developer", "viewer")
    assert client.post("/api/v1/runs", json={}, headers=developer).status_code == 201
    assert client.delete("/api/v1/access/principals/dana/roles/developer").status_code == 200
    assert client.post("/api/v1/runs", json={}, headers=developer).status_code == 403


def test_the_local_caller_may_not_act_as_the_platform(client: TestClient[Litestar]) -> None:
    assert client.post("/api/v1/jobs/claim", json={"worker": "w", "kinds": []}).status_code == 403
