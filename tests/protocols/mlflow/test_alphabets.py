"""Keys, names, values, files in any alphabet: kept exactly, found again; what MLflow refuses is refused alike."""

import random
from typing import Any
from urllib.parse import quote

import pytest

pytestmark = pytest.mark.both_databases

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
PLAIN = ["a b", "a.b.c", "a-b_c", ".a", " a ", "x" * 250]
SHORT = ["потеря", "ПОТЕРЯ", "損失", "손실", "خسارة", "אבדן", "größe", COMPOSED, "ａ", "a²", "Ⅷ", "𝛼"]
KEYS = [*PLAIN, *SHORT, "𠮷" * 250, "train/потеря", "a:b"]
NO_KEYS = ["🚀", DECOMPOSED, "हानि", "a\u200db", "a\u200fb", "a\u00a0b", "a\tb", "a%", "a'b", 'a"b', "a`b", "."]
TEXTS = ["🚀", "👩\u200d💻", DECOMPOSED, "हानि", "ขาดทุน", "a\u200fb", "a'b", 'a"b', "100%_"]
LINES = ["\\", "line\nline\t", "\u202eabc"]
MODEL_NAMES = [*PLAIN[:5], *SHORT, *TEXTS[:4], "می\u200cخواهم", "a'b", "100%", "~7E", "a.."]
NO_MODEL_NAMES = ["", "  ", "a/b", "a:b", ".", "..", "..a", "a\nb", "a\x00b", "a\u202eb", "x" * 257]
FILES = [*PLAIN, *SHORT, *TEXTS, "a:b", "b/потеря/損失.txt", "a;b&c=d?e+f", "~", "x" * 255, "𠮷" * 63]


def sql(text: str) -> str:
    """A text as it stands in a filter."""
    return "'" + text.replace("'", "''") + "'"


def run_ids(door: Door, wanted: str) -> list[str]:
    found = door("POST", "runs/search", experiment_ids=["0"], filter=wanted).get("runs", [])
    return [run["info"]["run_id"] for run in found]


def test_keys(door: Door) -> None:
    run_id = door.run()
    door.run()
    for number, key in enumerate(KEYS):
        point = {"key": key, "value": number, "timestamp": 1}
        pair = {"key": key, "value": str(number)}
        door("POST", "runs/log-batch", run_id=run_id, metrics=[point], params=[pair], tags=[pair])
        door("POST", "experiments/set-experiment-tag", experiment_id="0", **pair)
    data = door("GET", "runs/get", run_id=run_id)["run"]["data"]
    expected = {key: str(number) for number, key in enumerate(KEYS)}
    assert {metric["key"]: str(int(metric["value"])) for metric in data["metrics"]} == expected
    assert {param["key"]: param["value"] for param in data["params"]} == expected
    assert expected.items() <= {tag["key"]: tag["value"] for tag in data["tags"]}.items()
    tags = door("GET", "experiments/get", experiment_id="0")["experiment"]["tags"]
    assert {tag["key"]: tag["value"] for tag in tags} == expected
    for number, key in enumerate(KEYS):
        (point,) = door("GET", "metrics/get-history", run_id=run_id, metric_key=key)["metrics"]
        assert (point["key"], point["value"]) == (key, number)
        for quoted in (f"`{key}`", f'"{key}"'):
            assert run_ids(door, f"metrics.{quoted} = {number}") == [run_id]
            assert run_ids(door, f"params.{quoted} = '{number}' AND tags.{quoted} = '{number}'") == [run_id]
            assert run_ids(door, f"metrics.{quoted} = {number + 1}") == []
    order = [f"metrics.`{KEYS[-2]}` DESC", f"params.`{SHORT[2]}`"]
    assert door("POST", "runs/search", experiment_ids=["0"], order_by=order)["runs"][0]["info"]["run_id"] == run_id
    for key in KEYS:
        door("POST", "runs/delete-tag", run_id=run_id, key=key)
    assert [tag["key"] for tag in door("GET", "runs/get", run_id=run_id)["run"]["data"]["tags"]] == [
        "mlflow.runName"
    ]


def test_keys_that_mlflow_refuses(door: Door) -> None:
    run_id = door.run()
    door("POST", "registered-models/create", name="iris")
    for key in NO_KEYS:
        pair = {"key": key, "value": "v"}
        point = {"key": key, "value": 1, "timestamp": 1}
        for endpoint, fields in [
            ("runs/log-metric", {"run_id": run_id, **point}),
            ("runs/log-batch", {"run_id": run_id, "metrics": [point]}),
            ("runs/log-parameter", {"run_id": run_id, **pair}),
            ("runs/set-tag", {"run_id": run_id, **pair}),
            ("runs/create", {"experiment_id": "0", "tags": [pair]}),
            ("experiments/set-experiment-tag", {"experiment_id": "0", **pair}),
            ("registered-models/set-tag", {"name": "iris", **pair}),
            ("registered-models/create", {"name": "other", "tags": [pair]}),
        ]:
            code, _ = door.fault("POST", endpoint, 400, **fields)
            assert code == "INVALID_PARAMETER_VALUE", (endpoint, key)
    data = door("GET", "runs/get", run_id=run_id)["run"]["data"]
    assert ({*data}, len(data["tags"])) == ({"tags"}, 1)


