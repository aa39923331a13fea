"""Artifact roots: the same promises on a folder and in an object store, and no way out of either."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from headrace.errors import InvalidInput, NotFound, NotServed, PolicyRefused, Unavailable
from headrace.kernel.blobs import CHUNK_BYTES
from headrace.kernel.roots import ArtifactRoots, normalized

NAMES = (
    "plain.txt",
    "with space.txt",
    "дерево/模型.bin",
    "é/e\u0301.txt",
    "100%.txt",
    "a+b=c&d.txt",
    "~tilde",
    "x'y\"z",
)


@pytest.fixture(params=["folder", "file", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A root on this machine by its path or its `file:` address, or one in an object store."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3_url')}/some/where"
    (tmp_path / "root").mkdir()
    return str(tmp_path / "root") if request.param == "folder" else (tmp_path / "root").as_uri()


@pytest.fixture
def roots(location: str) -> ArtifactRoots:
    return ArtifactRoots(location)


@pytest.fixture
def place(location: str) -> str:
    return f"{location}/7/run/artifacts"


def put(roots: ArtifactRoots, place: str, path: str, content: bytes = b"content") -> None:
    roots.put(place, path, iter([content]))


def read(roots: ArtifactRoots, place: str, path: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(roots.stream(place, path, start, end))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_put_is_there_under_its_name(roots: ArtifactRoots, place: str, name: str) -> None:
    content = os.urandom(1000)
    put(roots, place, name, content)
    assert read(roots, place, name) == content
    assert roots.file(place, name).size_bytes == 1000
    assert [file.path for file in roots.files_below(place)] == [name]
    folder, _, last = name.rpartition("/")
    assert [file.path for file in roots.list_folder(place, folder).files] == [last]
    assert roots.list_folder(place).folders == ([folder] if folder else [])


def test_ranges_and_large_files(roots: ArtifactRoots, place: str) -> None:
    content = os.urandom(3 * CHUNK_BYTES + 17)
    roots.put(place, "large", iter([content[start : start + 5_000] for start in range(0, len(content), 5_000)]))
    assert read(roots, place, "large") == content
    assert read(roots, place, "large", 5, CHUNK_BYTES + 9) == content[5 : CHUNK_BYTES + 9]
    assert read(roots, place, "large", len(content) - 3) == content[-3:]
    assert read(roots, place, "large", 7, 7) == b""


def test_a_file_that_is_put_again_is_another(roots: ArtifactRoots, place: str) -> None:
    put(roots, place, "a", b"first")
    before = roots.file(place, "a").tag
    put(roots, place, "a", b"second")
    assert read(roots, place, "a") == b"second"
    assert roots.file(place, "a").tag != before


def test_nothing_is_left_of_a_file_that_was_cut_off(roots: ArtifactRoots, place: str) -> None:
    def cut() -> Iterator[bytes]:
        yield b"x" * (8 * CHUNK_BYTES)
        raise InvalidInput("the body was cut off")

    put(roots, place, "kept")
    for name in ("kept", "fresh"):
        with pytest.raises((InvalidInput, Unavailable)):
            roots.put(place, name, cut())
    assert read(roots, place, "kept") == b"content"
    assert [file.path for file in roots.files_below(place)] == ["kept"]


def test_what_is_not_there(roots: ArtifactRoots, place: str) -> None:
    put(roots, place, "folder/file")
    for path in ("none", "folder", "folder/none", "folder/file/below", "none/none"):
        with pytest.raises(NotFound):
            roots.file(place, path)
        with pytest.raises(NotFound):
            read(roots, place, path)
    for folder in ("none", "folder/file", "none/none"):
        assert roots.list_folder(place, folder) == ([], [])
        assert roots.files_below(place, folder) == []
    roots.delete(place, "none")


def test_a_folder_goes_with_all_in_it(roots: ArtifactRoots, location: str, place: str) -> None:
    for path in ("a/b", "a/c/d", "ab"):
        put(roots, place, path)
    roots.delete(place, "a")
    assert [file.path for file in roots.files_below(place)] == ["ab"]
    roots.delete(place)
    assert roots.files_below(location) == []
    with pytest.raises(InvalidInput):
        roots.delete(location)


def test_nothing_outside_is_touched(roots: ArtifactRoots, location: str, place: str) -> None:
    neighbour = f"{location}-2/7"
    for outside in (neighbour, location.rpartition("/")[0], "/etc", "s3://another-bucket/x"):
        with pytest.raises(PolicyRefused, match="HEADRACE_ARTIFACT_ROOTS"):
            roots.list_folder(outside)
    for path in ("../x", "a/../../x", "a//b", "./a", "/etc/passwd"):
        with pytest.raises(NotFound):
            roots.file(place, path)
        with pytest.raises(NotFound):
            put(roots, place, path)


def test_a_link_to_one_object_opens_without_a_login(s3_url: str) -> None:
    roots = ArtifactRoots(s3_url)
    place = f"{s3_url}/7"
    address = roots.link("PUT", place, "a/b c.txt", timedelta(minutes=1))
    assert address is not None
    assert httpx.put(address, content=b"linked").status_code == 200
    assert read(roots, place, "a/b c.txt") == b"linked"
    address = roots.link("GET", place, "a/b c.txt", timedelta(minutes=1))
    assert address is not None
    assert httpx.get(address, headers={"Range": "bytes=1-3"}).content == b"ink"
    assert httpx.get(address.replace("c.txt", "d.txt")).status_code in {403, 404}


def test_folders_give_no_links(tmp_path: Path) -> None:
    assert ArtifactRoots(str(tmp_path)).link("GET", str(tmp_path / "7"), "a", timedelta(minutes=1)) is None


@pytest.mark.parametrize("planted", ["file", "folder"])
def test_links_that_somebody_planted_lead_nowhere(tmp_path: Path, planted: str) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    place = tmp_path / "root" / "7"
    place.mkdir(parents=True)
    link = place / ("key" if planted == "file" else "inner")
    link.symlink_to(secret / "key" if planted == "file" else secret)
    path = "key" if planted == "file" else "inner/key"
    roots = ArtifactRoots(str(tmp_path / "root"))
    with pytest.raises(NotFound):
        roots.file(str(place), path)
    with pytest.raises(NotFound):
        read(roots, str(place), path)
    assert roots.files_below(str(place)) == []
    assert roots.list_folder(str(place)) == ([], [])
    assert roots.list_folder(str(place), "inner") == ([], [])
    if planted == "folder":
        with pytest.raises(NotFound):
            put(roots, str(place), path)
        roots.delete(str(place), path)
    roots.delete(str(place))
    assert (secret / "key").read_text() == "secret"


def test_a_planted_link_is_replaced_by_the_file(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("kept")
    place = tmp_path / "root" / "7"
    place.mkdir(parents=True)
    (place / "a").symlink_to(target)
    put(ArtifactRoots(str(tmp_path / "root")), str(place), "a", b"new")
    assert target.read_text() == "kept"
    assert (place / "a").read_bytes() == b"new"


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    roots = ArtifactRoots(str(tmp_path))
    with pytest.raises(NotFound):
        roots.file(str(tmp_path), "pipe")


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ENDPOINT_URL": "http://127.0.0.1:9",
        "ALLOW_HTTP": "true",
        "SKIP_SIGNATURE": "true",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    roots = ArtifactRoots("s3://bucket")
    with pytest.raises(Unavailable, match="does not answer"):
        roots.file("s3://bucket/7", "a")


def test_a_login_that_is_refused(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Unavailable, match="refuses the platform's login"):
        ArtifactRoots(s3_url).file(f"{s3_url}/7", "a")


@pytest.mark.parametrize(
    ("location", "kept"),
    [
        ("/data/runs/", "/data/runs"),
        ("/data//./runs", "/data/runs"),
        ("file:///data/runs/", "file:///data/runs"),
        ("file:/data/runs", "file:///data/runs"),
        ("file://localhost/data", "file:///data"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket//a/./b/", "s3://bucket/a/b"),
        ("gs://bucket/a", "gs://bucket/a"),
    ],
)
def test_locations_are_kept_in_one_spelling(location: str, kept: str) -> None:
    assert normalized(location) == kept
    assert normalized(kept) == kept


def test_a_relative_location_is_below_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert normalized("./artifacts") == str(tmp_path / "artifacts")


@pytest.mark.parametrize(
    "location",
    [
        "s3://bucket/../other", "/data/../etc", "file:///data/%2e%2e/etc", "s3:///no-bucket", "s3://bucket?x=1",
        "s3://bucket/a#b", "s3://user:password@bucket/a", "file://elsewhere/data", "file:relative", "a\x00b",
        "/" + "a" * 3000, "s3://[::1", "file:///data/a%00b", "file:///data/a%0Ab",
    ],
)  # fmt: skip
def test_what_is_no_location(location: str) -> None:
    with pytest.raises(InvalidInput):
        normalized(location)


@pytest.mark.parametrize("location", ["hdfs://host/data", "http://host/data", "ftp://host/x", "runs:/1/model"])
def test_kinds_that_are_not_served(location: str) -> None:
    with pytest.raises(NotServed, match="not served"):
        normalized(location)


def test_a_login_in_a_location_is_not_told_back() -> None:
    with pytest.raises(InvalidInput) as refused:
        normalized("s3://user:hunter2@bucket/a")
    assert "hunter2" not in str(refused.value)


def test_a_file_cannot_take_the_path_of_a_folder(tmp_path: Path) -> None:
    roots, place = ArtifactRoots(str(tmp_path)), f"{tmp_path}/7/run/artifacts"
    put(roots, place, "a/b")
    with pytest.raises(InvalidInput, match="a folder has this path"):
        put(roots, place, "a")
    assert [file.path for file in roots.files_below(place)] == ["a/b"]
