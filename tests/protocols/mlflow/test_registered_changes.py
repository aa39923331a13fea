"""Who may change what over MLflow's protocol is asked of the policies, at every endpoint that changes anything."""

from typing import Any

import pytest

from headrace.errors import PermissionRefused
from headrace.kernel.access import Role, create_principal
from headrace.kernel.database import Database, Tx
from headrace.protocols.mlflow import registered_changes
from headrace.registry import aliases, models, policies, register, stages, versions
from headrace.registry.nouns import ModelFile, RegisterVersion, Stage
from headrace.registry.rules import Policy

pytestmark = pytest.mark.both_databases

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from

REQUESTS: dict[str, dict[str, Any]] = {
    "POST mlflow/model-versions/transition-stage": {"version": "1", "stage": "production"},
    "POST mlflow/registered-models/alias": {"alias": "champion", "version": "2"},
    "DELETE mlflow/registered-models/alias": {"alias": "champion"},
    "POST mlflow/registered-models/rename": {"new_name": "other"},
    "PATCH mlflow/registered-models/update": {"description": "new"},
    "DELETE mlflow/registered-models/delete": {},
    "POST mlflow/registered-models/set-tag": {"key": "a", "value": "c"},
    "DELETE mlflow/registered-models/delete-tag": {"key": "a"},
    "PATCH mlflow/model-versions/update": {"version": "1", "description": "new"},
    "DELETE mlflow/model-versions/delete": {"version": "1"},
    "POST mlflow/model-versions/set-tag": {"version": "1", "key": "a", "value": "c"},
    "DELETE mlflow/model-versions/delete-tag": {"version": "1", "key": "a"},
}
"""A request that changes something, for each endpoint."""

ENDPOINTS = {f"{each.method} {each.path}": each for each in registered_changes.ENDPOINTS}


@pytest.fixture
def staged(database: Database) -> Database:
    """A model with a version in Staging that has an alias and a tag, and people with one role each."""

    def make(tx: Tx) -> None:
        for role in ("viewer", "developer", "operator"):
            create_principal(tx, role[:4], [Role(role)])
        models.create(tx, "iris", tags={"a": "b"})
        for run in ("r1", "r2"):
            file = ModelFile(path="MLmodel", digest="sha256:" + "a" * 64, size_bytes=1)
            register.register_version(tx, RegisterVersion(model="iris", run_id=run, files=(file,), tags={"a": "b"}))
        aliases.set_alias(tx, "iris", "champion", 1)
        stages.transition(tx, "iris", 1, Stage.STAGING)

    database.write(make, actor="maker")
    return database


def call(database: Database, route: str, actor: str) -> None:
    endpoint = ENDPOINTS[route]
    request = endpoint.request(name="iris", **REQUESTS[route])
    database.write(lambda tx: endpoint.work(tx, request), actor=actor)


def test_every_endpoint_that_changes_something_is_tried_here() -> None:
    assert ENDPOINTS.keys() == REQUESTS.keys()


@pytest.mark.parametrize("route", REQUESTS)
def test_without_a_policy_a_developer_may_and_nobody_else(staged: Database, route: str) -> None:
    for name in ("view", "oper"):
        with pytest.raises(PermissionRefused, match="developer"):
            call(staged, route, name)
    call(staged, route, "deve")


@pytest.mark.parametrize("route", REQUESTS)
def test_under_a_policy_that_names_movers_they_may_and_nobody_else(staged: Database, route: str) -> None:
    def govern(tx: Tx) -> None:
        policies.put(tx, Policy(stage=Stage.STAGING, movers=("operator",)))
        policies.put(tx, Policy(stage=Stage.PRODUCTION, movers=("operator",)))
        policies.put(tx, Policy(alias="*", movers=("operator",)))

    staged.write(govern, actor="local")
    for name in ("view", "deve"):
        with pytest.raises(PermissionRefused, match=r"role operator to make|approvals? of the role"):
            call(staged, route, name)
    assert staged.read(lambda tx: versions.get(tx, "iris", 1)).stage is Stage.STAGING
    call(staged, route, "oper")


def test_a_refusal_has_mlflow_s_shape_and_names_the_request(door: Door, database: Database) -> None:
    database.write(lambda tx: create_principal(tx, "ana", (Role.DEVELOPER,)), actor="local")
    door("POST", "registered-models/create", name="iris")
    files = (ModelFile(path="MLmodel", digest="sha256:" + "a" * 64, size_bytes=1),)
    wanted = RegisterVersion(model="iris", run_id="r1", files=files)
    database.write(lambda tx: register.register_version(tx, wanted), actor="maker")
    database.write(lambda tx: policies.put(tx, Policy(stage=Stage.PRODUCTION, approvals=2)), actor="local")
    move = {"name": "iris", "version": "1", "stage": "Production"}
    code, message = door.fault("POST", "model-versions/transition-stage", 403, **move)
    assert code == "PERMISSION_DENIED"
    assert message.startswith(
        "iris@1 may not move to Production yet: it needs 2 approvals of the role approver and has 0. So asks"
    )
    assert "So asks the policy *: stage/Production. Request apr_" in message
    assert door.fault("POST", "model-versions/transition-stage", 403, **move)[1] == message
