"""The commit that a project's folder is at, when it is in a git repository.

It is read from git's files, so that no other program runs. Whether files differ from the commit is not asked:
what ran is the bundle, whose digest is exact, and the commit only says where it came from.
"""

import re
from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
REFERENCE = "ref: "


def code_commit(root: Path) -> str | None:
    """The commit that is checked out above or at a folder; None without git."""
    for folder in (root.resolve(), *root.resolve().parents):
        if (folder / ".git").exists():
            try:
                return _commit(_git_directory(folder / ".git"))
            except (OSError, UnicodeDecodeError):
                return None
    return None


def _git_directory(path: Path) -> Path:
    """`.git` itself, or the folder that it names in a worktree."""
    if path.is_dir():
        return path
    return (path.parent / path.read_text(encoding="utf-8").removeprefix("gitdir:").strip()).resolve()


def _commit(directory: Path) -> str | None:
    head = (directory / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith(REFERENCE):
        return head if COMMIT.fullmatch(head) else None
    reference = head.removeprefix(REFERENCE)
    shared = directory / "commondir"
    common = (directory / shared.read_text(encoding="utf-8").strip()) if shared.exists() else directory
    for place in (directory, common):
        if (place / reference).is_file():
            return (place / reference).read_text(encoding="utf-8").strip()
    packed = common / "packed-refs"
    for line in packed.read_text(encoding="utf-8").splitlines() if packed.exists() else ():
        commit, _, name = line.partition(" ")
        if name == reference and COMMIT.fullmatch(commit):
            return commit
    return None
