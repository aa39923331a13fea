"""The platform's own doors: the clock, and a job's life over HTTP."""

import asyncio
import hashlib

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from headrace.kernel import events, jobs
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Handling, Job, JobKind
from headrace.kernel.sqlite import SqliteDatabase

from .conftest import SYSTEM


class Order(msgspec.Struct, frozen=True, kw_only=True):
    number: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    total: int


BAKE: JobKind[Order, Receipt] = JobKind(name="test.bake", payload=Order, result=Receipt)


def settle(tx: Tx, job: Job, receipt: Receipt) -> None:
    events.append(tx, "test.cake_baked", f"cake/{receipt.total}", {})


def test_the_clock_is_read_and_moved(client: TestClient[Litestar]) -> None:
    assert client.get("/api/v1/clock").json()["replayed"] is False
    moved = client.put("/api/v1/clock", json={"now": "1997-08-01T00:00:00Z"})
    assert moved.json() == {"now": "1997-08-01T00:00:00Z", "replayed": True}
    back = client.put("/api/v1/clock", json={"now": "1997-07-01T00:00:00Z"})
    assert back.status_code == 400
    assert "backwards" in back.json()["error"]["message"]


def test_a_body_that_does_not_fit_names_the_field(client: TestClient[Litestar]) -> None:
    for body in (b'{"later": 1}', b'{"now": "yesterday"}', b"[]", b"{oops"):
        answer = client.put("/api/v1/clock", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, body
        assert set(answer.json()["error"]) == {"code", "message", "where", "fix"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/api/v1/events?before={10**30}", None),
        ("GET", f"/api/v1/models/churn/versions/{10**30}", None),
        ("POST", "/api/v1/releases", f'{{"model": "churn", "number": {10**30}}}'.encode()),
        ("POST", "/api/v1/models", b'{"name": "churn", "tags": ' + b"[" * 100_000),
        ("POST", "/api/v1/models", b'{"name": "\\ud800"}'),
        ("POST", "/api/v1/runs/none/batch", b'{"metrics": [{"key": "loss", "value": NaN}]}'),
        ("POST", "/api/v1/runs/none/batch", b'{"metrics": [{"key": "loss", "value": 1e999}]}'),
        ("POST", "/api/2.0/mlflow/registered-models/create", b'{"name": "a", "tags": ' + b"[" * 100_000),
    ],
)
def test_what_nobody_can_mean_is_refused_and_no_defect(
    client: TestClient[Litestar], method: str, path: str, body: bytes | None
) -> None:
    client.post("/api/v1/models", json={"name": "churn"})
    headers = {"Content-Type": "application/json"}
    assert client.request(method, path, content=body, headers=headers).status_code == 400


def test_an_unknown_path_and_a_wrong_method_have_the_same_shape(client: TestClient[Litestar]) -> None:
    for method, path in (("GET", "/api/v1/nothing"), ("DELETE", "/api/v1/clock"), ("POST", "/nothing")):
        answer = client.request(method, path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["code"] == "NOT_FOUND"


def test_a_jobs_life_over_http(client: TestClient[Litestar], app: Litestar, database: SqliteDatabase) -> None:
    app.state.handlings[BAKE.name] = Handling(BAKE, settle)
    job_id = database.write(lambda tx: jobs.enqueue(tx, BAKE, Order(number=1)), actor="ana")
    assert client.get("/api/v1/activity").json()["jobs"] == 1

    claim = client.post("/api/v1/jobs/claim", json={"worker": "w", "kinds": [BAKE.name]}, headers=SYSTEM).json()
    assert claim["payload"] == {"number": 1}
    beat = {"lease": claim["lease"], "fraction": 0.5, "note": "in the oven"}
    assert client.post(f"/api/v1/jobs/{job_id}/heartbeat", json=beat, headers=SYSTEM).status_code == 200
    seen = client.get(f"/api/v1/jobs/{job_id}").json()
    assert seen["progress"] == {"fraction": 0.5, "note": "in the oven"}
    assert claim["lease"] not in client.get("/api/v1/jobs").text + str(seen)

    wrong = {"lease": claim["lease"], "result": {"total": "many"}}
    assert client.post(f"/api/v1/jobs/{job_id}/settle", json=wrong, headers=SYSTEM).status_code >= 400
    done = {"lease": claim["lease"], "result": {"total": 7}}
    assert client.post(f"/api/v1/jobs/{job_id}/settle", json=done, headers=SYSTEM).status_code == 200
    again = client.post(f"/api/v1/jobs/{job_id}/settle", json=done, headers=SYSTEM)
    assert again.json()["error"]["code"] == "LEASE_LOST"
    assert [event["type"] for event in client.get("/api/v1/events").json()] == ["test.cake_baked"]
    assert client.get("/api/v1/activity").json()["jobs"] == 0


def test_no_job_is_claimed_for_a_worker_that_has_gone(
    client: TestClient[Litestar], app: Litestar, database: SqliteDatabase
) -> None:
    """Else a worker that is killed while it waits takes the next job with it until the lease lapses."""
    body = msgspec.json.encode({"worker": "w", "kinds": [BAKE.name], "wait_s": 20.0})
    headers = [(b"host", b"127.0.0.1:8470"), (b"content-type", b"application/json")]
    headers += [(name.lower().encode(), value.encode()) for name, value in SYSTEM.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/api/v1/jobs/claim", "raw_path": b"/api/v1/jobs/claim", "root_path": "", "query_string": b"",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8470), "extensions": {},
        "state": {},
    }  # fmt: skip
    sent: list[dict[str, object]] = []

    async def claim_and_go() -> None:
        messages = iter([{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}])

        async def receive() -> object:
            return next(messages)

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        await asyncio.wait_for(app(scope, receive, send), 10)  # type: ignore[arg-type]

    asyncio.run(claim_and_go())
    assert sent[0]["status"] == 200
    job_id = database.write(lambda tx: jobs.enqueue(tx, BAKE, Order(number=1)), actor="ana")
    assert client.get(f"/api/v1/jobs/{job_id}").json()["state"] == "queued"


def test_a_blob_is_stored_under_its_digest_and_no_other(client: TestClient[Litestar]) -> None:
    body = b"purchases" * 100_000
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert client.put(f"/api/v1/blobs/{digest}", content=body).json()["digest"] == digest
    assert client.get(f"/api/v1/blobs/{digest}").content == body
    wrong = client.put(f"/api/v1/blobs/sha256:{'0' * 64}", content=body)
    assert wrong.status_code == 400
    assert client.get(f"/api/v1/blobs/sha256:{'0' * 64}").status_code == 404
    assert client.get("/api/v1/blobs/..%2f..%2fheadrace.db").status_code in {400, 404}


def test_the_audit_trail_verifies_over_http(client: TestClient[Litestar]) -> None:
    client.put("/api/v1/clock", json={"now": "1997-08-01T00:00:00Z"})
    report = client.post("/api/v1/audit/verify").json()
    assert report["events"] == 1
