"""The graph of lineage: what is added once, what a rename and a deletion leave, and walks both ways."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from headrace.kernel import lineage, lineage_walks
from headrace.kernel.database import Database, Tx
from headrace.kernel.lineage import Link
from headrace.kernel.lineage_walks import BOUNDS, Bounds, Direction

pytestmark = pytest.mark.both_databases

CHAIN = (
    Link("source/purchases/1", "ingested into", "lake/sources/purchases"),
    Link("lake/sources/purchases", "at version", "lake/sources/purchases@3"),
    Link("lake/sources/purchases@3", "sampled into", "training-set/ts_1"),
    Link("training-set/ts_1", "read by", "run/1"),
    Link("run/1", "registered as", "version/churn/1"),
    Link("version/churn/1", "released by", "release/rel_1"),
)


def connect(database: Database, *links: Link, workspace: str = "default") -> None:
    database.write(lambda tx: lineage.connect(tx, links), actor="ana", workspace=workspace)


def number(tx: Tx, subject: str) -> int:
    found = lineage.find(tx, subject)
    assert found is not None
    return found.number


def walked(database: Database, start: str, direction: Direction, bounds: Bounds = BOUNDS) -> list[str]:
    def look(tx: Tx) -> list[str]:
        walk = lineage_walks.walk(tx, number(tx, start), direction, bounds)
        return [subject.subject for subject in walk.subjects.values()]

    return database.read(look)


def versions_from(database: Database, root: str, **asked: object) -> list[str]:
    def look(tx: Tx) -> list[str]:
        page, _ = lineage_walks.versions_from(tx, [number(tx, root)], limit=100, **asked)  # type: ignore[arg-type]
        return [subject.subject for subject in page]

    return database.read(look)


def test_a_chain_is_walked_both_ways(database: Database) -> None:
    connect(database, *CHAIN)
    names = [CHAIN[0].upstream, *(link.downstream for link in CHAIN)]
    assert walked(database, names[0], "down") == names
    assert walked(database, names[-1], "up") == names[::-1]
    assert versions_from(database, names[0]) == ["version/churn/1"]
    assert database.read(lambda tx: lineage_walks.above(tx, "run/1")) == set(names[:5])
    assert database.read(lambda tx: lineage_walks.above(tx, "run/none")) == set()


def test_what_is_there_is_not_added_again(database: Database) -> None:
    connect(database, *CHAIN)
    before = database.read(lambda tx: lineage.find(tx, "run/1"))
    connect(database, *CHAIN, *CHAIN, Link("run/1", "is", "run/1"))
    assert database.read(lambda tx: lineage.find(tx, "run/1")) == before
    walk = database.read(lambda tx: lineage_walks.walk(tx, number(tx, "run/1"), "down"))
    assert [edge.relation for edge in walk.edges] == ["registered as", "released by"]


def test_a_circle_ends(database: Database) -> None:
    """A run evaluates the model that it made."""
    connect(database, Link("run/1", "logged", "logged-model/m"), Link("logged-model/m", "read by", "run/1"))
    connect(database, Link("logged-model/m", "registered as", "version/churn/1"))
    assert set(walked(database, "version/churn/1", "up")) == {"version/churn/1", "logged-model/m", "run/1"}
    assert versions_from(database, "run/1") == ["version/churn/1"]


def test_about_is_kept_after_the_end(database: Database) -> None:
    database.write(lambda tx: lineage.enter(tx, "version/churn/1", {"digest": "sha256:1"}), actor="ana")
    database.write(lambda tx: lineage.end(tx, "version/churn/1"), actor="ana")
    database.write(lambda tx: lineage.end(tx, "version/none/1"), actor="ana")
    found = database.read(lambda tx: lineage.find(tx, "version/churn/1"))
    assert found is not None
    assert (found.kind, found.name, found.about) == ("version", "churn/1", {"digest": "sha256:1"})
    assert found.ended_at == found.at
    assert database.read(lambda tx: lineage.find(tx, "version/none/1")) is None


def test_a_walk_says_what_it_leaves_out(database: Database) -> None:
    links = [Link("lake/t", "read by", f"run/{each:02}") for each in range(30)]
    connect(database, *links, *(Link(f"run/{each:02}", "registered as", f"version/m/{each}") for each in range(30)))

    def look(bounds: Bounds) -> tuple[list[str], dict[str, int]]:
        def work(tx: Tx) -> tuple[list[str], dict[str, int]]:
            walk = lineage_walks.walk(tx, number(tx, "lake/t"), "down", bounds)
            more = {walk.subjects[each].subject: count for each, count in walk.more.items()}
            return [subject.subject for subject in walk.subjects.values()], more

        return database.read(work)

    shown, more = look(Bounds(depth=1, neighbours=2))
    assert (shown, more) == (["lake/t", "run/29", "run/28"], {"lake/t": 28, "run/29": 1, "run/28": 1})
    shown, more = look(Bounds(neighbours=30, subjects=32))
    assert len(shown) == 32
    assert more == {f"run/{each:02}": 1 for each in range(29)}
    shown, more = look(Bounds(neighbours=30, subjects=100))
    assert (len(shown), more) == (61, {})
    shown, more = look(Bounds(depth=0))
    assert (shown, more) == (["lake/t"], {"lake/t": 30})


def test_kinds_can_be_passed_over(database: Database) -> None:
    connect(database, *(Link(f"feature/a.{each}", "used by", "version/m/1") for each in range(9)), CHAIN[4])
    connect(database, Link("run/1", "registered as", "version/m/1"))

    def look(tx: Tx) -> tuple[int, dict[int, int]]:
        bounds = Bounds(neighbours=2)
        walk = lineage_walks.walk(tx, number(tx, "version/m/1"), "up", bounds, without=("feature",))
        return len(walk.subjects), walk.more

    assert database.read(look) == (2, {})


def test_neighbours_and_versions_come_in_pages(database: Database) -> None:
    for each in range(7):
        connect(database, Link("commit/abc", "run by", f"run/{each}"))
        connect(database, Link(f"run/{each}", "registered as", f"version/m/{each}"))

    def neighbours(tx: Tx) -> list[str]:
        names: list[str] = []
        before = None
        for size in itertools.cycle((2, 3)):
            page, before = lineage_walks.page(tx, number(tx, "commit/abc"), "down", before=before, limit=size)
            names += [subject.name for subject, _ in page]
            if before is None:
                return names
        raise AssertionError

    assert database.read(neighbours) == list("6543210")

    def versions(tx: Tx, roots: list[int]) -> list[str]:
        names: list[str] = []
        before = None
        while True:
            page, before = lineage_walks.versions_from(tx, roots, limit=3, before=before)
            names += [subject.name for subject in page]
            if before is None:
                return names

    every = [f"m/{each}" for each in range(6, -1, -1)]
    assert database.read(lambda tx: versions(tx, [number(tx, "commit/abc")])) == every
    several = ("run/3", "commit/abc", "run/5")
    assert database.read(lambda tx: versions(tx, [number(tx, each) for each in several])) == every

    def but(tx: Tx, **asked: object) -> list[str]:
        roots = [number(tx, "commit/abc")]
        without = [number(tx, "run/2"), number(tx, "run/6")]
        page, _ = lineage_walks.versions_from(tx, roots, limit=3, but=without, **asked)  # type: ignore[arg-type]
        return [subject.subject for subject in page]

    assert database.read(but) == ["version/m/5", "version/m/4", "version/m/3"]
    among = ("version/m/2", "version/m/9", "version/m/4")
    assert database.read(lambda tx: but(tx, among=among)) == ["version/m/4"]
    assert versions_from(database, "commit/abc", among=among) == ["version/m/4", "version/m/2"]


def test_which_of_the_roots_something_comes_from(database: Database) -> None:
    connect(
        database, *CHAIN, Link("dataset/d@1", "read by", "run/2"), Link("run/2", "registered as", "version/m/1")
    )
    connect(database, Link("commit/abc", "run by", "run/1"), Link("commit/abc", "run by", "run/2"))

    def look(tx: Tx) -> dict[str, set[str]]:
        roots = {number(tx, name): name for name in ("lake/sources/purchases", "commit/abc", "dataset/d@1")}
        origins = {number(tx, name): name for name in ("version/churn/1", "version/m/1")}
        found = lineage_walks.through(tx, origins, list(roots))
        return {origins[origin]: {roots[root] for root in each} for origin, each in found.items()}

    assert database.read(look) == {
        "version/churn/1": {"lake/sources/purchases", "commit/abc"},
        "version/m/1": {"commit/abc", "dataset/d@1"},
    }


def test_a_new_name_keeps_the_place(database: Database) -> None:
    connect(database, *CHAIN, Link("run/2", "registered as", "version/churn/2"))
    connect(database, Link("run/3", "registered as", "version/churn-2/1"))
    database.write(lambda tx: lineage.end(tx, "version/churn/2"), actor="ana")
    database.write(lambda tx: lineage.rename_below(tx, "version/churn/", "version/größe_%/"), actor="ana")
    assert versions_from(database, CHAIN[0].upstream) == ["version/größe_%/1"]
    assert versions_from(database, "run/2") == ["version/größe_%/2"]
    assert versions_from(database, "run/3") == ["version/churn-2/1"]


def test_a_name_that_is_given_again_is_another_subject(database: Database) -> None:
    connect(database, Link("run/1", "registered as", "version/churn/1"))
    database.write(lambda tx: lineage.put_aside(tx, "version/churn/1"), actor="ana")
    assert versions_from(database, "run/1") == ["version/churn/1"]  # it is not deleted
    database.write(lambda tx: lineage.end(tx, "version/churn/1"), actor="ana")
    database.write(lambda tx: lineage.put_aside(tx, "version/churn/1"), actor="ana")
    connect(database, Link("run/2", "registered as", "version/churn/1"))
    assert versions_from(database, "run/2") == ["version/churn/1"]
    (old,) = versions_from(database, "run/1")
    assert old.startswith("version/churn/1~")

    connect(database, Link("run/3", "registered as", "version/leaving/1"))
    database.write(lambda tx: lineage.end(tx, "version/leaving/1"), actor="ana")
    database.write(lambda tx: lineage.rename_below(tx, "version/churn/", "version/leaving/"), actor="ana")
    assert versions_from(database, "run/2") == ["version/leaving/1"]
    assert versions_from(database, "run/1") == [old]  # that of a former model stays what it was called
    (put_aside,) = versions_from(database, "run/3")
    assert put_aside.startswith("version/leaving/1~")


def test_what_is_alive_can_be_put_aside_too(database: Database) -> None:
    connect(database, Link("version/m/1", "answered", "predictions/m/1"))
    database.write(lambda tx: lineage.put_aside(tx, "predictions/m/1", ended_only=False), actor="ana")
    (old,) = database.read(lambda tx: lineage.find_below(tx, "predictions/m/", limit=5))
    assert old.ended_at is not None
    assert old.subject == f"predictions/m/1~{old.number}"


def test_prefixes(database: Database) -> None:
    for name in ("view/a/1", "view/a/2", "view/ab/1", "view/A/1", "commit/ab1", "commit/ab2", "commit/ac"):
        database.write(lambda tx, name=name: lineage.enter(tx, name), actor="ana")  # type: ignore[misc]

    def below(prefix: str, limit: int = 9) -> list[str]:
        return [each.subject for each in database.read(lambda tx: lineage.find_below(tx, prefix, limit=limit))]

    assert below("view/a/") == ["view/a/1", "view/a/2"]
    assert below("commit/ab") == ["commit/ab1", "commit/ab2"]
    assert below("commit/", limit=2) == ["commit/ab1", "commit/ab2"]


def test_workspaces_have_graphs_of_their_own(database: Database) -> None:
    connect(database, *CHAIN)
    connect(database, Link("run/1", "registered as", "version/other/1"), workspace="other")
    assert versions_from(database, "run/1") == ["version/churn/1"]
    assert database.read(lambda tx: lineage.find(tx, "version/churn/1"), workspace="other") is None
    database.write(lambda tx: lineage.rename_below(tx, "version/", "version/x"), actor="eve", workspace="other")
    database.write(lambda tx: lineage.end(tx, "run/1"), actor="eve", workspace="other")
    mine = database.read(lambda tx: lineage.find_all(tx, ["run/1", "version/churn/1"]))
    assert [each.ended_at for each in mine.values()] == [None, None]


NAMES = st.sampled_from([f"{kind}/{each}" for kind in ("lake", "run", "version") for each in range(6)])
_examples = itertools.count()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=25), together=st.integers(1, 25))
def test_up_and_down_agree_with_a_plain_search(
    database: Database, pairs: list[tuple[str, str]], together: int
) -> None:
    """Whatever the graph, circles too, and however it came: what is walked is what a plain search finds."""
    workspace = f"example-{next(_examples)}"
    for start in range(0, len(pairs), together):
        links = [Link(upstream, "made", downstream) for upstream, downstream in pairs[start : start + together]]
        connect(database, *links, workspace=workspace)
    down: dict[str, set[str]] = {}
    up: dict[str, set[str]] = {}
    for upstream, downstream in pairs:
        if upstream != downstream:
            down.setdefault(upstream, set()).add(downstream)
            up.setdefault(downstream, set()).add(upstream)

    def expected(start: str, following: dict[str, set[str]]) -> set[str]:
        found, left = {start}, [start]
        while left:
            fresh = following.get(left.pop(), set()) - found
            found |= fresh
            left += fresh
        return found

    def look(tx: Tx) -> None:
        for start in down.keys() | up.keys():
            here = number(tx, start)
            for direction, following in (("down", down), ("up", up)):
                walk = lineage_walks.walk(tx, here, direction)  # type: ignore[arg-type]
                assert {each.subject for each in walk.subjects.values()} == expected(start, following)
                assert walk.more == {}
            assert lineage_walks.above(tx, start) == expected(start, up)
            reached, _ = lineage_walks.versions_from(tx, [here], limit=100)
            names = [each.subject for each in reached]
            below = {name for name in expected(start, down) if name.startswith("version/")}
            assert set(names) == below - {start}
            assert len(set(names)) == len(names)

    database.read(look, workspace=workspace)


def test_a_name_with_nul_is_refused_and_leaves_nothing(database: Database) -> None:
    with pytest.raises(InvalidInput, match="NUL"):
        connect(database, Link("lake/a", "at version", "lake/a\x00@1"))
    assert database.read(lambda tx: lineage.find(tx, "lake/a")) is None
