"""The environment lock: which packages, at which versions, the project was written against.

A bundle that ran with these packages can be run again only with them, so the lock travels with the code.
"""

import hashlib
import platform
import re
from importlib import metadata

import msgspec


class EnvironmentLock(msgspec.Struct, frozen=True, kw_only=True):
    """The installed distributions of one environment.

    Args:
        python: the interpreter's version, such as "3.11.7".
        packages: version by normalised distribution name, sorted by name.
    """

    python: str
    packages: dict[str, str]

    @property
    def lines(self) -> tuple[str, ...]:
        """The packages as "name==version", sorted."""
        return tuple(f"{name}=={version}" for name, version in sorted(self.packages.items()))

    @property
    def digest(self) -> str:
        """sha256 of the interpreter's version and the packages."""
        text = "\n".join((f"python=={self.python}", *self.lines))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def capture_environment() -> EnvironmentLock:
    """The lock of the environment that this process runs in."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        # A broken installation may have metadata without a name; it cannot be asked for, so it is left out.
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(normalised(name), distribution.version)
    return EnvironmentLock(python=platform.python_version(), packages=dict(sorted(found.items())))


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
