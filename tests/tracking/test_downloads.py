"""Files on their way out: whole, in ranges, or not again."""

import hashlib

import pytest
from litestar import Litestar
from litestar.testing import TestClient

pytestmark = pytest.mark.both_databases

CONTENT = bytes(range(256)) * 5_000
TAG = f'"sha256:{hashlib.sha256(CONTENT).hexdigest()}"'
SIZE = len(CONTENT)


@pytest.fixture
def address(door: TestClient[Litestar]) -> str:
    run_id = door.post("/api/v1/runs", json={"experiment": "churn"}).json()["id"]
    address = f"/api/v1/runs/{run_id}/artifacts/model.bin"
    assert door.put(address, content=CONTENT).status_code == 200
    return address


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, SIZE),
        ("bytes=5-9", 5, 10),
        ("bytes=300-700000", 300, 700_001),
        ("bytes=-10", SIZE - 10, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        (f"bytes=10-{SIZE * 5}", 10, SIZE),
        (" bytes = 5 - 9 ", 5, 10),
        ("bytes=7-" + "9" * 400, 7, SIZE),
    ],
)
def test_a_range(door: TestClient[Litestar], address: str, wanted: str, start: int, end: int) -> None:
    answer = door.get(address, headers={"Range": wanted})
    assert answer.status_code == 206
    assert answer.content == CONTENT[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["etag"] == TAG


@pytest.mark.parametrize(
    "wanted", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0", "bytes=" + "9" * 400 + "-"]
)
def test_a_range_behind_the_end(door: TestClient[Litestar], address: str, wanted: str) -> None:
    answer = door.get(address, headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "bytes",
        "bytes=-",
        "bytes=9-5",
        "bytes=a-b",
        "lines=1-2",
        "bytes=0-1,5-9",
        "bytes=٣-٤",
        pytest.param(f"bytes={' ' * 50_000}x", id="blanks"),
    ],
)
def test_what_is_no_single_range_gets_the_whole(door: TestClient[Litestar], address: str, wanted: str) -> None:
    answer = door.get(address, headers=[(b"Range", wanted.encode())])
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert "content-range" not in answer.headers


def test_a_range_of_a_file_that_has_changed_is_the_whole(door: TestClient[Litestar], address: str) -> None:
    same = door.get(address, headers={"Range": "bytes=0-9", "If-Range": TAG})
    assert (same.status_code, same.content) == (206, CONTENT[:10])
    changed = door.get(address, headers={"Range": "bytes=0-9", "If-Range": '"sha256:other"'})
    assert (changed.status_code, changed.content) == (200, CONTENT)


def test_who_has_it_gets_it_not_again(door: TestClient[Litestar], address: str) -> None:
    for tags in (TAG, f"W/{TAG}", f'"other", {TAG}'):
        answer = door.get(address, headers={"If-None-Match": tags})
        assert (answer.status_code, answer.content) == (304, b"")
    assert door.get(address, headers={"If-None-Match": '"other"'}).status_code == 200


def test_head_gets_the_headers_alone(door: TestClient[Litestar], address: str) -> None:
    answer = door.head(address)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["accept-ranges"] == "bytes"
    assert door.head(address, headers={"Range": "bytes=5-9"}).headers["content-length"] == "5"


def test_an_empty_file(door: TestClient[Litestar], address: str) -> None:
    empty = address.replace("model.bin", "empty")
    assert door.put(empty, content=b"").status_code == 200
    assert (door.get(empty).status_code, door.get(empty).content) == (200, b"")
    assert door.get(empty, headers={"Range": "bytes=0-0"}).status_code == 416