def test_values(door: Door) -> None:
    texts = [*SHORT, *TEXTS, *LINES]
    runs = {text: door.run(run_name=text) for text in texts}
    for text, run_id in runs.items():
        pair = {"key": "k", "value": text}
        door("POST", "runs/log-batch", run_id=run_id, params=[pair], tags=[pair])
    for text, run_id in runs.items():
        run = door("GET", "runs/get", run_id=run_id)["run"]
        assert run["data"]["params"] == [{"key": "k", "value": text}]
        assert run["info"]["run_name"] == text
        for what in ("params.k", "tags.k", "attributes.run_name"):
            assert run_ids(door, f"{what} = {sql(text)}") == [run_id], (what, text)
    assert run_ids(door, "params.k LIKE '%отер%'") == [runs["потеря"]]
    assert set(run_ids(door, "params.k ILIKE 'ПОТЕРЯ'")) == {runs["потеря"], runs["ПОТЕРЯ"]}
    assert run_ids(door, f"params.k LIKE '%{DECOMPOSED}%'") == [runs[DECOMPOSED]]


def test_experiment_names(door: Door) -> None:
    names = [*KEYS, *TEXTS, *LINES]
    made = {name: door("POST", "experiments/create", name=name)["experiment_id"] for name in names}
    for name, experiment_id in made.items():
        assert door("GET", "experiments/get", experiment_id=experiment_id)["experiment"]["name"] == name
        found = door("GET", "experiments/get-by-name", experiment_name=name)["experiment"]
        assert found["experiment_id"] == experiment_id
        page = door("POST", "experiments/search", filter=f"name = {sql(name)}")["experiments"]
        assert [each["experiment_id"] for each in page] == [experiment_id]
        again = door.fault("POST", "experiments/create", 400, name=name)
        assert again[0] == "RESOURCE_ALREADY_EXISTS"
    page = door("POST", "experiments/search", filter="name ILIKE 'Потеря'")["experiments"]
    assert {each["name"] for each in page} == {"потеря", "ПОТЕРЯ"}
    for name in ("", " ", "a\x00b"):
        assert door.fault("POST", "experiments/create", 400, name=name)[0] == "INVALID_PARAMETER_VALUE"


def test_model_names(door: Door) -> None:
    run_id = door.run()
    assert door.put(f"0/{run_id}/artifacts/model/MLmodel", b"flavors: {}") == 200
    for name in MODEL_NAMES:
        door("POST", "registered-models/create", name=name)
        door("POST", "model-versions/create", name=name, source=f"runs:/{run_id}/model", run_id=run_id)
        door("POST", "registered-models/alias", name=name, alias="champion", version="1")
    for name in MODEL_NAMES:
        assert door("GET", "registered-models/get", name=name)["registered_model"]["name"] == name
        page = door("GET", "registered-models/search", filter=f"name = {sql(name)}")["registered_models"]
        assert [model["name"] for model in page] == [name]
        (version,) = door("GET", "model-versions/search", filter=f"name = {sql(name)}")["model_versions"]
        assert (version["name"], version["version"], version["aliases"]) == (name, "1", ["champion"])
        uri = door("GET", "model-versions/get-download-uri", name=name, version="1")["artifact_uri"]
        assert uri.isascii()
        address = uri.replace("mlflow-artifacts:/", "/api/2.0/mlflow-artifacts/artifacts/")
        assert door.client.get(f"{address}/MLmodel").content == b"flavors: {}"
        query = {"name": name, "version": "1", "path": "MLmodel"}
        assert door.client.get("/model-versions/get-artifact", params=query).content == b"flavors: {}"
    door("POST", "registered-models/rename", name=MODEL_NAMES[0], new_name="переименована")
    assert door("GET", "model-versions/get", name="переименована", version="1")
    page = door("GET", "registered-models/search", filter="name ILIKE 'ПОТ%'")["registered_models"]
    assert {model["name"] for model in page} == {"потеря", "ПОТЕРЯ"}


def test_names_of_models_that_are_refused(door: Door) -> None:
    door("POST", "registered-models/create", name="iris")
    for name in NO_MODEL_NAMES:
        made = door.fault("POST", "registered-models/create", 400, name=name)
        renamed = door.fault("POST", "registered-models/rename", 400, name="iris", new_name=name)
        assert (made[0], renamed[0]) == ("INVALID_PARAMETER_VALUE",) * 2, ascii(name)
    door.run()
    for name in ("a/b", "a:b", "a.b", "100%", "a'b", 'a"b'):
        code, _ = door.fault("POST", "logged-models", 400, experiment_id="0", name=name)
        assert code == "INVALID_PARAMETER_VALUE", name


