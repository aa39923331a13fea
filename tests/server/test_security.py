"""What a browser on another site, a stranger on the network, or a forged header can reach: nothing."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from headrace.kernel.settings import Settings
from headrace.kernel.sqlite import SqliteDatabase

from .conftest import SYSTEM, SYSTEM_TOKEN, URL, build

CLAIM = {"worker": "worker-1", "kinds": ["features.ingest"]}


def test_a_form_of_another_site_is_refused(client: TestClient[Litestar]) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        answer = client.put("/api/v1/clock", json={"now": "1997-08-01T00:00:00Z"}, headers=headers)
        assert answer.status_code == 403, headers
    assert (
        client.put("/api/v1/clock", json={"now": "1997-08-01T00:00:00Z"}, headers={"Origin": URL}).status_code
        == 200
    )


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "image/png",
        "text/json",
    ],
)
def test_a_body_that_is_no_json_is_refused(client: TestClient[Litestar], kind: str) -> None:
    answer = client.post("/api/v1/runs", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert answer.json()["error"]["where"] == "Content-Type"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "headrace.internal:8470",
        "",
        "[::1",
        "127.0.0.1]",
    ],
)
def test_another_name_for_this_machine_is_refused(client: TestClient[Litestar], host: str) -> None:
    assert client.get("/api/v1/models", headers={"Host": host}).status_code == 403


def test_a_bad_token_is_never_the_local_caller(client: TestClient[Litestar]) -> None:
    basic = base64.b64encode(b"user:hdr_wrong").decode()
    for value in (
        "Bearer hdr_wrong",
        "Bearer ",
        "Bearer",
        f"Basic {basic}",
        "Basic %%%",
        "Basic \u00e9",
        f"Bearer {SYSTEM_TOKEN}x",
    ):
        headers = [(b"Authorization", value.encode())]
        answer = client.get("/api/v1/models", headers=headers)
        assert answer.status_code == 401, value
        assert "hdr_wrong" not in answer.text


def test_an_unknown_scheme_is_no_login(client: TestClient[Litestar]) -> None:
    answer = client.post("/api/v1/jobs/claim", json=CLAIM, headers={"Authorization": f"Digest {SYSTEM_TOKEN}"})
    assert answer.status_code == 401


def test_the_platforms_own_processes_are_known_by_their_token(client: TestClient[Litestar]) -> None:
    assert client.post("/api/v1/jobs/claim", json=CLAIM, headers=SYSTEM).status_code == 200


def test_a_token_also_works_as_the_password_of_basic_login(client: TestClient[Litestar]) -> None:
    client.post("/api/v1/access/principals", json={"name": "dana", "roles": ["developer"]})
    secret = client.post("/api/v1/access/principals/dana/tokens").json()["secret"]
    basic = base64.b64encode(f"anything:{secret}".encode()).decode()
    answer = client.get("/api/v1/access/whoami", headers={"Authorization": f"Basic {basic}"})
    assert answer.json()["name"] == "dana"


@pytest.fixture
def exposed(database: SqliteDatabase, tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    """Bound to the network: nobody is local."""
    settings = Settings(home=tmp_path, host="0.0.0.0", system_token=SYSTEM_TOKEN)
    with TestClient(build(database, settings), base_url="http://platform.example:8470") as client:
        yield client


def test_on_the_network_nobody_is_local(exposed: TestClient[Litestar]) -> None:
    answer = exposed.get("/api/v1/models")
    assert answer.status_code == 401
    assert "token" in answer.json()["error"]["fix"]
    assert exposed.get("/health").status_code == 200
    assert exposed.get("/").status_code == 401


def test_a_host_that_cannot_be_read_is_no_defect(exposed: TestClient[Litestar]) -> None:
    for host in ("[::1", "127.0.0.1]"):
        assert exposed.get("/api/v1/nothing", headers={"Host": host, **SYSTEM}).status_code == 404
        assert exposed.get("/api/2.0/mlflow/nothing", headers={"Host": host, **SYSTEM}).status_code == 501
        origin = {"Host": host, "Origin": f"http://{host}"}
        assert exposed.post("/api/v1/runs", json={}, headers={**origin, **SYSTEM}).status_code == 403


def test_a_defect_tells_the_caller_nothing(client: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tx: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("headrace.kernel.business_time.read", broken)
    answer = client.get("/api/v1/clock")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "INTERNAL_ERROR"
    assert "secret" not in answer.text
