"""The signing key and its file modes; forged checkpoints are in test_audit."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.errors import InvalidInput, StartError
from headrace.kernel import checkpoints

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_private_key_is_its_owners_alone(tmp_path: Path) -> None:
    first = checkpoints.open_signing_key(tmp_path)
    path = checkpoints.private_key_path(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert checkpoints.open_signing_key(tmp_path).fingerprint == first.fingerprint
    assert "PRIVATE" not in checkpoints.public_key_path(tmp_path).read_text()


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    checkpoints.open_signing_key(tmp_path)
    checkpoints.private_key_path(tmp_path).chmod(0o640)
    with pytest.raises(StartError, match="chmod 600"):
        checkpoints.open_signing_key(tmp_path)


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    checkpoints.open_signing_key(tmp_path)
    checkpoints.private_key_path(tmp_path).write_text("no key")
    with pytest.raises(StartError):
        checkpoints.open_signing_key(tmp_path)


def test_a_public_key_is_read_and_nothing_else(tmp_path: Path) -> None:
    key = checkpoints.open_signing_key(tmp_path)
    public = checkpoints.read_public_key(checkpoints.public_key_path(tmp_path))
    assert checkpoints.fingerprint(public) == key.fingerprint
    with pytest.raises(InvalidInput):
        checkpoints.read_public_key(checkpoints.private_key_path(tmp_path))


def test_each_checkpoint_names_the_line_before(tmp_path: Path) -> None:
    key, path = checkpoints.open_signing_key(tmp_path), checkpoints.checkpoints_path(tmp_path)
    assert checkpoints.last_checkpoint(path) is None
    first = checkpoints.append(path, key, seq=3, hash="aa", at=NOW)
    second = checkpoints.append(path, key, seq=5, hash="bb", at=NOW)
    lines = list(checkpoints.lines(path))
    assert first.previous == checkpoints.FIRST
    assert second.previous == checkpoints.digest_of_line(lines[0])
    assert checkpoints.last_checkpoint(path) == second


def test_a_signature_is_for_one_key_and_one_content(tmp_path: Path) -> None:
    key, path = checkpoints.open_signing_key(tmp_path), checkpoints.checkpoints_path(tmp_path)
    signed = checkpoints.append(path, key, seq=3, hash="aa", at=NOW)
    public = checkpoints.read_public_key(checkpoints.public_key_path(tmp_path))
    checkpoints.open_signing_key(tmp_path / "other")
    other = checkpoints.read_public_key(checkpoints.public_key_path(tmp_path / "other"))
    assert checkpoints.verifies(signed, public)
    assert not checkpoints.verifies(signed, other)


def test_a_line_that_was_cut_short_by_a_crash_is_written_anew(tmp_path: Path) -> None:
    key, path = checkpoints.open_signing_key(tmp_path), checkpoints.checkpoints_path(tmp_path)
    first = checkpoints.append(path, key, seq=3, hash="aa", at=NOW)
    with path.open("ab") as file:
        file.write(b'{"seq": 5, "ha')
    assert checkpoints.last_checkpoint(path) == first
    second = checkpoints.append(path, key, seq=5, hash="bb", at=NOW)
    assert checkpoints.last_checkpoint(path) == second
    assert len(list(checkpoints.lines(path))) == 2


def test_a_last_line_that_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.jsonl"
    path.write_bytes(b'{"seq": 3}\n')
    with pytest.raises(InvalidInput):
        checkpoints.last_checkpoint(path)
