"""Every route that is served, ours and MLflow's, asked with a token of each role: who may pass is written here.

The table is written by hand and shares nothing with the tables in the rooms: a route without a line here fails, and
so does a line without a route. docs/roles.md tells the same to people.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from headrace.kernel import access
from headrace.kernel.access import Role
from headrace.kernel.database import Tx
from headrace.kernel.settings import Settings
from headrace.kernel.sqlite import SqliteDatabase
from headrace.protocols.mlflow.prefixes import both
from headrace.protocols.mlflow.routes import ENDPOINTS
from headrace.registry import aliases, approvals, models, register
from headrace.registry.approval import RequestApproval
from headrace.registry.nouns import ModelFile, RegisterVersion
from headrace.server import control
from headrace.server.authorization import plain, registered
from headrace.server.resources import open_resources

from .conftest import SYSTEM_TOKEN

# A path without a slash at its beginning is MLflow's, and lies below both of MLflow's prefixes.

EVERYBODY = """
GET /health
GET /version
"""
"""Without a login."""

ANY_ROLE = """
POST GET /api/v1/feedback
GET /api/v1/feedback/predictions/{prediction_id}
GET /api/v1/models/{name}/feedback
POST /api/v1/predictions/queries
GET /api/v1/predictions/queries/{job_id}
DELETE /api/v1/predictions/queries/{job_id}
GET /api/v1/retention
GET /
GET /ajax-api/2.0/mlflow/get-artifact
GET /ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files
GET /ajax-api/2.0/mlflow/model-versions/get-artifact
GET /ajax-api/3.0/mlflow/server-info
GET /api
GET /api/3.0/mlflow/server-info
GET /api/openapi.json
GET /api/v1/access/whoami
GET /api/v1/activity
GET /api/v1/alerts
GET /api/v1/alerts/{alert_id}
GET /api/v1/approvals
GET /api/v1/approvals/{approval_id}
GET /approvals/{approval_id}
POST /api/v1/approvals/{approval_id}/links
POST /api/v1/approvals/{approval_id}/revoke
POST /api/v1/approvals/{approval_id}/withdraw
GET /api/v1/policies
GET /api/v1/policies/{model}
GET /api/v1/policies/{model}/history
GET /api/v1/evidence/{evidence_id}
POST /api/v1/approvals/{approval_id}/decision
POST /api/v1/approvals/{approval_id}/links
POST /api/v1/approvals/{approval_id}/revoke
POST /api/v1/approvals/{approval_id}/withdraw
POST /api/v1/audit/verify
GET /api/v1/blobs/{digest}
GET /api/v1/bundles/{digest}
GET /api/v1/clock
GET /api/v1/environments/{digest}
GET /api/v1/events
GET /api/v1/evidence/{evidence_id}
GET /api/v1/experiments
POST /api/v1/experiments/search
GET /api/v1/export/files
GET /api/v1/features
GET /api/v1/features/{kind}/{name}
GET /api/v1/gateways
POST /api/v1/import/look
POST /api/v1/import/models/look
GET /api/v1/jobs
GET /api/v1/jobs/{job_id}
GET /api/v1/lineage
GET /api/v1/lineage/neighbours
POST /api/v1/logged-models/search
GET /api/v1/models
POST /api/v1/models/search
GET /api/v1/models/{name}
GET /api/v1/models/{name}/history
GET /api/v1/models/{name}/rollback
GET /api/v1/models/{name}/versions/{number}
GET /api/v1/models/{name}/versions/{number}/evidence
GET /api/v1/models/{name}/versions/{number}/loading
GET /api/v1/monitoring/windows
GET /api/v1/pipelines
GET /api/v1/pipelines/{pipeline_id}
GET /api/v1/policies
GET /api/v1/policies/{model}
GET /api/v1/policies/{model}/history
GET /api/v1/projects
GET /api/v1/releases
GET /api/v1/releases/{release_id}
GET /api/v1/releases/{release_id}/history
GET /api/v1/routes
GET /api/v1/runs
POST /api/v1/runs/search
GET /api/v1/runs/{run_id}
GET /api/v1/runs/{run_id}/artifacts
GET /api/v1/runs/{run_id}/artifacts/{path}
GET /api/v1/runs/{run_id}/metrics/{key}
GET /api/v1/training-sets
GET /api/v1/training-sets/{training_set_id}
POST /api/v1/versions/search
GET /api/v1/versions/uses
GET /api/{path}
GET /approvals/{approval_id}
GET /get-artifact
GET /model-versions/get-artifact
GET /runs/{run_id}
GET /metrics
GET POST mlflow/experiments/search
GET POST mlflow/registered-models/get-latest-versions
GET mlflow-artifacts/artifacts
GET mlflow-artifacts/artifacts/{path}
GET mlflow-artifacts/presigned/{path}
GET mlflow/artifacts/list
POST mlflow/artifacts/presigned-download-url
GET mlflow/experiments/get
GET mlflow/experiments/get-by-name
POST mlflow/experiments/search-datasets
POST mlflow/logged-models/search
GET mlflow/logged-models/{model_id}
GET mlflow/logged-models/{model_id}/artifacts/directories
GET mlflow/metrics/get-history
GET mlflow/metrics/get-history-bulk
GET mlflow/metrics/get-history-bulk-interval
GET mlflow/model-versions/get
GET mlflow/model-versions/get-download-uri
GET mlflow/model-versions/search
GET mlflow/registered-models/alias
GET mlflow/registered-models/get
GET mlflow/registered-models/search
GET mlflow/runs/get
POST mlflow/runs/search
"""
"""Whoever has a role, whichever."""

DEVELOPER = """
POST /ajax-api/2.0/mlflow/upload-artifact
POST /api/v1/approvals
POST /api/v1/apply
POST /api/v1/approvals
PUT /api/v1/blobs/{digest}
POST /api/v1/bundles
POST /api/v1/experiments
POST /api/v1/features/refresh
POST /api/v1/models
POST /api/v1/models/{name}/versions
PATCH /api/v1/models/{name}/versions/{number}
POST /api/v1/models/{name}/versions/{number}/loading/preparation
POST /api/v1/plan
POST /api/v1/releases
POST /api/v1/runs
POST /api/v1/runs/kill
PUT /api/v1/runs/{run_id}/artifacts/{path}
POST /api/v1/runs/{run_id}/batch
POST /api/v1/runs/{run_id}/delete
POST /api/v1/runs/{run_id}/finish
POST /api/v1/runs/{run_id}/inputs
POST /api/v1/runs/{run_id}/restore
POST /api/v1/runs/{run_id}/resume
POST /api/v1/train
POST /api/v1/training-sets
DELETE PATCH mlflow/logged-models/{model_id}
DELETE PUT mlflow-artifacts/artifacts/{path}
POST mlflow-artifacts/mpu/abort/{folder}
POST mlflow-artifacts/mpu/complete/{folder}
POST mlflow-artifacts/mpu/create
POST mlflow-artifacts/mpu/create/{folder}
POST mlflow/artifacts/presigned-upload-url
POST mlflow/experiments/create
POST mlflow/experiments/delete
POST mlflow/experiments/delete-experiment-tag
POST mlflow/experiments/restore
POST mlflow/experiments/set-experiment-tag
POST mlflow/experiments/update
POST mlflow/logged-models
POST mlflow/logged-models/{model_id}/params
PATCH mlflow/logged-models/{model_id}/tags
DELETE mlflow/logged-models/{model_id}/tags/{tag_key}
POST mlflow/model-versions/create
POST mlflow/registered-models/create
POST mlflow/runs/create
POST mlflow/runs/delete
POST mlflow/runs/delete-tag
POST mlflow/runs/log-batch
POST mlflow/runs/log-inputs
POST mlflow/runs/log-metric
POST mlflow/runs/log-model
POST mlflow/runs/log-parameter
POST mlflow/runs/outputs
POST mlflow/runs/restore
POST mlflow/runs/set-tag
POST mlflow/runs/update
"""

APPROVER = """
POST /api/v1/models/{name}/versions/{number}/loading/allowance
POST /api/v1/models/{name}/versions/{number}/loading/refusal
"""

OPERATOR = """
POST /api/v1/models/{name}/rollback
POST /api/v1/releases/{release_id}/commands
"""

ADMIN = """
DELETE PUT /api/v1/retention/{data_class}
POST /api/v1/retention/erasures
POST /api/v1/access/principals/{name}/disable
POST /api/v1/access/principals/{name}/enable
DELETE /api/v1/access/tokens/{token_id}
DELETE /api/v1/policies/{model}
PUT /api/v1/policies
POST /api/v1/blobs/collect
PUT /api/v1/clock
POST /api/v1/import/experiments
POST /api/v1/import/files
POST /api/v1/import/logged-models
POST /api/v1/import/model-metrics
POST /api/v1/import/models
POST /api/v1/import/points
POST /api/v1/import/runs
PUT /api/v1/policies
DELETE /api/v1/policies/{model}
POST /api/v1/purge
POST /api/v1/runs/{run_id}/purge
GET POST /api/v1/access/principals
GET POST /api/v1/access/principals/{name}/tokens
DELETE PUT /api/v1/access/principals/{name}/roles/{role}
"""

SYSTEM = """
POST /api/v1/feedback/journal
GET /api/v1/feedback/batches/{batch}
POST /api/v1/gateways/report
POST /api/v1/jobs/abandon
POST /api/v1/jobs/claim
POST /api/v1/jobs/{job_id}/fail
POST /api/v1/jobs/{job_id}/heartbeat
POST /api/v1/jobs/{job_id}/settle
POST /api/v1/pipelines/{pipeline_id}/stages
GET /api/v1/routes/stream
"""

GOVERNED = """
DELETE mlflow/model-versions/delete
DELETE mlflow/model-versions/delete-tag
POST mlflow/model-versions/set-tag
POST mlflow/model-versions/transition-stage
PATCH mlflow/model-versions/update
POST mlflow/registered-models/alias
DELETE mlflow/registered-models/alias
DELETE mlflow/registered-models/delete
DELETE mlflow/registered-models/delete-tag
POST mlflow/registered-models/rename
POST mlflow/registered-models/set-tag
PATCH mlflow/registered-models/update
"""
"""Changes of what is registered: a policy says who may; without one, developers."""

TICKET = """
GET /approvals/{approval_id}/decide
POST /approvals/{approval_id}/decide
PUT mlflow-artifacts/mpu/part/{number}
"""
"""Without a login, for who has a ticket of the platform's own in the query."""

