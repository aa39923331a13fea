"""What the test's own process has started and still runs."""

from contextlib import suppress

import psutil


def children(named: str) -> list[psutil.Process]:
    """Children whose command line holds this, and not what other tests have not let go of yet."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it ended while it was looked at
            if named in " ".join(child.cmdline()):
                found.append(child)
    return found
