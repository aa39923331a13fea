"""Lineage from Python: what is around a version, and which versions use what."""

from headrace.client.transport import Transport
from headrace.governance.nouns import Lineage, UsesPage, VersionUse

PAGE = 1_000


class Lineages:
    """The graph of one platform, from data, features and code over runs and versions to what was predicted."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def of(
        self, name: str, *, up: bool = True, down: bool = True, depth: int = 12, neighbours: int = 20
    ) -> Lineage:
        """What something was made from, and what came of it.

        Args:
            name: `MODEL@3`, `MODEL@champion`, `MODEL@production`, or a name in the graph such as `run/<id>`.
            up: show what it was made from.
            down: show what came of it.
            depth: how many steps away.
            neighbours: how many of each thing at most; what is not shown is counted.

        Raises:
            NotFound: nothing of the name is in the graph.
            InvalidInput: it is no name, or more is asked for than is shown.
        """
        query = {"of": name, "up": up, "down": down, "depth": depth, "neighbours": neighbours}
        return self._transport.call("GET", "/api/v1/lineage", returns=Lineage, query=query)

    def versions_using(
        self,
        *,
        table: str = "",
        feature: str = "",
        view: str = "",
        commit: str = "",
        package: str = "",
        subject: str = "",
        unpinned: bool = False,
        production: bool = False,
        limit: int | None = None,
    ) -> list[VersionUse]:
        """The versions that use one thing, newest first; deleted ones are among them and marked.

        Args:
            table: a source, a lake table, one of its versions such as `sources/purchases@3`, or a dataset.
            feature: `VIEW.FEATURE`.
            view: a feature view, or one of its versions such as `activity@2`.
            commit: a commit, or its first digits.
            package: as pip writes it, such as `numpy<2.1`; versions are compared as PEP 440 says.
            subject: anything else, by its name in the graph, or a version as `MODEL@3`.
            unpinned: instead those that name the package without an exact version.
            production: only what is in production now.
            limit: how many at most; None for all.

        Raises:
            NotFound: nothing of the name is known.
            InvalidInput: not exactly one thing is asked for, or it cannot be read.
        """
        asked = {
            "table": table,
            "feature": feature,
            "view": view,
            "commit": commit,
            "package": package,
            "subject": subject,
        }
        found: list[VersionUse] = []
        cursor = ""
        while limit is None or len(found) < limit:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            page = self.page(asked, unpinned=unpinned, production=production, limit=size, cursor=cursor)
            found += page.versions
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    def page(
        self,
        asked: dict[str, str],
        *,
        unpinned: bool = False,
        production: bool = False,
        limit: int = 100,
        cursor: str = "",
    ) -> UsesPage:
        """One page of the versions that use one thing; see `versions_using`."""
        query = {name: value or None for name, value in asked.items()}
        flags = {"unpinned": unpinned, "production": production, "limit": limit, "cursor": cursor or None}
        return self._transport.call("GET", "/api/v1/versions/uses", returns=UsesPage, query={**query, **flags})
