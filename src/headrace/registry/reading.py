"""Reading, on a worker, what files say of a version: its packages, and how its code differed from the commit."""

import msgspec

from headrace.errors import NotFound, PolicyRefused
from headrace.kernel.environments import Environment, environment_of
from headrace.kernel.roots import ArtifactRoots, open_roots
from headrace.kernel.work import WorkContext
from headrace.registry.completion import DIFF, MACHINE
from headrace.registry.environment_files import read_environment
from headrace.registry.jobs import LARGEST_FILE_BYTES, FilesRead, ReadFiles

LARGEST_DIFF_BYTES = 6 * 1024**2
"""More than `hr.run` ever writes."""


class _Machine(msgspec.Struct):
    """What is read of a run's `machine.json`."""

    python: str = ""
    packages: dict[str, str] = {}


def run_reading(context: WorkContext, payload: ReadFiles) -> FilesRead:
    """Read them; what is not there, or cannot be understood, is left out.

    Raises:
        Unavailable: a store does not answer, so that it is tried again.
    """
    contents = {}
    for name, digest in payload.environment.items():
        content = _blob(context, digest)
        if content is not None:
            contents[name] = content
    machine = None if payload.machine is None else _blob(context, payload.machine)
    diff = None
    if payload.place:
        roots = open_roots(context.settings)
        machine = machine or _at_root(roots, payload.place, MACHINE, LARGEST_FILE_BYTES)
        found = _at_root(roots, payload.place, DIFF, LARGEST_DIFF_BYTES) if payload.diff_wanted else None
        diff = None if found is None else context.blobs.put([found]).digest
    return FilesRead(
        needs=read_environment(contents), ran_in=None if machine is None else _packages(machine), code_diff=diff
    )


def _blob(context: WorkContext, digest: str) -> bytes | None:
    try:
        return context.blobs.read(digest) if context.blobs.size(digest) <= LARGEST_FILE_BYTES else None
    except NotFound:  # the version was deleted meanwhile, and its files collected
        return None


def _at_root(roots: ArtifactRoots, place: str, path: str, most_bytes: int) -> bytes | None:
    try:
        if roots.file(place, path).size_bytes > most_bytes:
            return None
        return b"".join(roots.stream(place, path))
    except (NotFound, PolicyRefused):  # an operator has taken the root out of those that are read
        return None


def _packages(machine: bytes) -> Environment | None:
    try:
        found = msgspec.json.decode(machine, type=_Machine)
    except msgspec.MsgspecError:
        return None
    return environment_of(found.python, found.packages) if found.packages else None
