import json
import subprocess
from pathlib import Path

import pytest

from headrace.sdk import capture


def git(folder: Path, *arguments: str) -> None:
    name = ("-c", "user.name=Ana", "-c", "user.email=ana@example.org")
    subprocess.run(["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--initial-branch", "trunk")
    (folder / "train.py").write_text("print(1)\n")
    (folder / ".gitignore").write_text("secret.py\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    git(folder, "remote", "add", "origin", "https://ana:hunter2@example.org/repository.git")
    return folder


def test_a_clean_repository(repository: Path) -> None:
    code = capture.capture_code(repository / "train.py")
    assert code is not None
    assert (code.branch, code.remote) == ("trunk", "https://example.org/repository.git")
    assert len(code.commit) == 40
    assert (code.changed, code.diff) == ((), b"")


def test_what_differs_can_be_applied_again(repository: Path, tmp_path: Path) -> None:
    (repository / "train.py").write_text("print(2)\n")
    (repository / "more ä.py").write_text("print(3)\n")
    (repository / "staged.py").write_text("print(4)\n")
    (repository / "notes.txt").write_text("not code")
    (repository / "secret.py").write_text("ignored")
    git(repository, "add", "staged.py")
    code = capture.capture_code(repository)
    assert code is not None
    assert set(code.changed) == {"train.py", "more ä.py", "staged.py", "notes.txt"}
    again = tmp_path / "again"
    git(tmp_path, "clone", str(repository), str(again))
    git(again, "checkout", code.commit)
    (tmp_path / "changes.diff").write_bytes(code.diff)
    git(again, "apply", str(tmp_path / "changes.diff"))
    assert {path.name: path.read_text() for path in again.glob("*.py")} == {
        "train.py": "print(2)\n",
        "more ä.py": "print(3)\n",
        "staged.py": "print(4)\n",
    }


def test_no_repository_and_no_git(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert capture.capture_code(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert capture.capture_code(repository) is None


def test_secrets_of_a_command_line_are_left_out() -> None:
    line = ["train.py", "--api-key", "s3cret", "--token=s3cret", "--depth", "3", "--password", "--quiet", "data"]
    assert capture.without_secrets(line) == (
        *("train.py", "--api-key", "…", "--token=…", "--depth", "3", "--password", "--quiet", "data"),
    )


def test_secrets_are_left_out_of_overrides_and_addresses_too() -> None:
    line = [
        "train.py",
        "db.password=s3cret",
        "+hub.token=s3cret",
        "depth=3",
        "--db",
        "postgresql://u:s3cret@host/x",
    ]
    assert capture.without_secrets(line) == (
        *("train.py", "db.password=…", "+hub.token=…", "depth=3", "--db", "postgresql://…@host/x"),
    )


def test_the_machine() -> None:
    machine = capture.capture_machine()
    assert machine.memory_bytes > 0
    assert machine.cpu
    assert machine.packages["msgspec"]


def test_a_failure_is_told_where_the_persons_own_code_is() -> None:
    with pytest.raises(json.JSONDecodeError) as raised:
        json.loads("{")
    assert capture.failing_line(raised.tb).startswith("test_capture.py:")
