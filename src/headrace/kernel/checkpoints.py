"""Signed statements of how far the event chain had grown, kept in a file outside the database.

Whoever can write the database can recompute its hash chain, or cut its end off. Neither agrees any more with a
checkpoint signed before. Whoever can also read the private key can forge both; an auditor who must not trust the
operator keeps copies of the checkpoint file, or of the key's fingerprint, elsewhere.
"""

import base64
import hashlib
import os
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from headrace.errors import InvalidInput, StartError
from headrace.kernel.schema import to_microseconds

FIRST = "0" * 64
_CONTEXT = "headrace audit checkpoint 1"  # so that the signature means nothing elsewhere


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """That the chain had this hash at this length.

    Attributes:
        seq: sequence number of the last event that it covers.
        hash: that event's hash.
        at: wall time of the signature, UTC.
        previous: SHA-256 of the line before in the file, so that none can be taken out of its middle.
        key: fingerprint of the public key.
        signature: Ed25519 (RFC 8032) over the five fields above, base64.
    """

    seq: int
    hash: str
    at: datetime
    previous: str
    key: str
    signature: str = ""


class SigningKey:
    """The key pair of one home: HOME/keys/audit.pem, readable by its owner alone, and HOME/keys/audit.pub."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.fingerprint = fingerprint(private.public_key())

    def sign(self, unsigned: Checkpoint) -> Checkpoint:
        """The same checkpoint with this key's fingerprint and signature."""
        named = msgspec.structs.replace(unsigned, key=self.fingerprint)
        signature = base64.b64encode(self._private.sign(_signed_bytes(named))).decode()
        return msgspec.structs.replace(named, signature=signature)


def private_key_path(home: Path) -> Path:
    """Where the private key of a home lies."""
    return home / "keys" / "audit.pem"


def public_key_path(home: Path) -> Path:
    """Where the public key of a home lies."""
    return home / "keys" / "audit.pub"


def checkpoints_path(home: Path) -> Path:
    """Where the checkpoints of a home lie, one JSON object a line."""
    return home / "audit" / "checkpoints.jsonl"


def open_signing_key(home: Path) -> SigningKey:
    """The home's key pair, made on first use.

    Raises:
        StartError: the private key is readable by others, or is no Ed25519 key.
    """
    path = private_key_path(home)
    if not path.exists():
        _make_key(home)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise StartError(
            "the audit key is readable by others than its owner", where=str(path), fix=f"Run: chmod 600 {path}"
        )
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise StartError("the audit key is damaged", where=str(path), fix="Restore it from a backup.") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise StartError("the audit key is not an Ed25519 key", where=str(path), fix="Restore it from a backup.")
    return SigningKey(private)


def read_public_key(path: Path) -> Ed25519PublicKey:
    """A public key from its PEM file.

    Raises:
        InvalidInput: there is no such file, or it holds no Ed25519 public key.
    """
    try:
        public = serialization.load_pem_public_key(path.read_bytes())
    except FileNotFoundError as error:
        raise InvalidInput(
            "there is no such file", where=str(path), fix="Do it where the platform's home is, or name the home."
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidInput(
            "this is no readable public key", where=str(path), fix="Name the home's audit.pub."
        ) from error
    if not isinstance(public, Ed25519PublicKey):
        raise InvalidInput("this is not an Ed25519 key", where=str(path), fix="Name the home's audit.pub.")
    return public


def fingerprint(public: Ed25519PublicKey) -> str:
    """SHA-256 of the raw public key, as hex."""
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()


def verifies(checkpoint: Checkpoint, public: Ed25519PublicKey) -> bool:
    """Whether this key signed this checkpoint."""
    try:
        public.verify(base64.b64decode(checkpoint.signature, validate=True), _signed_bytes(checkpoint))
    except (InvalidSignature, ValueError):
        return False
    return checkpoint.key == fingerprint(public)


def append(path: Path, key: SigningKey, *, seq: int, hash: str, at: datetime) -> Checkpoint:  # noqa: A002
    """Sign a checkpoint and add it to the file; returns when it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    last = last_line(path)
    previous = digest_of_line(last) if last else FIRST
    checkpoint = key.sign(Checkpoint(seq=seq, hash=hash, at=at, previous=previous, key=""))
    with path.open("ab") as file:
        file.truncate(sum(len(line) + 1 for line in lines(path)))
        file.write(msgspec.json.encode(checkpoint) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return checkpoint


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a checkpoint file, oldest first; none when there is no file.

    A last line without its end is one whose writing was cut short: it vouches for nothing and is left out.
    """
    if path.exists():
        with path.open("rb") as file:
            yield from (line[:-1] for line in file if line.endswith(b"\n"))


def last_line(path: Path) -> bytes:
    """The newest line of a checkpoint file; empty when there is none."""
    last = b""
    for line in lines(path):
        last = line
    return last


def last_checkpoint(path: Path) -> Checkpoint | None:
    """The newest checkpoint of a file.

    Raises:
        InvalidInput: the line is no checkpoint.
    """
    line = last_line(path)
    if not line:
        return None
    try:
        return msgspec.json.decode(line, type=Checkpoint)
    except msgspec.DecodeError as error:
        raise InvalidInput(
            "the last line is no checkpoint", where=str(path), fix="Run: headrace audit verify"
        ) from error


def digest_of_line(line: bytes) -> str:
    """SHA-256 of a line, which the next line names."""
    return hashlib.sha256(line).hexdigest()


def _signed_bytes(checkpoint: Checkpoint) -> bytes:
    return msgspec.json.encode(
        [
            _CONTEXT,
            checkpoint.seq,
            checkpoint.hash,
            to_microseconds(checkpoint.at),
            checkpoint.previous,
            checkpoint.key,
        ]
    )


def _make_key(home: Path) -> None:
    private = Ed25519PrivateKey.generate()
    path = private_key_path(home)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    public_key_path(home).write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
    )  # never readable by others, not even briefly
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        file.flush()
        os.fsync(file.fileno())
