import errno
import os
import threading
import time
from pathlib import Path

import pytest

from headrace.client.journal import PROGRESS_FILE, Journal, JournalReader
from headrace.errors import InternalError

LIMIT = 10_000


def drain(reader: JournalReader) -> list[bytes]:
    lines: list[bytes] = []
    while chunk := reader.read(LIMIT):
        lines += chunk.lines
        reader.acknowledge(chunk)
    return lines


def test_lines_come_back_once(tmp_path: Path) -> None:
    journal, reader = Journal(tmp_path), JournalReader(tmp_path)
    assert reader.read(LIMIT) is None
    journal.append(b"one")
    journal.append(b"two")
    assert reader.unread_bytes() == 8
    assert drain(reader) == [b"one", b"two"]
    journal.append(b"three")
    assert drain(reader) == [b"three"]
    assert reader.unread_bytes() == 0


def test_what_is_not_acknowledged_is_read_again_by_the_next_reader(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(100):
        journal.append(b"%03d" % number)
    reader = JournalReader(tmp_path)
    first = reader.read(40)
    assert first is not None
    reader.acknowledge(first)
    assert reader.read(40) is not None
    rest = drain(JournalReader(tmp_path))
    assert [*first.lines, *rest] == [b"%03d" % number for number in range(100)]


def test_a_line_longer_than_the_limit_is_read_whole(tmp_path: Path) -> None:
    Journal(tmp_path).append(b"x" * 5_000)
    chunk = JournalReader(tmp_path).read(100)
    assert chunk is not None
    assert chunk.lines == (b"x" * 5_000,)


def test_a_torn_line_waits(tmp_path: Path) -> None:
    Journal(tmp_path).append(b"whole")
    (segment,) = tmp_path.glob("*.jsonl")
    with segment.open("ab") as file:
        file.write(b"to")
    reader = JournalReader(tmp_path)
    assert drain(reader) == [b"whole"]
    with segment.open("ab") as file:
        file.write(b"rn\n")
    assert drain(reader) == [b"torn"]


def test_files_that_are_read_to_their_end_go_away(tmp_path: Path) -> None:
    journal, reader = Journal(tmp_path, segment_bytes=50), JournalReader(tmp_path)
    written = [b"%020d" % number for number in range(30)]
    for line in written:
        journal.append(line)
    assert len(list(tmp_path.glob("*.jsonl"))) > 5
    assert drain(reader) == written
    assert len(list(tmp_path.glob("*.jsonl"))) == 1


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=10_000)

    def write(name: int) -> None:
        for number in range(500):
            journal.append(b"%d-%d-" % (name, number) + b"x" * (number % 50))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = drain(JournalReader(tmp_path))
    assert len(lines) == 4_000
    assert {line.rstrip(b"x") for line in lines} == {
        b"%d-%d-" % (name, number) for name in range(8) for number in range(500)
    }


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_a_file_of_its_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(b"parent")
    child = os.fork()
    if child == 0:
        journal.append(b"child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    journal.append(b"parent again")
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert sorted(drain(JournalReader(tmp_path))) == [b"child", b"parent", b"parent again"]


def test_without_a_disk_lines_are_kept_in_memory(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "not there")
    journal.append(b"one")
    journal.append(b"two")
    assert isinstance(journal.trouble, FileNotFoundError)
    reader = JournalReader(tmp_path / "not there", journal)
    assert reader.unread_bytes() == 6
    assert drain(reader) == [b"one", b"two"]


def test_a_disk_that_becomes_full_tears_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is written before the disk is full, as `write` then does; later there is room again."""
    journal = Journal(tmp_path)
    journal.append(b"before")
    write = os.write

    def half(file: int, data: bytes) -> int:
        return write(file, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    journal.append(b"into the full disk")
    monkeypatch.setattr(os, "write", write)
    journal.append(b"after")
    assert journal.trouble is not None
    assert sorted(drain(JournalReader(tmp_path, journal))) == [b"after", b"before", b"into the full disk"]


def test_a_progress_that_cannot_be_written_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, reader = Journal(tmp_path), JournalReader(tmp_path)
    journal.append(b"one")

    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert drain(reader) == [b"one"]
    assert drain(JournalReader(tmp_path)) == [b"one"]


def test_a_progress_that_is_no_progress_is_told(tmp_path: Path) -> None:
    (tmp_path / PROGRESS_FILE).write_bytes(b"{")
    with pytest.raises(InternalError, match="cannot be read"):
        JournalReader(tmp_path)


def test_the_first_lines_of_many_threads_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, process = Journal(tmp_path), os.getpid()

    def slowly() -> int:
        time.sleep(0.02)  # whoever asks which process this is loses its turn meanwhile
        return process

    monkeypatch.setattr(os, "getpid", slowly)
    threads = []
    start = threading.Barrier(8)

    def write(name: int) -> None:
        start.wait()
        journal.append(b"%d" % name)

    for name in range(8):
        threads.append(threading.Thread(target=write, args=(name,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert journal.trouble is None
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    assert sorted(drain(JournalReader(tmp_path))) == [b"%d" % name for name in range(8)]


def test_a_file_may_go_away_while_it_is_told_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, reader = Journal(tmp_path, segment_bytes=50), JournalReader(tmp_path)
    for number in range(10):
        journal.append(b"%020d" % number)
    listed = reader._segments()
    monkeypatch.setattr(reader, "_segments", lambda: listed)
    listed[0].unlink()  # as the thread that delivers does, after the list was made
    assert reader.unread_bytes() == sum(file.stat().st_size for file in listed[1:])
