"""The commit that a project's files are at, when they are in a git repository."""

import shutil
import subprocess
from pathlib import Path

GIT_TIMEOUT_S = 10


def code_commit(root: Path) -> str | None:
    """The commit of the project's folder, with "+changed" when files differ from it; None without git."""
    git = shutil.which("git")
    commit = _answer(git, root, "rev-parse", "HEAD") if git else None
    if not commit:
        return None
    return f"{commit}+changed" if _answer(git, root, "status", "--porcelain", "--", ".") else commit


def _answer(git: str | None, root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - the program is git from the PATH, the arguments are constants
            [git or "git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
