"""The contract of the BlobStore seam, as tests that every back end passes.

class TestMyBlobStore(BlobStoreContract):
    @pytest.fixture
    def store(self): return MyBlobStore(...)
"""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.errors import InvalidInput, NotFound
from headrace.kernel.blobs import CHUNK_BYTES, BlobStore, fetch

ABSENT = "sha256:" + "0" * 64


class BlobStoreContract:
    """What `BlobStore` promises; a back end's test gives the fixture `store`."""

    @pytest.fixture
    def store(self) -> BlobStore:
        """An empty store."""
        raise NotImplementedError

    def test_content_is_named_by_its_sha256(self, store: BlobStore) -> None:
        """The digest is that of the bytes, whatever they are."""
        for content in (b"", b"a", bytes(range(256)) * 9_000):
            blob = store.put(content)
            assert blob.digest == "sha256:" + hashlib.sha256(content).hexdigest()
            assert blob.size_bytes == len(content) == store.size(blob.digest)
            assert store.read(blob.digest) == content

    def test_bytes_a_file_and_a_stream_are_the_same_blob(self, store: BlobStore, tmp_path: Path) -> None:
        """Only the content counts."""
        file = tmp_path / "file"
        file.write_bytes(b"headrace")
        assert store.put(b"headrace") == store.put(file) == store.put(iter([b"head", b"", b"race"]))

    def test_ranges(self, store: BlobStore) -> None:
        """`start` is inclusive, `end` exclusive, and an end beyond the end is the end."""
        content = bytes(range(256)) * (CHUNK_BYTES // 128)
        digest = store.put(content).digest
        for start, end in ((0, 0), (0, 1), (5, 5), (5, 700), (1, None), (0, 10**12), (10**12, None)):
            assert b"".join(store.stream(digest, start, end)) == content[start:end]

    @pytest.mark.parametrize(("start", "end"), [(-1, None), (3, 2)])
    def test_a_range_that_is_none_is_refused(self, store: BlobStore, start: int, end: int | None) -> None:
        """Rather than guessed at."""
        digest = store.put(b"headrace").digest
        with pytest.raises(InvalidInput):
            b"".join(store.stream(digest, start, end))

    def test_what_is_not_there(self, store: BlobStore) -> None:
        """Reading raises NotFound, asking says no, deleting does nothing."""
        assert not store.exists(ABSENT)
        store.delete(ABSENT)
        with pytest.raises(NotFound):
            store.read(ABSENT)
        with pytest.raises(NotFound):
            store.size(ABSENT)

    @pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../etc/passwd", "md5:" + "0" * 64, ABSENT + "\n"])
    def test_a_malformed_digest_is_refused(self, store: BlobStore, digest: str) -> None:
        """By every method, so that no digest can become a path."""
        for method in (store.read, store.size, store.exists, store.delete, store.stream):
            with pytest.raises(InvalidInput):
                method(digest)

    def test_every_blob_is_listed_and_putting_it_again_makes_it_young(self, store: BlobStore) -> None:
        """Whoever collects what nobody needs spares what was put lately, also when it was there before."""
        before = {found.digest: found for found in store.stored()}
        first, second = store.put(b"first"), store.put(b"second")
        found = {each.digest: each for each in store.stored()}
        assert set(found) == {*before, first.digest, second.digest}
        assert found[first.digest].size_bytes == 5
        assert store.put(b"first") == first
        again = {each.digest: each for each in store.stored()}
        assert again[first.digest].stored_at >= found[first.digest].stored_at
        store.delete(first.digest)
        assert first.digest not in {each.digest for each in store.stored()}

    def test_deleted_is_gone_and_can_be_stored_again(self, store: BlobStore) -> None:
        """A digest is not used up by deletion."""
        digest = store.put(b"again").digest
        store.delete(digest)
        assert not store.exists(digest)
        assert store.put(b"again").digest == digest
        assert store.read(digest) == b"again"

    def test_a_stream_that_breaks_leaves_nothing(self, store: BlobStore) -> None:
        """Neither the whole nor the part that came is visible."""

        def broken() -> Iterator[bytes]:
            yield b"first half"
            raise ConnectionError

        with pytest.raises(ConnectionError):
            store.put(broken())
        for part in (b"first half", b""):
            assert not store.exists("sha256:" + hashlib.sha256(part).hexdigest())

    def test_links_and_directories_are_not_followed(self, store: BlobStore, tmp_path: Path) -> None:
        """A link in a directory of artifacts must not carry another file in."""
        secret = tmp_path / "secret"
        secret.write_bytes(b"secret")
        link = tmp_path / "link"
        link.symlink_to(secret)
        for path in (link, tmp_path, tmp_path / "absent"):
            with pytest.raises(InvalidInput):
                store.put(path)
        assert not store.exists("sha256:" + hashlib.sha256(b"secret").hexdigest())

    def test_many_writers_of_the_same_content(self, store: BlobStore) -> None:
        """All succeed, and a reader never sees a part."""
        content = b"x" * (3 * CHUNK_BYTES)
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        seen: list[bool] = []

        def write() -> None:
            assert store.put(iter([content])).digest == digest
            seen.append(store.read(digest) == content)

        threads = [threading.Thread(target=write) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [True] * 6

    def test_fetch_writes_a_new_file(self, store: BlobStore, tmp_path: Path) -> None:
        """And never over one that is there."""
        content = bytes(range(256)) * (CHUNK_BYTES // 128)
        fetch(store, store.put(content).digest, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == content
        with pytest.raises(FileExistsError):
            fetch(store, store.put(content).digest, tmp_path / "copy")
