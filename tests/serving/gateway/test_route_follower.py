"""What is known after each line of the stream, and what a gateway remembers of it."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from headrace.serving.gateway import route_follower
from headrace.serving.gateway.route_follower import Memory, fold, save, split_lines
from headrace.serving.nouns import (
    BusinessTime,
    Caller,
    CallersSet,
    Heartbeat,
    Route,
    RouteRemoved,
    RouteSet,
    Snapshot,
    StreamLine,
)

MAY = datetime(1997, 5, 1, tzinfo=UTC)
JUNE = datetime(1997, 6, 1, tzinfo=UTC)


def route(model: str, sequence: int, champion: int = 1) -> Route:
    return Route(model=model, champion=champion, salt="s", versions=(), sequence=sequence)


SNAPSHOT = Snapshot(
    sequence=2, routes=(route("churn", 1), route("fraud", 2)), time=BusinessTime(now=MAY, replayed=True)
)


def test_lines_change_what_they_are_about_and_nothing_else() -> None:
    lines: list[StreamLine] = [
        RouteSet(sequence=3, route=route("churn", 3, champion=2)),
        RouteRemoved(sequence=4, model="fraud"),
        Heartbeat(sequence=4, time=BusinessTime(now=JUNE, replayed=True)),
        CallersSet(callers=(Caller(token_hash="ab", principal_id="ana"),)),
    ]
    known: Snapshot | None = SNAPSHOT
    for line in lines:
        known = fold(known, line)
    assert known is not None
    assert [(found.model, found.champion) for found in known.routes] == [("churn", 2)]
    assert (known.sequence, known.time.now) == (4, JUNE)
    assert known.callers is not None
    assert known.callers[0].principal_id == "ana"


def test_nothing_is_known_before_the_first_snapshot_and_a_later_one_replaces_all() -> None:
    assert fold(None, RouteRemoved(sequence=4, model="fraud")) is None
    assert fold(None, SNAPSHOT) is SNAPSHOT
    empty = Snapshot(sequence=0, routes=(), time=BusinessTime(now=MAY))
    assert fold(SNAPSHOT, empty) is empty


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_lines_are_whole_however_the_bytes_arrive(size: int) -> None:
    text = b"".join(msgspec.json.encode(line) + b"\n" for line in (SNAPSHOT, RouteRemoved(sequence=3, model="x")))
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    lines = [msgspec.json.decode(line, type=StreamLine) for line in split_lines(chunks)]
    assert lines == [SNAPSHOT, RouteRemoved(sequence=3, model="x")]
    assert list(split_lines([text, b'{"type":"heart'])) == text.strip().split(b"\n")


def test_what_is_remembered_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "gateways" / "gateway-1" / "routes.json"
    save(path, SNAPSHOT)
    assert msgspec.json.decode(path.read_bytes(), type=Snapshot) == SNAPSHOT
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["routes.json"]


def test_a_slow_disk_holds_up_no_route(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes that come while one is written are taken at once, and the last of them is what is kept."""
    writing, go_on = threading.Event(), threading.Event()
    written: list[int] = []

    def slow(path: Path, known: Snapshot) -> None:
        writing.set()
        assert go_on.wait(10)
        written.append(known.sequence)
        save(path, known)

    monkeypatch.setattr(route_follower, "save", slow)
    memory = Memory(tmp_path / "routes.json")
    memory.start()
    memory.keep(SNAPSHOT)
    assert writing.wait(10)
    for sequence in (3, 4, 5):
        memory.keep(msgspec.structs.replace(SNAPSHOT, sequence=sequence))
    go_on.set()
    memory.close()
    assert written == [SNAPSHOT.sequence, 5]
    assert msgspec.json.decode((tmp_path / "routes.json").read_bytes(), type=Snapshot).sequence == 5


def test_a_disk_that_does_not_take_it_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "gateways").write_text("a file where a folder should be")
    save(tmp_path / "gateways" / "gateway-1" / "routes.json", SNAPSHOT)
    assert (tmp_path / "gateways").read_text().startswith("a file")
