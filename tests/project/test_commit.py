"""The commit is read from git's files, whatever way git keeps it."""

from pathlib import Path

import pytest

from headrace.project.commit import code_commit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "project").mkdir(exist_ok=True)
    return folder / "project"


@pytest.mark.parametrize(
    "files",
    [
        {".git/HEAD": f"{COMMIT}\n"},
        {".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": f"{COMMIT}\n"},
        {".git/HEAD": "ref: refs/heads/main\n", ".git/packed-refs": f"# pack\n{COMMIT} refs/heads/main\n"},
        {
            ".git": "gitdir: main/worktrees/one\n",
            "main/worktrees/one/HEAD": "ref: refs/heads/one\n",
            "main/worktrees/one/commondir": "../..\n",
            "main/refs/heads/one": f"{COMMIT}\n",
        },
    ],
    ids=["detached", "branch", "packed", "worktree"],
)
def test_each_way_is_read(tmp_path: Path, files: dict[str, str]) -> None:
    assert code_commit(git(tmp_path, files)) == COMMIT


@pytest.mark.parametrize(
    "files",
    [
        {".git/HEAD": "ref: refs/heads/main\n"},
        {".git/HEAD": "something else\n"},
        {".git/config": ""},
        {".git": "gitdir: nowhere\n"},
    ],
    ids=["no commit yet", "no commit", "no head", "no folder"],
)
def test_without_a_commit_there_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    assert code_commit(git(tmp_path, files)) is None