def test_names_of_logged_models(door: Door) -> None:
    door.run()
    for name in [*SHORT, "🚀", DECOMPOSED, "a b"]:
        made = door("POST", "logged-models", experiment_id="0", name=name)["model"]["info"]
        found = door("POST", "logged-models/search", experiment_ids=["0"], filter=f"name = {sql(name)}")["models"]
        assert [(each["info"]["model_id"], each["info"]["name"]) for each in found] == [(made["model_id"], name)]


def test_files(door: Door) -> None:
    run_id = door.run()
    root = f"0/{run_id}/artifacts"
    for number, name in enumerate(FILES):
        assert door.put(f"{root}/all/{quote(name)}", str(number).encode()) == 200, name
    for number, name in enumerate(FILES):
        content = str(number).encode()
        address = f"/api/2.0/mlflow-artifacts/artifacts/{root}/all/{quote(name)}"
        answer = door.client.get(address)
        assert (answer.status_code, answer.content) == (200, content), name
        base = name.rpartition("/")[2]
        assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quote(base, safe='')}"
        query = {"run_id": run_id, "path": f"all/{name}"}
        assert door.client.get("/get-artifact", params=query).content == content
    listed: set[str] = set()
    folders = ["all"]
    for folder in folders:
        for entry in door("GET", "artifacts/list", run_id=run_id, path=folder)["files"]:
            if entry["is_dir"]:
                folders.append(entry["path"])
            else:
                listed.add(entry["path"])
    assert listed == {f"all/{name}" for name in FILES}
    door("POST", "registered-models/create", name="iris")
    door("POST", "model-versions/create", name="iris", source=f"runs:/{run_id}/all", run_id=run_id)
    for number, name in enumerate(FILES):
        query = {"name": "iris", "version": "1", "path": name}
        assert door.client.get("/model-versions/get-artifact", params=query).content == str(number).encode()
    other = door.run()
    for name in FILES:
        assert door.put(f"0/{other}/artifacts/{quote(name)}", b"x") == 200
    for name in FILES:
        address = f"/api/2.0/mlflow-artifacts/artifacts/0/{other}/artifacts/{quote(name)}"
        assert door.client.delete(address).status_code == 200
    assert "files" not in door("GET", "artifacts/list", run_id=other)


def random_text(length: int) -> str:
    """Letters of four bytes each, as no database can compress them."""
    return "".join(random.Random(length).choices([chr(0x20000 + number) for number in range(40_000)], k=length))


def test_the_longest_of_everything(door: Door) -> None:
    """What is allowed is kept, though the indexes of PostgreSQL take no more than 2,700 bytes of it."""
    run_id = door.run(run_name=random_text(8_000))
    key, value = random_text(250), random_text(60_000)
    pair = {"key": key, "value": value}
    point = {"key": key, "value": 1, "timestamp": 1}
    door("POST", "runs/log-batch", run_id=run_id, metrics=[point], params=[pair], tags=[pair])
    dataset = {"name": random_text(500), "digest": random_text(128), "source_type": "s", "source": "x"}
    door("POST", "runs/log-inputs", run_id=run_id, datasets=[{"dataset": dataset, "tags": [pair]}])
    run = door("GET", "runs/get", run_id=run_id)["run"]
    assert run["data"]["params"] == [pair]
    assert run["inputs"]["dataset_inputs"][0]["dataset"] == dataset
    assert run_ids(door, f"params.`{key}` = {sql(value[:4_000])}") == []
    name = random_text(500)
    experiment_id = door("POST", "experiments/create", name=name)["experiment_id"]
    found = door("GET", "experiments/get-by-name", experiment_name=name)["experiment"]
    assert found["experiment_id"] == experiment_id
    door("POST", "logged-models", experiment_id="0", name=name)
    model = random_text(256)
    door("POST", "registered-models/create", name=model, tags=[pair])
    path = "/".join([random_text(63)] * 7 + [random_text(40)])
    assert door.put(f"0/{run_id}/artifacts/{quote(path)}", b"x") == 200
    query = {"run_id": run_id, "path": path}
    assert door.client.get("/get-artifact", params=query).content == b"x"
    door("POST", "model-versions/create", name=model, source=f"runs:/{run_id}", run_id=run_id, tags=[pair])
    door("POST", "model-versions/transition-stage", name=model, version="1", stage="Production")
    door("POST", "registered-models/alias", name=model, alias="x" * 255, version="1")
    query = {"name": model, "version": "1", "path": path}
    assert door.client.get("/model-versions/get-artifact", params=query).content == b"x"
