"""The registry's door over a real database; the caller is whoever `X-Caller` names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Request
from litestar.di import Provide
from litestar.testing import TestClient

from headrace.errors import HeadraceError
from headrace.kernel import events
from headrace.kernel.access import LOCAL, Principal, Role, create_principal
from headrace.kernel.database import Transactions
from headrace.kernel.sqlite import SqliteDatabase
from headrace.kernel.tickets import open_tickets
from headrace.registry import approval_routes, approvals, routes, stages
from headrace.registry.approval import RequestApproval
from headrace.registry.nouns import Stage
from headrace.server.problems import on_headrace_error

PEOPLE = {
    "ana": Principal(id="ana", name="ana", roles=(Role.DEVELOPER, Role.APPROVER)),
    "bo": Principal(id="bo", name="bo", roles=(Role.APPROVER,)),
    "vic": Principal(id="vic", name="vic", roles=(Role.VIEWER,)),
    "local": LOCAL,
}
FILES = [{"path": "MLmodel", "digest": "sha256:" + "a" * 64, "size_bytes": 3}]


@pytest.fixture
def door(database: SqliteDatabase, tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    def principal(request: Request[Any, Any, Any]) -> Principal:
        return PEOPLE[request.headers.get("X-Caller", "ana")]

    def transactions(request: Request[Any, Any, Any]) -> Transactions:
        return Transactions(database, actor=principal(request).id)

    app = Litestar(
        [*routes.HANDLERS, *approval_routes.HANDLERS],
        dependencies={
            "transactions": Provide(transactions, sync_to_thread=False),
            "principal": Provide(principal, sync_to_thread=False),
            "tickets": Provide(lambda: open_tickets(tmp_path), sync_to_thread=False),
        },
        exception_handlers={HeadraceError: on_headrace_error},
        openapi_config=None,
    )
    with TestClient(app) as client:
        yield client


@pytest.fixture
def version(door: TestClient[Litestar]) -> dict[str, Any]:
    body = {"model": "churn", "run_id": "r1", "artifact_prefix": "model", "files": FILES}
    answer = door.post("/api/v1/models/churn/versions", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_version_is_registered_and_read_back(door: TestClient[Litestar], version: dict[str, Any]) -> None:
    assert (version["number"], version["author"], version["stage"]) == (1, "ana", "None")
    assert door.get("/api/v1/models/churn/versions/1").json() == version
    details = door.get("/api/v1/models/churn").json()
    assert (details["model"]["name"], details["production"], len(details["versions"])) == ("churn", None, 1)
    assert [model["name"] for model in door.get("/api/v1/models?contains=hur").json()] == ["churn"]


def test_searches(door: TestClient[Litestar], version: dict[str, Any]) -> None:
    def found(what: str, **query: object) -> Any:
        answer = door.post(f"/api/v1/{what}/search", json=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert found("versions", filter="stage = 'None' AND NOT alias = 'champion'", limit=1) == {
        "versions": [version],
        "next_cursor": "",
    }
    assert [model["name"] for model in found("models", filter="name ILIKE '%CHURN%'")["models"]] == [
        version["model"]
    ]
    assert door.post("/api/v1/models/search", json={"filter": "nothing = 'x'"}).status_code == 400


def test_what_is_not_there_is_404_with_a_code(door: TestClient[Litestar]) -> None:
    answer = door.get("/api/v1/models/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_history_tells_what_was_in_production(
    door: TestClient[Litestar], version: dict[str, Any], database: SqliteDatabase
) -> None:
    database.write(lambda tx: stages.transition(tx, "churn", 1, Stage.PRODUCTION, "because"), actor="bo")
    history = door.get("/api/v1/models/churn/history").json()
    assert (history["production"], history["changes"][0]["reason"]) == (1, "because")
    before = door.get("/api/v1/models/churn/history", params={"at": "2025-01-01T00:00:00Z"}).json()
    assert (before["production"], before["changes"]) == (None, [])
    today = door.get("/api/v1/models/churn/history", params={"at": "2026-01-01", "limit": 1}).json()
    assert (today["production"], today["since"]["actor"]) == (1, "bo")
    assert today["at"] == history["at"]  # the end of the day is still to come
    yesterday = door.get("/api/v1/models/churn/history", params={"at": "2025-12-31"}).json()
    assert (yesterday["production"], yesterday["at"]) == (None, "2025-12-31T23:59:59.999999Z")
    refused = door.get("/api/v1/models/churn/history", params={"at": "yesterday"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "INVALID_INPUT")


def test_an_owner_is_named_by_another(door: TestClient[Litestar], version: dict[str, Any]) -> None:
    path = "/api/v1/models/churn/versions/1"
    changed = door.patch(path, json={"owner": "team growth"}, headers={"X-Caller": "bo"})
    assert (changed.status_code, changed.json()["owner"], changed.json()["author"]) == (200, "team growth", "ana")
    assert door.patch(path, json={"tags": {"a": "b"}}).json()["owner"] == "team growth"
    assert door.get(path).json()["tags"] == {"a": "b"}
    assert door.patch(path, json={"owner": " "}).status_code == 400


def test_a_refused_attempt_is_on_record_and_a_second_person_decides(
    door: TestClient[Litestar], version: dict[str, Any], database: SqliteDatabase
) -> None:
    asked = RequestApproval(model="churn", number=1, release_id="rel_1", expires_s=60)
    approval = database.write(lambda tx: approvals.request(tx, asked), actor="ana")
    path = f"/api/v1/approvals/{approval.id}/decision"
    for caller, code in [("ana", "POLICY_REFUSED"), ("local", "POLICY_REFUSED"), ("vic", "PERMISSION_REFUSED")]:
        answer = door.post(path, json={"grant": True, "reason": "fine"}, headers={"X-Caller": caller})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)
    granted = door.post(path, json={"grant": True, "reason": "fine"}, headers={"X-Caller": "bo"})
    assert (granted.status_code, granted.json()["decided_by"]) == (200, "bo")
    found = database.read(lambda tx: events.of_subject(tx, f"approval/{approval.id}"))
    assert [(event.type.removeprefix("registry.approval_"), event.actor) for event in found] == [
        ("requested", "ana"),
        ("attempt_refused", "ana"),
        ("attempt_refused", "local"),
        ("attempt_refused", "vic"),
        ("granted", "bo"),
    ]
    assert door.get("/api/v1/approvals?status=granted").json()[0]["id"] == approval.id
    assert door.get("/api/v1/approvals?status=requested").json() == []


def test_policies_over_http(door: TestClient[Litestar], version: dict[str, Any]) -> None:
    policy = {"model": "churn", "stage": "Production", "approvals": 2, "movers": ["operator"], "expires": "3d"}
    answer = door.put("/api/v1/policies", json=policy)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["set_by"], answer.json()["valid_for"]) == ("ana", "30d")
    assert [each["approvals"] for each in door.get("/api/v1/policies").json()] == [2]
    found = door.get("/api/v1/policies/churn").json()
    assert (found["is_open"], found["says"]) == (False, "governed: stage/Production")
    assert door.get("/api/v1/policies/*").json()["is_open"]
    assert door.put("/api/v1/policies", json={"model": "churn"}).json()["error"]["where"] == "stage"
    assert door.put("/api/v1/policies", json={**policy, "stage": "Live"}).status_code == 400
    assert door.delete("/api/v1/policies/churn?stage=Staging").status_code == 404
    assert door.delete("/api/v1/policies/churn").json()["error"]["where"] == "stage"
    assert door.delete("/api/v1/policies/churn?stage=Production").json()["approvals"] == 2
    history = door.get("/api/v1/policies/churn/history").json()
    assert [event["type"] for event in history] == ["registry.policy_set", "registry.policy_removed"]


def test_asking_taking_back_and_withdrawing_over_http(
    door: TestClient[Litestar], version: dict[str, Any], database: SqliteDatabase
) -> None:
    database.write(lambda tx: create_principal(tx, "bo", [Role.APPROVER]), actor="local")
    door.put("/api/v1/policies", json={"model": "churn", "alias": "champ*", "approvals": 1})
    wish = {"model": "churn", "number": 1, "target": "alias/champion", "why": "the best so far"}
    asked = door.post("/api/v1/approvals", json=wish)
    assert asked.status_code == 201, asked.text
    assert (asked.json()["target"], asked.json()["why"]) == ("alias/champion", "the best so far")
    assert door.post("/api/v1/approvals", json=wish).json()["id"] == asked.json()["id"]
    path = f"/api/v1/approvals/{asked.json()['id']}"
    caller = {"X-Caller": "bo"}
    granted = door.post(f"{path}/decision", json={"grant": True, "meaning": "yes", "via": "cli"}, headers=caller)
    assert (granted.json()["status"], granted.json()["decisions"][0]["via"]) == ("granted", "cli")
    forged = door.post(f"{path}/decision", json={"grant": True, "meaning": "yes", "via": "link"}, headers=caller)
    assert forged.status_code == 400
    back = door.post(f"{path}/revoke", json={"reason": "seen too late"}, headers=caller)
    assert (back.json()["status"], back.json()["reason"]) == ("requested", "seen too late")
    link = door.post(f"{path}/links", json={"principal": "bo"}, headers=caller)
    assert (link.status_code, link.json()["principal"]) == (201, "bo")
    assert door.post(f"{path}/withdraw", json={}).json()["status"] == "withdrawn"
    assert door.get(path).json()["status"] == "withdrawn"
