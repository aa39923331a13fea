"""What a run was made by, found out without being asked: code, packages, machine.

Nothing here may fail a training: what cannot be found out is left out.
"""

import getpass
import platform
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec
import psutil

from headrace.client.addresses import without_login
from headrace.project.environment import capture_environment

GIT_TIMEOUT_S = 10.0
INSTALLED = frozenset({"site-packages", "dist-packages"})
DIFF_LIMIT_BYTES = 5 * 1024**2
_SECRET = re.compile(r"(?i)(token|password|passwd|secret|credential|api[-_]?key|auth)")
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the code.

    Attributes:
        commit: what is checked out.
        branch: its branch; empty when none is.
        remote: address of `origin`, without user and password.
        changed: paths that differ from the commit, new files included.
        diff: those differences as `git apply` takes them; new files only where they are Python. Cut at 5 MiB.
    """

    commit: str
    branch: str
    remote: str
    changed: tuple[str, ...]
    diff: bytes


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine and the interpreter."""

    host: str
    system: str
    python: str
    cpu: str
    cpus: int | None
    memory_bytes: int
    gpus: tuple[str, ...]
    arguments: tuple[str, ...]
    packages: dict[str, str]


def entry_point() -> Path:
    """The script that runs, or the working folder in a notebook or a shell."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    return Path(file).absolute() if file else Path.cwd()


def user() -> str | None:
    """The login of who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return None


def failing_line(trace: TracebackType) -> str:
    """The innermost line of the person's own code, as file:line; of a library where there is none."""
    places = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(trace)]
    own = [(path, line) for path, line in places if not _is_of_a_library(path)]
    path, line = (own or places)[-1]
    return f"{path.name}:{line}"


def _is_of_a_library(path: Path) -> bool:
    homes = (Path(traceback.__file__).parent, Path(__file__).parents[1])
    installed = not INSTALLED.isdisjoint(path.parts) or str(path).startswith("<frozen ")
    return installed or any(path.is_relative_to(home) for home in homes)


def capture_code(place: Path) -> Code | None:
    """The state of the repository that `place` lies in; None without git, or outside a repository."""
    folder = place if place.is_dir() else place.parent
    root = _git(folder, "rev-parse", "--show-toplevel").decode(errors="replace").strip()
    commit = _git(folder, "rev-parse", "HEAD").decode().strip()
    if not root or not commit:
        return None
    top = Path(root)
    listed = _git(top, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames")
    entries = [entry for entry in listed.decode(errors="replace").split("\0") if entry]
    new = [entry[3:] for entry in entries if entry.startswith("??")]
    diff = _git(top, "diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD")
    for path in new:
        if path.endswith(".py") and len(diff) <= DIFF_LIMIT_BYTES:
            diff += _git(top, "diff", "--no-ext-diff", "--no-index", "--", "/dev/null", path, answers=(0, 1))
    return Code(
        commit=commit,
        branch=_git(folder, "branch", "--show-current").decode(errors="replace").strip(),
        remote=without_login(_git(folder, "remote", "get-url", "origin").decode(errors="replace").strip()),
        changed=tuple(entry[3:] for entry in entries),
        diff=diff[:DIFF_LIMIT_BYTES],
    )


def capture_machine() -> Machine:
    """The machine, the interpreter and its packages."""
    return Machine(
        host=platform.node(),
        system=platform.platform(),
        python=platform.python_version(),
        cpu=_cpu(),
        cpus=psutil.cpu_count(),
        memory_bytes=psutil.virtual_memory().total,
        gpus=_gpus(),
        arguments=without_secrets(sys.argv),
        packages=capture_environment().packages,
    )


def without_secrets(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command line, with the values of options that sound like secrets, and logins of addresses, left out."""
    shown: list[str] = []
    hide_next = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        secret = (bool(equals) or name.startswith("-")) and _SECRET.search(name) is not None
        if hide_next and not argument.startswith("-"):
            shown.append("…")
        elif secret and equals:
            shown.append(f"{name}=…")
        else:
            shown.append(_LOGIN.sub("…@", argument))
        hide_next = secret and not equals
    return tuple(shown)


def _git(folder: Path, *arguments: str, answers: tuple[int, ...] = (0,)) -> bytes:
    """What git prints; empty when it cannot answer."""
    program = shutil.which("git")
    if program is None:
        return b""
    try:
        done = subprocess.run(
            [program, "--no-optional-locks", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode in answers else b""


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpus() -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, timeout=GIT_TIMEOUT_S, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines()) if done.returncode == 0 else ()
