import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from headrace.errors import InternalError, InvalidInput, NotFound
from headrace.kernel.blobs import CHUNK_BYTES, BlobStore, download, open_blob_store
from headrace.testing.blob_store import BlobStoreContract


class TestLocalBlobStore(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return open_blob_store(tmp_path / "home")


class TestObjectBlobStore(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return open_blob_store(tmp_path / "home", "memory:///")


class TestS3BlobStore(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, s3_url: str) -> BlobStore:
        return open_blob_store(tmp_path / "home", s3_url)


def test_an_object_store_gives_links_to_single_blobs(tmp_path: Path, s3_url: str) -> None:
    store = open_blob_store(tmp_path / "home", s3_url)
    address = store.link(store.put(b"linked").digest, timedelta(minutes=1))
    assert address is not None
    assert httpx.get(address).content == b"linked"
    assert open_blob_store(tmp_path / "home").link(store.put(b"linked").digest, timedelta(minutes=1)) is None


def blob_path(home: Path, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return home / "blobs" / "sha256" / name[:2] / name


def test_a_damaged_blob_is_never_read_whole(tmp_path: Path) -> None:
    store = open_blob_store(tmp_path)
    content = b"a" * (2 * CHUNK_BYTES) + b"b"
    digest = store.put(content).digest
    with blob_path(tmp_path, digest).open("r+b") as file:
        file.seek(7)
        file.write(b"!")
    with pytest.raises(InternalError):
        store.read(digest)
    received = store.stream(digest)
    first = next(received)
    with pytest.raises(InternalError):
        b"".join(received)
    assert len(first) < len(content)


def test_a_torn_blob_is_healed_by_storing_it_again(tmp_path: Path) -> None:
    store = open_blob_store(tmp_path)
    digest = store.put(b"complete").digest
    blob_path(tmp_path, digest).write_bytes(b"comp")
    assert store.put(b"complete").digest == digest
    assert store.read(digest) == b"complete"


def test_planted_links_are_not_blobs(tmp_path: Path) -> None:
    store = open_blob_store(tmp_path / "home")
    digest = store.put(b"content").digest
    path = blob_path(tmp_path / "home", digest)
    outside = tmp_path / "outside"
    outside.write_bytes(b"content")
    path.unlink()
    path.symlink_to(outside)
    assert not store.exists(digest)
    with pytest.raises(NotFound):
        store.read(digest)
    store.put(b"content")
    assert not path.is_symlink()
    assert store.read(digest) == b"content"


def test_a_planted_directory_link_is_refused(tmp_path: Path) -> None:
    store = open_blob_store(tmp_path / "home")
    digest = store.put(b"content").digest
    directory = blob_path(tmp_path / "home", digest).parent
    directory.rename(tmp_path / "moved")
    directory.symlink_to(tmp_path / "moved")
    assert not store.exists(digest)
    (tmp_path / "moved" / digest.removeprefix("sha256:")).unlink()
    with pytest.raises(InternalError):
        store.put(b"content")
    assert list((tmp_path / "moved").iterdir()) == []


def test_opening_sweeps_what_a_killed_writer_left_and_nothing_else(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from headrace.kernel.blobs import open_blob_store
def content():
    yield b"half"
    print("writing", flush=True)
    sys.stdin.read()
open_blob_store(Path({str(tmp_path)!r})).put(content())
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == b"writing\n"
        staging = tmp_path / "blobs" / "staging"
        open_blob_store(tmp_path)
        assert len(list(staging.iterdir())) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(staging.iterdir())) == 1
    open_blob_store(tmp_path)
    assert list(staging.iterdir()) == []


def test_nothing_is_left_in_staging(tmp_path: Path) -> None:
    store = open_blob_store(tmp_path)
    store.put(b"one")
    store.put(b"one")
    store.put(os.urandom(10))
    assert list((tmp_path / "blobs" / "staging").iterdir()) == []


def test_an_url_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        open_blob_store(tmp_path, "gopher://bucket")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "http://127.0.0.1:1/x",
        "https://localhost/x",
        "memory:///x",
        "x",
        "",
    ],
)
def test_only_object_stores_are_downloaded_from(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput, match="do not read"):
        download(url, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


FILLS_A_DISK = """
import resource, sys
from pathlib import Path
from headrace.errors import Unavailable
from headrace.kernel.blobs import open_blob_store
store = open_blob_store(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
for content in (b"x" * 10_001, iter([b"x" * 6_000] * 3)):
    try:
        store.put(content)
    except Unavailable as problem:
        print(problem.message)
assert list(store.stored()) == []
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(store.put(b"x" * 10_001).size_bytes)
"""


def test_a_full_disk_is_no_defect_and_keeps_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILLS_A_DISK, str(tmp_path)], capture_output=True, text=True)
    refused = "the blob store could not write: File too large"
    assert done.stdout.splitlines() == [refused, refused, "10001"], done.stderr
    assert list((tmp_path / "blobs" / "staging").iterdir()) == []