ROLES = tuple(role.value for role in Role)
MAY = {
    EVERYBODY: {"nobody", "none", *ROLES},
    ANY_ROLE: set(ROLES),
    DEVELOPER: {"developer", "admin", "system"},
    APPROVER: {"approver", "admin"},
    OPERATOR: {"operator", "admin"},
    ADMIN: {"admin"},
    SYSTEM: {"system"},
    GOVERNED: {"developer", "admin", "system"},
    TICKET: set(),
}
"""Who passes: `nobody` has no token, `none` has one and no role, the others have one role each."""


def routes(lines: str) -> Iterator[str]:
    for line in lines.split("\n"):
        *methods, path = line.split() or [""]
        for method in methods:
            for full in [path] if path.startswith("/") else both(path):
                yield f"{method} {full}"


TABLE = {route: allowed for lines, allowed in MAY.items() for route in routes(lines)}
ABOUT = {
    "name": "churn", "version": "1", "stage": "Staging", "archive_existing_versions": False, "key": "k",
    "value": "after", "alias": "best", "new_name": "chums", "description": "of something that there is",
}  # fmt: skip
"""What a request for a change of the registry says: there the verb asks for the role, once it knows of a change."""

PLACES = {
    "digest": "sha256:" + "0" * 64,
    "number": "1",
    "path": "a.txt",
    "role": "viewer",
    "kind": "view",
    "batch": "1",
}


