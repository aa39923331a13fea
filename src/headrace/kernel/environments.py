"""Environments in the graph of lineage: which packages something ran with, or needs, and who has one below x.y."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import lineage
from headrace.kernel.database import Tx
from headrace.kernel.prepared import InsertMany
from headrace.kernel.tables import lineage_packages
from headrace.project.environment import EnvironmentLock, normalised

KIND = "environment"
PYTHON = "python"
"""The interpreter is asked about like a package."""
NAME_LIMIT = 256
VERSION_LIMIT = 256
REQUIREMENT_LIMIT = 1_000

_ADD = InsertMany(
    lineage_packages, ("environment", "name", "workspace", "version", "requirement"), keep_existing=True
)


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The packages of one environment.

    Attributes:
        digest: sha256 of all below; a lock has the digest that `EnvironmentLock` gives it.
        python: the interpreter's version; empty when nothing says it.
        packages: version by normalised name.
        unpinned: where no exact version is known, what was asked for, by normalised name.
    """

    digest: str
    python: str
    packages: dict[str, str]
    unpinned: dict[str, str] = {}


class Having(NamedTuple):
    """Which environments have a package as it is asked for.

    Attributes:
        exact: the version, by number of the environment's subject.
        unknown: what was asked for instead of a version, likewise.
    """

    exact: dict[int, str]
    unknown: dict[int, str]


def environment_of(
    python: str, packages: Mapping[str, str], unpinned: Mapping[str, str] | None = None
) -> Environment:
    """An environment under its digest."""
    lock = EnvironmentLock(python=python, packages=dict(sorted(packages.items())))
    asked = dict(sorted((unpinned or {}).items()))
    digest = lock.digest
    if asked:
        text = "\n".join((lock.digest, *(f"{name} {requirement}" for name, requirement in asked.items())))
        digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return Environment(digest=digest, python=python, packages=lock.packages, unpinned=asked)


def subject(digest: str) -> str:
    """The name of an environment in the graph."""
    return f"{KIND}/{digest}"


def keep(tx: Tx, environment: Environment) -> str:
    """Have an environment in the graph with its packages; returns its name there."""
    name = subject(environment.digest)
    known = lineage.find(tx, name)
    if known is not None and known.about:
        return name
    packages = {normalised(each): version for each, version in environment.packages.items()}
    number = lineage.enter(
        tx, name, {"python": environment.python, "packages": len(packages) + len(environment.unpinned)}
    )
    rows: list[tuple[int, str, str, str | None, str]] = []
    if environment.python:
        rows.append((number, PYTHON, tx.workspace, environment.python, f"{PYTHON}=={environment.python}"))
    for each, version in packages.items():
        exact = version if len(version) <= VERSION_LIMIT else None
        rows.append((number, each, tx.workspace, exact, f"{each}=={version}"[:REQUIREMENT_LIMIT]))
    rows += [
        (number, normalised(each), tx.workspace, None, asked[:REQUIREMENT_LIMIT])
        for each, asked in environment.unpinned.items()
    ]
    _ADD.run(tx, [row for row in rows if len(row[1]) <= NAME_LIMIT])
    return name


def get(tx: Tx, digest: str) -> Environment:
    """An environment with its packages.

    Raises:
        NotFound: there is none of this digest.
    """
    found = lineage.find(tx, subject(digest))
    if found is None or not found.about:
        raise NotFound("there is no environment of this digest", where=subject(digest))
    table = lineage_packages
    query = sa.select(table.c.name, table.c.version, table.c.requirement).where(
        table.c.environment == found.number, table.c.name != PYTHON
    )
    rows = tx.execute(query.order_by(table.c.name)).all()
    return Environment(
        digest=digest,
        python=found.about.get("python", ""),
        packages={row.name: row.version for row in rows if row.version is not None},
        unpinned={row.name: row.requirement for row in rows if row.version is None},
    )


def having(tx: Tx, requirement: str) -> Having:
    """The environments that have a package at a version of the range that is asked for.

    Args:
        tx: the transaction.
        requirement: as pip takes it, such as `numpy<2.1`; a name alone means any version.

    Raises:
        InvalidInput: it is no requirement, or says more than a name and versions.
    """
    asked = _parsed(requirement)
    table = lineage_packages
    query = sa.select(table.c.environment, table.c.version, table.c.requirement).where(
        table.c.workspace == tx.workspace, table.c.name == normalised(asked.name)
    )
    rows = tx.execute(query).all()
    if not asked.specifier:
        return Having(exact={row.environment: row.version or row.requirement for row in rows}, unknown={})
    accepted = _accepted(asked, {row.version for row in rows if row.version is not None})
    exact = {row.environment: row.version for row in rows if accepted.get(row.version) is True}
    unknown = {row.environment: row.requirement for row in rows if accepted.get(row.version) is None}
    return Having(exact=exact, unknown=unknown)


def _accepted(asked: Requirement, versions: Iterable[str]) -> dict[str, bool | None]:
    """Whether each version is in the range, as PEP 440 orders them; None for what is no version to it."""
    found: dict[str, bool | None] = {}
    for version in versions:
        try:
            found[version] = asked.specifier.contains(Version(version), prereleases=True)
        except InvalidVersion:
            found[version] = None
    return found


def _parsed(text: str) -> Requirement:
    try:
        asked = Requirement(text)
    except InvalidRequirement as error:
        raise InvalidInput(
            f"{text[:100]!r} is no package with versions", where="package", fix='Write it as pip does: "numpy<2.1".'
        ) from error
    if asked.url or asked.extras or asked.marker:
        raise InvalidInput(
            "a question about a package is a name with versions, and nothing else",
            where="package",
            fix='Write it as pip does: "numpy<2.1".',
        )
    return asked
