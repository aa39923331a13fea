"""Which versions used this table, this feature, this commit, this package below x.y."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from headrace.errors import InvalidInput, NotFound
from headrace.governance.facts import version_name
from headrace.governance.lineage import resolve
from headrace.governance.nouns import Through, Uses, UsesPage, VersionUse
from headrace.kernel import environments, lineage, lineage_walks
from headrace.kernel.database import Tx
from headrace.kernel.lineage import Subject
from headrace.registry import versions
from headrace.registry.lineage import version_subject
from headrace.tracking import cursors, keys

PAGE_LIMIT = 1_000
MOST_ALIKE = 1_000
"""How many versions of a source or a view, datasets or commits one question may mean."""
FOUND_SHOWN = 20
THROUGH_SHOWN = 5
SUGGESTED = 5

_COMMIT = re.compile(r"[0-9a-f]{4,64}")
_QUESTIONS = ("table", "feature", "view", "commit", "package", "subject")


class Roots(NamedTuple):
    """What a question means: numbers in the graph, each with what is to be said of it.

    Attributes:
        unknown: what may be meant, and cannot be told: packages without an exact version.
    """

    exact: Mapping[int, str]
    unknown: Mapping[int, str] = {}


def versions_using(tx: Tx, asked: Uses, *, limit: int = 100, cursor: str = "") -> UsesPage:
    """A page of the versions that use what is asked for, newest first; deleted ones are among them.

    Raises:
        InvalidInput: not exactly one thing is asked for, or it cannot be read; or the limit or the cursor is none.
        NotFound: nothing of the name is known.
    """
    keys.check_limit(limit, PAGE_LIMIT)
    given = [name for name in _QUESTIONS if getattr(asked, name)]
    if len(given) != 1:
        raise InvalidInput("ask for one thing", where="uses", fix=f"Give one of {', '.join(_QUESTIONS)}.")
    roots = _ROOTS[given[0]](tx, getattr(asked, given[0]))
    signature = cursors.signature("uses", asked)
    after = cursors.read(signature, cursor)
    wanted, but = (roots.unknown, roots.exact) if asked.unpinned else (roots.exact, {})
    among = None
    if asked.production:
        among = [version_subject(*each) for each in versions.in_production(tx)]
    page, ended = lineage_walks.versions_from(
        tx,
        list(wanted),
        limit=limit,
        before=None if after is None else int(after[0]),
        among=among,
        but=list(but),
    )
    others: list[Subject] = []
    if roots.unknown and not asked.unpinned:
        others, _ = lineage_walks.versions_from(
            tx, list(roots.unknown), limit=1, among=among, but=list(roots.exact)
        )
    known = lineage.numbered(tx, list(wanted)[:FOUND_SHOWN])
    return UsesPage(
        found=tuple(sorted(subject.subject for subject in known.values())),
        versions=tuple(_described(tx, page, wanted)),
        unpinned=bool(others),
        next_cursor=cursors.write(signature, None if ended is None else (ended,)),
    )


def _described(tx: Tx, page: list[Subject], wanted: Mapping[int, str]) -> list[VersionUse]:
    names = {subject.number: version_name(subject) for subject in page}
    alive = [names[subject.number] for subject in page if subject.ended_at is None]
    standings = versions.standings(tx, alive)
    through = lineage_walks.through(tx, names, list(wanted))
    shown = {number: roots[:THROUGH_SHOWN] for number, roots in through.items()}
    known = lineage.numbered(tx, {root for roots in shown.values() for root in roots})
    described = []
    for subject in page:
        model, number = names[subject.number]
        standing = standings.get((model, number)) if subject.ended_at is None else None
        described.append(
            VersionUse(
                subject=subject.subject,
                model=model,
                number=number,
                stage=None if standing is None else standing.stage,
                owner=str(subject.about.get("author", "")) if standing is None else standing.owner,
                registered_at=subject.at if standing is None else standing.registered_at,
                deleted_at=subject.ended_at,
                through=tuple(
                    Through(subject=known[root].subject, detail=wanted[root])
                    for root in shown.get(subject.number, ())
                ),
            )
        )
    return described


def _table(tx: Tx, name: str) -> Roots:
    exact = [f"lake/{name}", f"lake/sources/{name}", f"dataset/{name}"]
    found = list(lineage.find_all(tx, exact).values())
    if "@" not in name:
        for prefix in (f"source/{name}/", f"dataset/{name}@"):
            found += lineage.find_below(tx, prefix, limit=MOST_ALIKE)
    return _of(tx, found, f"no table, source or dataset is called {name[:100]!r}", "source/")


def _feature(tx: Tx, name: str) -> Roots:
    found = lineage.find(tx, f"feature/{name}")
    return _of(tx, [] if found is None else [found], f"no version reads a feature {name[:100]!r}", "feature/")


def _view(tx: Tx, name: str) -> Roots:
    view, _, version = name.partition("@")
    if version:
        found = list(lineage.find_all(tx, [f"view/{view}/{version}"]).values())
    else:
        found = lineage.find_below(tx, f"view/{view}/", limit=MOST_ALIKE)
    return _of(tx, found, f"no feature view is called {name[:100]!r}", "view/")


def _commit(tx: Tx, name: str) -> Roots:
    if not _COMMIT.fullmatch(name.lower()):
        raise InvalidInput(
            f"{name[:80]!r} is no commit", where="commit", fix="Write at least its first four hexadecimal digits."
        )
    found = lineage.find_below(tx, f"commit/{name.lower()}", limit=MOST_ALIKE)
    return _of(tx, found, f"no version was made from a commit {name[:80]}", "commit/")


def _package(tx: Tx, requirement: str) -> Roots:
    having = environments.having(tx, requirement)
    return Roots(exact=having.exact, unknown=having.unknown)


def _subject(tx: Tx, name: str) -> Roots:
    return Roots(exact={resolve(tx, name).number: ""})


def _of(tx: Tx, found: list[Subject], problem: str, kind: str) -> Roots:
    """What was found; when nothing was, the error names some that could have been."""
    if not found:
        known = lineage.find_below(tx, kind, limit=SUGGESTED)
        fix = f"There is {', '.join(subject.name for subject in known)}." if known else None
        raise NotFound(problem, where="lineage", fix=fix)
    return Roots(exact={subject.number: "" for subject in found})


_ROOTS: dict[str, Callable[[Tx, str], Roots]] = {
    "table": _table,
    "feature": _feature,
    "view": _view,
    "commit": _commit,
    "package": _package,
    "subject": _subject,
}
