"""Tickets: short-lived proofs that the platform itself let somebody do one thing, for callers without a login.

A ticket is encrypted and authenticated (Fernet: AES-128 in CBC mode, HMAC with SHA-256), so whoever carries it can
neither read nor change it. It names its purpose, and one for another purpose opens nothing.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from headrace.errors import PermissionRefused, StartError

T = TypeVar("T", bound=msgspec.Struct)

KEY_FILE = "tickets.key"


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    purpose: str
    expires_at: datetime
    content: msgspec.Raw


class Tickets:
    """Issues tickets and reads them again; stateless, so any process with the key can read what another issued."""

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(key)

    def issue(self, purpose: str, content: msgspec.Struct, *, now: datetime, valid_for: timedelta) -> str:
        """A ticket as text that fits into a header or an address."""
        raw = msgspec.Raw(msgspec.json.encode(content))
        envelope = _Envelope(purpose, now + valid_for, raw)
        return self._fernet.encrypt(msgspec.json.encode(envelope)).decode()

    def read(self, purpose: str, ticket: str, kind: type[T], *, now: datetime) -> T:
        """The content of a ticket.

        Raises:
            PermissionRefused: it is none of ours, for another purpose, or has expired.
        """
        try:
            envelope = msgspec.json.decode(self._fernet.decrypt(ticket.encode()), type=_Envelope)
            if envelope.purpose == purpose:
                content = msgspec.json.decode(envelope.content, type=kind)
                if now < envelope.expires_at:
                    return content
                raise PermissionRefused(
                    f"this {purpose} was valid until {envelope.expires_at:%Y-%m-%d %H:%M} UTC",
                    where=purpose,
                    fix="Ask for another one.",
                )
        except (InvalidToken, msgspec.DecodeError, UnicodeEncodeError):
            pass
        raise PermissionRefused(f"this is no valid {purpose}", where=purpose, fix="Ask for another one.")


def open_tickets(home: Path) -> Tickets:
    """The tickets of a home; its key, HOME/keys/tickets.key, is made on first use.

    Raises:
        StartError: the key is damaged.
    """
    path = home / "keys" / KEY_FILE
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _make_key(path)
    try:
        return Tickets(path.read_bytes())
    except ValueError as error:
        fix = "Remove it; tickets that were issued with it open nothing any more."
        raise StartError("the key of the tickets is damaged", where=str(path), fix=fix) from error


def _make_key(path: Path) -> None:
    staged = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(Fernet.generate_key())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(staged, path)  # the first of several processes wins
    except FileExistsError:
        pass
    finally:
        staged.unlink()
