"""Keys, names and files in any alphabet over our own door: kept exactly, listed, downloaded."""

from urllib.parse import quote

import pytest
from litestar import Litestar
from litestar.testing import TestClient

pytestmark = pytest.mark.both_databases

KEYS = ["потеря", "損失/訓練", "خسارة", "אבדן", "caf\u00e9", "a b.c-d_e:f", ".a", "𠮷" * 250]
FILES = ["🚀.txt", "👩\u200d💻", "cafe\u0301", "caf\u00e9", "हानि/ขาดทุน", "خسارة", "a\u200fb", "a;b&c=d?e+f"]


def test_what_is_logged(door: TestClient[Litestar]) -> None:
    run_id = door.post("/api/v1/runs", json={"experiment": "опыт 🚀", "name": "прогон\n\u200f"}).json()["id"]
    address = f"/api/v1/runs/{run_id}"
    batch = {
        "metrics": [{"key": key, "value": number} for number, key in enumerate(KEYS)],
        "params": {key: key * 3 for key in KEYS},
        "tags": {key: key for key in KEYS},
    }
    assert door.post(f"{address}/batch", json=batch).status_code == 200
    run = door.get(address).json()
    assert (run["name"], run["params"], run["tags"]) == ("прогон\n\u200f", batch["params"], batch["tags"])
    assert {key: found["value"] for key, found in run["metrics"].items()} == dict(zip(KEYS, range(8), strict=True))
    for number, key in enumerate(KEYS):
        points = door.get(f"{address}/metrics/{quote(key)}").json()["points"]
        assert [(point["key"], point["value"]) for point in points] == [(key, number)]
        wanted = {"filter": f"metrics.`{key}` = {number} AND params.`{key}` = '{key * 3}'"}
        page = door.post("/api/v1/runs/search", json=wanted | {"select": {"metrics": [key], "params": []}}).json()
        assert [each["id"] for each in page["runs"]] == [run_id]
        assert [*page["runs"][0]["metrics"]] == [key]
    (experiment,) = door.get("/api/v1/experiments", params={"name": "опыт 🚀"}).json()["experiments"]
    assert (experiment["id"], experiment["name"]) == (run["experiment_id"], "опыт 🚀")


def test_files(door: TestClient[Litestar]) -> None:
    run_id = door.post("/api/v1/runs", json={"experiment": "churn"}).json()["id"]
    address = f"/api/v1/runs/{run_id}/artifacts"
    for number, name in enumerate(FILES):
        stored = door.put(f"{address}/{quote(name)}", content=str(number).encode())
        assert (stored.status_code, stored.json()["path"]) == (200, name)
    for number, name in enumerate(FILES):
        assert door.get(f"{address}/{quote(name)}").content == str(number).encode()
    listed = {entry["path"] for entry in door.get(address).json()}
    assert listed == {name.partition("/")[0] for name in FILES}
    assert [entry["path"] for entry in door.get(address, params={"folder": "हानि"}).json()] == ["हानि/ขาดทุน"]