@pytest.fixture
def app(database: SqliteDatabase, tmp_path: Path) -> Litestar:
    """Control as it answers the network: nobody is local."""
    settings = Settings(home=tmp_path, host="0.0.0.0", system_token=SYSTEM_TOKEN)
    resources = open_resources(settings, database)
    resources.bell.close()  # the stream of routes would have no end
    return control.build(resources)


@pytest.fixture(autouse=True)
def churn(database: SqliteDatabase) -> None:
    """A model with two versions, an alias and tags: whatever `ABOUT` says of it is a change."""

    def work(tx: Tx) -> None:
        models.create(tx, "churn", tags={"k": "before"})
        for number in (1, 2):
            file = ModelFile(path="MLmodel", digest=f"sha256:{number:064d}", size_bytes=1)
            asked = RegisterVersion(model="churn", source=f"here/{number}", files=(file,), tags={"k": "before"})
            register.register_version(tx, asked)
        aliases.set_alias(tx, "churn", "best", 2)

    database.write(work, actor="ana")


@pytest.fixture
def tokens(database: SqliteDatabase) -> dict[str, str | None]:
    """A token of each kind of caller."""
    found: dict[str, str | None] = {"nobody": None, "system": SYSTEM_TOKEN}
    for role in [*Role]:
        if role is not Role.SYSTEM:
            found[role.value] = token(database, f"only-{role.value}", role)
    found["none"] = token(database, "nora", Role.VIEWER)
    database.write(lambda tx: access.revoke_role(tx, "nora", Role.VIEWER), actor="root")
    return found


