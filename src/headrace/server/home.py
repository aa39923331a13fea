"""The home: one process at a time owns what lies in it, and this lock says which."""

from pathlib import Path

import filelock

from headrace.errors import HomeLocked


def hold_home(home: Path) -> filelock.BaseFileLock:
    """Make the home if it is not there, and lock it; the lock is a context manager and ends with its process.

    Raises:
        HomeLocked: another platform runs on this home.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = filelock.FileLock(home / "up.lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise HomeLocked(
            "another platform already runs on this home",
            where=str(home),
            fix="Use that one, stop it, or choose another folder with --home.",
        ) from error
    return lock
