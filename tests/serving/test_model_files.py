"""Files are verified on the bytes that are handed out, and directories appear whole."""

from pathlib import Path

import pytest
from tests.serving import models

from headrace.errors import InternalError, NotFound
from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.registry.nouns import ModelFile, directory_digest
from headrace.serving.model_files import ModelCache, ModelFiles
from headrace.serving.nouns import ServedVersion


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
    cache.evict(version)
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


def test_a_file_that_is_not_listed_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "extra").write_text("x")
    with pytest.raises(NotFound):
        ModelFiles(tmp_path, {}).read("extra")
    assert ModelFiles(tmp_path).read("extra") == b"x"