def token(database: SqliteDatabase, name: str, *roles: Role) -> str:
    database.write(lambda tx: access.create_principal(tx, name, roles), actor="root")
    return database.write(lambda tx: access.issue_token(tx, name), actor="root").secret


def request(client: TestClient[Litestar], route: str, secret: str | None) -> int:
    """The status of a request that says as little as it can."""
    method, path = route.split(" ")
    path = re.sub(r"\{(\w+)\}", lambda found: PLACES.get(found[1], "absent"), path)
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    registry = "mlflow/registered-models/" in path or "mlflow/model-versions/" in path
    body = None if method == "GET" else json.dumps(ABOUT if registry else {}).encode()
    return client.request(method, path, content=body, headers=headers).status_code


def test_every_route_has_its_line_and_every_line_its_route(app: Litestar) -> None:
    rows = {plain(f"{each.method} {path}") for each in ENDPOINTS for path in both(each.path)}
    assert sorted(TABLE) == sorted({*registered(app), *rows})


@pytest.mark.parametrize("caller", ["nobody", "none", *ROLES])
def test_who_passes(app: Litestar, tokens: dict[str, str | None], caller: str) -> None:
    wrong = {}
    with TestClient(app, base_url="http://platform.example:8470", raise_server_exceptions=False) as client:
        for route, allowed in TABLE.items():
            status = request(client, route, tokens[caller])
            refused = 401 if tokens[caller] is None and route not in OPEN else 403
            if (status in {401, 403}) != (caller not in allowed) or (status in {401, 403} and status != refused):
                wrong[route] = status
    assert not wrong


OPEN = {*routes(EVERYBODY), *routes(TICKET)}


def test_only_an_approver_decides(app: Litestar, database: SqliteDatabase, tokens: dict[str, str | None]) -> None:
    """Every role reaches the decision, so that an attempt of the wrong one is recorded before it is refused."""

    def work(tx: Tx) -> str:
        return approvals.request(tx, RequestApproval(model="churn", number=1, expires_s=60)).id

    asked = database.write(work, actor="cy")
    statuses = {}
    with TestClient(app, base_url="http://platform.example:8470") as client:
        for role in ("viewer", "developer", "operator", "system", "admin", "approver"):
            headers = {"Authorization": f"Bearer {tokens[role]}"}
            path = f"/api/v1/approvals/{asked}/decision"
            statuses[role] = client.post(path, json={"grant": True}, headers=headers).status_code
    assert statuses == {
        "viewer": 403,
        "developer": 403,
        "operator": 403,
        "system": 403,
        "admin": 200,
        "approver": 409,  # it is granted already
    }
