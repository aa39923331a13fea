import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headrace.errors import Unavailable
from headrace.features.online import LmdbOnlineStore, OnlineStore, open_online_store
from headrace.testing.online_store import FIRST, SECOND, OnlineStoreContract


class TestLmdbOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[OnlineStore]:
        with closing(open_online_store(tmp_path)) as store:
            yield store


def test_what_was_written_is_there_after_closing(tmp_path: Path) -> None:
    with closing(open_online_store(tmp_path)) as store:
        store.write("v", None, FIRST, [(1, b"one")])
    with closing(open_online_store(tmp_path)) as store:
        assert store.read("v", [1]) == (FIRST, [b"one"])


def test_a_writer_that_is_killed_leaves_the_last_batch(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from headrace.features.online import open_online_store
from headrace.testing.online_store import FIRST, SECOND
store = open_online_store(Path({str(tmp_path)!r}))
store.write("v", None, FIRST, [(1, b"one")])
def values():
    for key in range(2000):
        yield key, b"x" * 1000
    print("halfway", flush=True)
    sys.stdin.read()
store.write("v", FIRST, SECOND, values())
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout, closing(open_online_store(tmp_path)) as store:
        assert process.stdout.readline() == b"halfway\n"
        assert store.read("v", [1, 2]) == (FIRST, [b"one", None])  # readers see nothing of it, and do not wait
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert store.read("v", [1, 2]) == (FIRST, [b"one", None])
        store.write("v", FIRST, SECOND, [(2, b"two")])  # nor does the next writer
        assert store.read("v", [1, 2]) == (SECOND, [b"one", b"two"])


def test_a_full_store_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    with closing(LmdbOnlineStore(tmp_path, map_bytes=1 << 20)) as store:
        store.write("v", None, FIRST, [(1, b"one")])
        with pytest.raises(Unavailable):
            store.write("v", FIRST, SECOND, [(key, b"x" * 4000) for key in range(2000)])
        assert store.read("v", [1]) == (FIRST, [b"one"])
