"""The demo's project under git, and the people who work on it."""

import shutil
import subprocess
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from headrace.errors import MissingExtra, NotFound
from headrace.sdk.connect import connect
from headrace.sdk.platform import Platform


def example_folder() -> Path:
    """The example project: inside the installed package, or beside the source.

    Raises:
        NotFound: the installation has lost it.
    """
    for folder in (Path(str(files("headrace"))) / "examples", Path(str(files("headrace"))).parents[1] / "examples"):
        if (folder / "churn" / "churn.py").exists():
            return folder / "churn"
    raise NotFound("the example project is not in this installation", fix="Install headrace again.")


def require_example_packages() -> None:
    """The example trains scikit-learn models, which the base installation does without.

    Raises:
        MissingExtra: they are not installed.
    """
    missing = [name for name in ("sklearn", "skops") if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"the demo's example needs {' and '.join(missing)}",
            where="headrace demo",
            fix="Install them: pip install 'headrace[sklearn]'",
        )


def copy_project(target: Path) -> str | None:
    """Copy the example to a folder of its own and commit it, as a user would have it; returns the commit."""
    shutil.copytree(example_folder(), target, ignore=shutil.ignore_patterns("__pycache__"))
    git = shutil.which("git")
    if git is None:
        return None
    identity = ["-c", "user.name=Dana", "-c", "user.email=dana@shop.example", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Which customers will not buy again"]):
        subprocess.run([git, *identity, *arguments], cwd=target, check=True, capture_output=True)
    head = subprocess.run([git, "rev-parse", "HEAD"], cwd=target, check=True, capture_output=True, text=True)
    return head.stdout.strip()


def person(admin: Platform, home: Path, name: str, roles: list[str]) -> Platform:
    """A principal with a token, connected."""
    admin.access.add(name, roles)
    return connect(admin.url, token=admin.access.issue_token(name).secret, home=home)
