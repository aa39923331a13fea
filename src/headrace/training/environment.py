"""Environments: a bundle runs only with the packages that it was locked to.

A worker uses the installed environment. When that differs from the bundle's lock, what would run is not what the
author tried, so it is refused with the names of what differs.
"""

from headrace.errors import EnvironmentMismatch
from headrace.project.environment import EnvironmentLock

SHOWN = 8
"""How many differing packages an error names."""


def differences(locked: EnvironmentLock, installed: EnvironmentLock) -> tuple[str, ...]:
    """What differs, one line a package: "numpy 2.4.6 is locked, 2.3.0 is installed"."""
    found = []
    if locked.python != installed.python:
        found.append(f"python {locked.python} is locked, {installed.python} runs")
    for name in sorted(locked.packages.keys() | installed.packages.keys()):
        wanted, present = locked.packages.get(name), installed.packages.get(name)
        if wanted == present:
            continue
        if present is None:
            found.append(f"{name} {wanted} is locked and not installed")
        elif wanted is None:
            found.append(f"{name} {present} is installed and not locked")
        else:
            found.append(f"{name} {wanted} is locked, {present} is installed")
    return tuple(found)


def require_same(locked: EnvironmentLock, installed: EnvironmentLock) -> None:
    """Refuses a lock that is not the installed environment.

    Raises:
        EnvironmentMismatch: names the packages that differ.
    """
    found = differences(locked, installed)
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise EnvironmentMismatch(
            f"the bundle was locked to other packages: {'; '.join(found[:SHOWN])}{more}",
            where=locked.digest,
            fix="Install the locked packages where the workers run, or run headrace apply from their environment.",
        )
