"""Files are verified on the bytes that are handed out, and directories appear whole."""

from pathlib import Path

import pytest
from tests.serving import models

from headrace.errors import InternalError, NotFound
from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.registry.nouns import ModelFile, directory_digest
from headrace.serving.loading.model_files import ModelCache
from headrace.serving.nouns import ServedVersion
from headrace.serving.runtimes.files import ModelFiles


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blob_store(tmp_path / "home")


@pytest.fixture
def version(tmp_path: Path, blobs: BlobStore) -> ServedVersion:
    directory = models.write_model(tmp_path / "model", models.binary_model())
    (directory / "metadata").mkdir()
    (directory / "metadata" / "note.txt").write_text("kept")
    return models.store_version(blobs, directory, 1)


def test_files_are_fetched_once_and_read_verified(tmp_path: Path, blobs: BlobStore, version: ServedVersion) -> None:
    cache = ModelCache(tmp_path / "cache", blobs)
    files = cache.obtain(version)
    assert files.read("metadata/note.txt") == b"kept"
    for file in version.files:
        blobs.delete(file.digest)
    assert cache.obtain(version).read("MLmodel") == (tmp_path / "model" / "MLmodel").read_bytes()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [version.digest.removeprefix("sha256:")]


def test_a_file_that_was_swapped_after_it_was_fetched_is_refused(
    tmp_path: Path, blobs: BlobStore, version: ServedVersion
) -> None:
    cache = ModelCache(tmp_path / "cache", blobs)
    files = cache.obtain(version)
    (files.directory / "MLmodel").write_text("flavors: {}")
    with pytest.raises(InternalError, match="not the one that was registered"):
        files.read("MLmodel")
    cache.evict(version.digest)
    assert cache.obtain(version).read("MLmodel").startswith(b"flavors")


def test_a_listing_that_was_changed_is_refused(tmp_path: Path, blobs: BlobStore, version: ServedVersion) -> None:
    shorter = ServedVersion(model="churn", number=1, digest=version.digest, files=version.files[:-1])
    with pytest.raises(InternalError, match="registered digest"):
        ModelCache(tmp_path / "cache", blobs).obtain(shorter)


def test_a_missing_blob_leaves_nothing_behind(tmp_path: Path, blobs: BlobStore, version: ServedVersion) -> None:
    blobs.delete(version.files[-1].digest)
    with pytest.raises(NotFound):
        ModelCache(tmp_path / "cache", blobs).obtain(version)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_path_that_leads_out_is_refused(tmp_path: Path, blobs: BlobStore) -> None:
    blob = blobs.put(b"x")
    files = (ModelFile(path="../outside", digest=blob.digest, size_bytes=1),)
    version = ServedVersion(model="churn", number=1, digest=directory_digest(files), files=files)
    with pytest.raises(InternalError, match="leads out"):
        ModelCache(tmp_path / "cache", blobs).obtain(version)
    assert not (tmp_path / "outside").exists()


def test_a_file_that_was_made_for_a_version_is_fetched_by_its_digest(tmp_path: Path, blobs: BlobStore) -> None:
    blob = blobs.put(b"graph")
    file = ModelFile(path="model.onnx", digest=blob.digest, size_bytes=5)
    assert ModelCache(tmp_path / "cache", blobs).obtain_file(file).read("model.onnx") == b"graph"


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "a/../../b", "", "with\0nul", "x" * 5_000])
def test_a_path_that_no_model_file_has_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises((InternalError, NotFound)):
        ModelFiles(tmp_path).read(path)
    assert not ModelFiles(tmp_path).has(path)


def test_a_copy_holds_the_verified_files_and_follows_no_link(
    tmp_path: Path, blobs: BlobStore, version: ServedVersion
) -> None:
    files = ModelCache(tmp_path / "cache", blobs).obtain(version)
    copy = files.copy_to(tmp_path / "copy")
    assert (copy / "metadata" / "note.txt").read_text() == "kept"
    (files.directory / "MLmodel").write_text("flavors: {}")
    with pytest.raises(InternalError, match="not the one that was registered"):
        files.copy_to(tmp_path / "again")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "link").symlink_to(tmp_path / "model" / "MLmodel")
    assert ModelFiles(tmp_path / "own").paths() == []


def test_a_file_that_is_not_listed_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "extra").write_text("x")
    with pytest.raises(NotFound):
        ModelFiles(tmp_path, {}).read("extra")
    assert ModelFiles(tmp_path).read("extra") == b"x"
