"""Governance's door: what is asked by query, answered and refused."""

from typing import Any

from litestar import Litestar
from litestar.testing import TestClient

Shop = Any


def test_lineage_over_http(door: TestClient[Litestar], shop: Shop) -> None:
    version = shop.train()
    found = door.get("/api/v1/lineage", params={"of": "churn@1", "down": False}).json()
    assert found["subject"] == "version/churn/1"
    assert {"upstream", "relation", "downstream", "at"} == set(found["edges"][0])
    assert found["nodes"][0]["facts"]["features"] == {"activity@2": ["spend", "visits"]}
    page = door.get(
        "/api/v1/lineage/neighbours", params={"of": f"run/{version.run_id}", "direction": "down"}
    ).json()
    assert [each["node"]["subject"] for each in page["neighbours"]] == ["version/churn/1"]
    for query, status in (
        ({"of": "churn"}, 400),
        ({"of": "churn@7"}, 404),
        ({}, 400),
        ({"of": "churn@1", "depth": 99}, 400),
        ({"of": "churn@1", "depth": "x"}, 400),
    ):
        assert door.get("/api/v1/lineage", params=query).status_code == status, query  # type: ignore[arg-type]
    sideways = {"of": "churn@1", "direction": "sideways"}
    assert door.get("/api/v1/lineage/neighbours", params=sideways).status_code == 400


def test_uses_over_http(door: TestClient[Litestar], shop: Shop) -> None:
    shop.train()
    found = door.get("/api/v1/versions/uses", params={"package": "numpy>=2", "limit": 5}).json()
    assert [(use["model"], use["number"], use["stage"]) for use in found["versions"]] == [("churn", 1, "None")]
    assert found["versions"][0]["through"] == [{"subject": f"environment/{shop.NEW.digest}", "detail": "2.1.0"}]
    assert door.get("/api/v1/versions/uses").status_code == 400
    assert door.get("/api/v1/versions/uses", params={"table": "nothing"}).status_code == 404
    assert door.get("/api/v1/versions/uses", params={"table": "purchases", "cursor": "x"}).status_code == 400


def test_environments_over_http(door: TestClient[Litestar], shop: Shop) -> None:
    shop.train()
    found = door.get(f"/api/v1/environments/{shop.LOOSE.digest}").json()
    assert found["unpinned"] == {"numpy": "numpy>=1.20"}
    assert door.get("/api/v1/environments/sha256:none").status_code == 404
