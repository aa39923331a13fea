"""No path leads out of a run, a logged model or a version, through whichever door of a real server it is sent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from headrace.testing.platform import TemporaryPlatform, temporary_platform

from .wire import CONTROL_ALONE, Answer, call, new_run, request_of, send

pytestmark = pytest.mark.loop

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
MLFLOW = "/api/2.0/mlflow"
AJAX = "/ajax-api/2.0/mlflow"
SECRET = b"nobody may read this"

# as a caller means them; each is sent plain, encoded once and encoded twice
NAMES = [
    "..", ".", "../secret", "../../../secret", "a/../../secret", "a/..", "./a", "a/./a", "/etc/passwd",
    "//etc/passwd", "a//a", "C:/windows", "..\\secret", "a\\..\\secret", "a\0b", "a\nb", "a\x7f", "a#b",
    "x" * 256, "/".join(["x" * 200] * 6), "%2e%2e/secret",
]  # fmt: skip
# as bytes in a URL
RAW = ["%2e%2e%2fsecret", "..%2fsecret", "a%2f", "a/", "a%2f%2fa", "a%5c..%5csecret", "%ff", "%c0%af"]
SEEDED = ["a/a", "b"]


class Places(NamedTuple):
    """A run, a logged model and a version, each with the files of SEEDED."""

    url: str
    home: Path
    run_id: str
    model_id: str


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    with temporary_platform(tmp_path_factory.mktemp("paths") / "home", CONTROL_ALONE) as running:
        yield running


@pytest.fixture(scope="module")
def places(platform: TemporaryPlatform) -> Places:
    url, home = platform.url, platform.launched.home
    (home / "secret").write_bytes(SECRET)
    (home / "blobs" / "secret").write_bytes(SECRET)
    run_id = new_run(url)
    made = call(url, "POST", f"{MLFLOW}/logged-models", {"experiment_id": "0", "name": "m"}).json["model"]["info"]
    for folder in (f"0/{run_id}/artifacts", f"0/models/{made['model_id']}/artifacts"):
        for path in SEEDED:
            assert call(url, "PUT", f"{PROXY}/{folder}/{path}", content=b"seed").status == 200
    assert call(url, "POST", f"{MLFLOW}/registered-models/create", {"name": "iris"}).status == 200
    body = {"name": "iris", "source": f"runs:/{run_id}", "run_id": run_id}
    assert call(url, "POST", f"{MLFLOW}/model-versions/create", body).status == 200
    return Places(url, home, run_id, made["model_id"])


def folders(places: Places) -> dict[str, str]:
    """What a path is put behind in a URL."""
    return {
        "our own": f"/api/v1/runs/{places.run_id}/artifacts",
        "proxy, run": f"{PROXY}/0/{places.run_id}/artifacts",
        "proxy, logged model": f"{PROXY}/0/models/{places.model_id}/artifacts",
        "proxy, version": f"{PROXY}/registered/iris/1",
        "proxy": f"{PROXY}/0",
    }


def queries(places: Places) -> dict[str, tuple[str, str]]:
    """Which method and which URL a path is the last parameter of."""
    run, model = places.run_id, places.model_id
    return {
        "our listing": ("GET", f"/api/v1/runs/{run}/artifacts?folder="),
        "proxy's listing": ("GET", f"{PROXY}?path=0/{run}/artifacts/"),
        "artifacts/list": ("GET", f"{MLFLOW}/artifacts/list?run_id={run}&path="),
        "get-artifact": ("GET", f"/get-artifact?run_id={run}&path="),
        "upload-artifact": ("POST", f"{AJAX}/upload-artifact?run_uuid={run}&path="),
        "version's file": ("GET", "/model-versions/get-artifact?name=iris&version=1&path="),
        "model's file": ("GET", f"{AJAX}/logged-models/{model}/artifacts/files?artifact_file_path="),
        "model's listing": (
            "GET", f"{MLFLOW}/logged-models/{model}/artifacts/directories?artifact_directory_path=",
        ),
    }  # fmt: skip


def bodies(places: Places, path: str) -> dict[str, tuple[str, Any]]:
    """Requests that carry a path in their body."""
    run, model = places.run_id, places.model_id
    digest = "sha256:" + "0" * 64
    create = {"name": "iris", "run_id": run}
    file = {"path": path, "digest": digest, "size_bytes": 4}
    return {
        "source in a run": (f"{MLFLOW}/model-versions/create", {**create, "source": f"runs:/{run}/{path}"}),
        "source by location": (
            f"{MLFLOW}/model-versions/create",
            {**create, "source": f"mlflow-artifacts:/0/{run}/artifacts/{path}"},
        ),
        "source of a model": (
            f"{MLFLOW}/model-versions/create",
            {"name": "iris", "source": f"mlflow-artifacts:/0/models/{model}/artifacts/{path}"},
        ),
        "source as a path": (f"{MLFLOW}/model-versions/create", {**create, "source": path}),
        "files of a version": ("/api/v1/models/iris/versions", {"model": "iris", "run_id": run, "files": [file]}),
        "files of an import": ("/api/v1/import/files", [{"owner": f"run/{run}", "files": [file]}]),
    }


def state(places: Places) -> Any:
    """What must not change: the files that have names, the files on the disk, the versions."""
    listings = [
        call(places.url, "GET", path).body
        for path in (
            f"/api/v1/export/files?owner=run/{places.run_id}",
            f"/api/v1/export/files?owner=logged-model/{places.model_id}",
            f"{MLFLOW}/model-versions/search",
        )
    ]
    blobs = sorted(path for path in (places.home / "blobs").rglob("*") if path.is_file())
    around = sorted(path.name for path in places.home.parent.iterdir())
    return listings, blobs, around, sorted(path.name for path in places.home.iterdir())


def refused(answer: Answer, door: str, path: str) -> None:
    assert answer.status in {400, 403, 404, 414}, (door, path[:40], answer)
    assert SECRET not in answer.body
    if answer.body:  # what the HTTP library refuses before us has none
        found = json.loads(answer.body)
        assert "error" in found or {*found} == {"error_code", "message"}, (door, path[:40])


def spellings(name: str) -> list[str]:
    once = quote(name, safe="")
    return [quote(name, safe="/\\:"), once, quote(once, safe="")]


def test_paths_in_urls(places: Places) -> None:
    before = state(places)
    paths = [spelling for name in NAMES for spelling in spellings(name) if name[-1:] != "."] + RAW
    paths += [*spellings(".."), *spellings("a/.."), "x" * 70_000]
    for door, folder in folders(places).items():
        methods = ["PUT", "GET", "HEAD"] + ["DELETE"] * door.startswith("proxy")
        for path in dict.fromkeys(paths):
            for method in methods:
                refused(send(places.url, request_of(method, f"{folder}/{path}", b"x")), f"{method} {door}", path)
    assert state(places) == before


def test_paths_in_queries(places: Places) -> None:
    before = state(places)
    for door, (method, address) in queries(places).items():
        for name in NAMES:
            refused(send(places.url, request_of(method, address + quote(name, safe=""), b"x")), door, name)
    assert state(places) == before


def test_paths_in_bodies(places: Places) -> None:
    before = state(places)
    for name in [*NAMES, "\ud800", quote("../secret", safe=""), quote(quote("../secret", safe=""), safe="")]:
        for door, (path, body) in bodies(places, name).items():
            refused(call(places.url, "POST", path, body), door, name)
    assert state(places) == before


def test_what_a_url_may_hold_is_kept_as_it_is(places: Places) -> None:
    """A name is decoded once: what looks encoded in it is a part of it."""
    names = ["%41", "100%", "a%zz", "%u002e", "a?b&c=d", "a+b", "~", " ", "потеря/🚀"]
    run_id = new_run(places.url)
    for folder in (f"/api/v1/runs/{run_id}/artifacts", f"{PROXY}/0/{run_id}/artifacts"):
        for name in names:
            content = f"{folder} {name}".encode()
            assert call(places.url, "PUT", f"{folder}/{quote(name)}", content=content).status == 200
            assert call(places.url, "GET", f"{folder}/{quote(name)}").body == content
    listed = call(places.url, "GET", f"/api/v1/export/files?owner=run/{run_id}").json
    assert {file["path"] for file in listed} == set(names)


def test_a_link_in_the_blob_store_leads_nowhere(places: Places) -> None:
    run_id = new_run(places.url)
    content = b"content that is replaced by a link"
    ours, proxy = f"/api/v1/runs/{run_id}/artifacts/f", f"{PROXY}/0/{run_id}/artifacts/f"
    digest = call(places.url, "PUT", ours, content=content).json["digest"].removeprefix("sha256:")
    blob = places.home / "blobs" / "sha256" / digest[:2] / digest
    blob.unlink()
    blob.symlink_to(places.home / "secret")
    for path in (ours, proxy, f"/get-artifact?run_id={run_id}&path=f", f"/api/v1/blobs/sha256:{digest}"):
        refused(call(places.url, "GET", path), "GET", path)
    assert call(places.url, "PUT", ours, content=content).status == 200  # what is sent again takes its place
    assert not blob.is_symlink()
    assert call(places.url, "GET", proxy).body == content
    assert (places.home / "secret").read_bytes() == SECRET
