"""Tickets: what was issued can be read, and nothing else."""

import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from headrace.errors import PermissionRefused, StartError
from headrace.kernel.clocks import ManualClock
from headrace.kernel.tickets import Tickets, open_tickets

HOUR = timedelta(hours=1)


class Seat(msgspec.Struct, frozen=True):
    row: int
    name: str


@pytest.fixture
def tickets(tmp_path: Path) -> Tickets:
    return open_tickets(tmp_path)


def test_a_ticket_says_what_it_was_given_until_it_expires(tickets: Tickets, clock: ManualClock) -> None:
    ticket = tickets.issue("seat", Seat(3, "дом"), now=clock.now(), valid_for=HOUR)
    assert ticket.isascii()
    assert not set(ticket) & set(' ",;\r\n')
    clock.advance(HOUR - timedelta(seconds=1))
    assert tickets.read("seat", ticket, Seat, now=clock.now()) == Seat(3, "дом")
    clock.advance(timedelta(seconds=1))
    with pytest.raises(PermissionRefused, match="this seat was valid until 20"):
        tickets.read("seat", ticket, Seat, now=clock.now())


def test_nothing_else_is_a_ticket(tickets: Tickets, tmp_path: Path, clock: ManualClock) -> None:
    ticket = tickets.issue("seat", Seat(3, "a"), now=clock.now(), valid_for=HOUR)
    changed = ticket[:-10] + ("A" if ticket[-10] != "A" else "B") + ticket[-9:]
    foreign = open_tickets(tmp_path / "other").issue("seat", Seat(3, "a"), now=clock.now(), valid_for=HOUR)
    other = tickets.issue("bed", Seat(3, "a"), now=clock.now(), valid_for=HOUR)
    for false in ("", "x", "é", changed, foreign, other, ticket[:-1]):
        with pytest.raises(PermissionRefused):
            tickets.read("seat", false, Seat, now=clock.now())


def test_the_key_is_one_for_all_processes_of_a_home(tmp_path: Path, clock: ManualClock) -> None:
    program = f"""
from pathlib import Path
from headrace.kernel.tickets import open_tickets
open_tickets(Path({str(tmp_path)!r}))
"""
    racing = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(4)]
    assert [process.wait() for process in racing] == [0] * 4
    key = tmp_path / "keys" / "tickets.key"
    assert [path.name for path in key.parent.iterdir()] == [key.name]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    ticket = open_tickets(tmp_path).issue("seat", Seat(1, "a"), now=clock.now(), valid_for=HOUR)
    assert open_tickets(tmp_path).read("seat", ticket, Seat, now=clock.now()) == Seat(1, "a")


def test_a_damaged_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "tickets.key").write_bytes(b"damaged")
    with pytest.raises(StartError, match="damaged"):
        open_tickets(tmp_path)
