"""Environments of models: built with uv before they are needed, and kept under what they were built from.

One appears whole, by a rename, or not at all; several processes may ask for the same one, and one builds it.
"""

import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import msgspec
import structlog
import uv
from filelock import FileLock

from headrace.errors import EnvironmentMismatch, MissingExtra, Unavailable
from headrace.kernel.ids import new_hex
from headrace.kernel.settings import foreign_environment
from headrace.project.environment import EnvironmentLock, capture_environment
from headrace.serving.loading.requirements import Requirements, unbuildable

log = structlog.get_logger()

BUILD_TIMEOUT_S = 1_800.0
COMPLAINT_LENGTH = 1_500


class BuiltEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """What was built, as it is kept beside the packages.

    Attributes:
        key: its name.
        python: version of the interpreter.
        packages: what was installed, as `name==version`.
    """

    key: str
    python: str
    packages: tuple[str, ...]


class Environments:
    """The environments of one machine.

    Args:
        folder: where they lie.
        build_timeout_s: seconds for one build.
    """

    def __init__(self, folder: Path, *, build_timeout_s: float = BUILD_TIMEOUT_S) -> None:
        self._folder = folder
        self._build_timeout_s = build_timeout_s

    @cached_property
    def running(self) -> EnvironmentLock:
        """The environment of this process."""
        return capture_environment()

    def lacking(self, wanted: Requirements) -> tuple[str, ...]:
        """What this process's own environment lacks for a model; nothing when it will do."""
        return wanted.lacking(self.running.python, self.running.packages)

    def interpreter(self, wanted: Requirements) -> Path | None:
        """The Python of the environment that was built for a model; None when this process's own will do.

        Raises:
            Unavailable: it is not built yet.
        """
        lacking = self.lacking(wanted)
        if not lacking:
            return None
        python = self._python(wanted)
        if not python.exists():
            raise Unavailable(
                f"the model's environment is not built yet; this one lacks {', '.join(lacking)[:300]}",
                where=f"environment/{wanted.key}",
                fix="A worker builds it after registration; headrace models show MODEL@N says how far it is.",
            )
        return python

    def build(self, wanted: Requirements) -> BuiltEnvironment | None:
        """Build what a model needs, unless this process's own environment will do or it is there already.

        Raises:
            NotServed: its requirements cannot be installed.
            Unavailable: uv could not find or fetch what they name.
            EnvironmentMismatch: they contradict one another, or there is no such Python.
        """
        if not self.lacking(wanted):
            return None
        if wanted.problem:
            raise unbuildable(wanted)
        folder = self._folder / wanted.key
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / f"{wanted.key}.lock"):
            if not folder.exists():
                self._build(wanted, folder)
        return msgspec.json.decode((folder / "environment.json").read_bytes(), type=BuiltEnvironment)

    def _python(self, wanted: Requirements) -> Path:
        return self._folder / wanted.key / "bin" / "python"

    def _build(self, wanted: Requirements, folder: Path) -> None:
        for left in self._folder.glob(f".{wanted.key}-*"):
            shutil.rmtree(left, ignore_errors=True)  # of a build that was killed; the lock says that it is dead
        unfinished = self._folder / f".{wanted.key}-{new_hex()}"
        log.info("builds an environment", key=wanted.key, requirements=wanted.lines)
        try:
            unfinished.mkdir()
            self._make(wanted, unfinished)
            (unfinished / "requirements.in").write_text("\n".join(wanted.lines) + "\n", encoding="utf-8")
            (unfinished / "constraints.txt").write_text("\n".join(wanted.constraints) + "\n", encoding="utf-8")
            python = unfinished / "bin" / "python"
            source = () if wanted.from_source else ("--only-binary", ":all:")
            self._uv(
                unfinished,
                "pip", "install", "--compile-bytecode", "--python", str(python), *source,
                "--requirements", "requirements.in", "--constraints", "constraints.txt",
            )  # fmt: skip
            frozen = self._uv(unfinished, "pip", "freeze", "--python", str(python)).split()
            version = self._run(unfinished, [str(python), "-I", "-c", _VERSION]).strip()
            built = BuiltEnvironment(key=wanted.key, python=version, packages=tuple(frozen))
            (unfinished / "environment.json").write_bytes(msgspec.json.encode(built))
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _make(self, wanted: Requirements, unfinished: Path) -> None:
        """An empty environment with the Python that the model was logged with, if that can be had."""
        own = not wanted.python or platform.python_version().startswith(f"{wanted.python}.")
        try:
            self._venv(unfinished, sys.executable if own else wanted.python)
        except EnvironmentMismatch:
            if own or wanted.whole:
                raise
            log.info("another Python has to do", key=wanted.key, wanted=wanted.python)
            self._venv(unfinished, sys.executable)

    def _venv(self, folder: Path, python: str) -> None:
        self._uv(folder, "venv", "--relocatable", "--allow-existing", "--python", python, ".")

    def _uv(self, folder: Path, *arguments: str) -> str:
        with suppress(FileNotFoundError):
            return self._run(folder, [uv.find_uv_bin(), "--no-progress", *arguments])
        raise MissingExtra("uv is not installed, which builds environments", where="uv", fix="pip install uv")

    def _run(self, folder: Path, command: list[str]) -> str:
        """Run a program in the folder, where no project's settings for uv lie."""
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=foreign_environment(builds=True),
                capture_output=True,
                text=True,
                timeout=self._build_timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                f"the environment was not built within {self._build_timeout_s:g} s", where=folder.name
            ) from error
        if done.returncode:
            complaint = done.stderr.strip()[-COMPLAINT_LENGTH:]
            raise _failure(complaint, folder.name)
        return done.stdout


_VERSION = "import platform; print(platform.python_version())"
_OFFLINE = ("error sending request", "Failed to fetch", "dns error", "network", "Could not connect", "offline")


def _failure(complaint: str, where: str) -> EnvironmentMismatch | Unavailable:
    if any(sign in complaint for sign in _OFFLINE):
        return Unavailable(
            f"the environment could not be built, since packages could not be fetched: {complaint}",
            where=where,
            fix="Give uv an index that this machine reaches (UV_DEFAULT_INDEX, UV_FIND_LINKS), or log the model"
            " from the environment that serves it.",
        )
    return EnvironmentMismatch(
        f"the environment could not be built: {complaint}",
        where=where,
        fix="Log the model with pip_requirements that can be installed together.",
    )
