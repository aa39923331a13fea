"""Searches for registered models and versions: the SQL against plain Python, pages against the whole."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.tracking.evaluator import meets, milliseconds, write
from tests.tracking.strategies import TEXTS, ranked, textual, trees

from headrace.errors import InvalidInput
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database, Tx
from headrace.registry import aliases, models, register, search, stages, versions
from headrace.registry.nouns import Model, ModelFile, RegisterVersion, RegistryQuery, Stage, Version
from headrace.registry.vocabulary import PROMPT_TAG
from headrace.tracking.expressions import Comparison, Expression, comparisons

pytestmark = pytest.mark.both_databases

START = 1_767_225_600_000.0
TIMES = [START, START + 1, START + 1.5, START + 3, START + 1000]
TIME_NAMES = {"created_at": "creation_timestamp", "updated_at": "last_updated_timestamp"}
VERSION_NAMES = {**TIME_NAMES, "number": "version_number", "model": "name", "source": "source_path"}
BLOB = "sha256:" + "a" * 64

Find = Callable[[Tx, RegistryQuery], tuple[tuple[Any, ...], str]]


@pytest.fixture
def filled(database: Database, clock: ManualClock) -> Database:
    """Models and versions that differ in everything that can be asked for; one of them is a prompt."""
    for number, name in enumerate(text or "none" for text in TEXTS):
        prompt = {PROMPT_TAG: "true"} if number == 3 else {PROMPT_TAG: "false"} if number == 4 else {}
        tags = {**({"t": TEXTS[-number]} if number % 3 else {}), **prompt}
        database.write(lambda tx, name=name, tags=tags: models.create(tx, name, tags=tags), actor="ana")  # type: ignore[misc]
        for each in range(number % 4):
            request = RegisterVersion(
                model=name,
                run_id=f"run {number}" if each % 2 else None,
                artifact_prefix=str(each),
                source=f"{TEXTS[number - each]}/{each}",
                files=(ModelFile(path="MLmodel", digest=BLOB, size_bytes=each),),
                tags={**({"t": TEXTS[number]} if each % 2 else {}), **prompt},
            )
            database.write(lambda tx, request=request: register.register_version(tx, request), actor="ana")  # type: ignore[misc]
            clock.advance(timedelta(microseconds=600))
        if number % 4 == 3:
            for alias in ("champion", "blue"):
                database.write(
                    lambda tx, name=name, alias=alias: aliases.set_alias(tx, name, alias, 2),  # type: ignore[misc]
                    actor="ana",
                )
            database.write(lambda tx, name=name: stages.transition(tx, name, 1, Stage.STAGING), actor="ana")  # type: ignore[misc]
            database.write(lambda tx, name=name: versions.describe(tx, name, 3, tags={"t": "later"}), actor="ana")  # type: ignore[misc]
    return database


def every_page(database: Database, find: Find, limit: int, **query: Any) -> Iterator[Any]:
    cursor = ""
    while True:
        wanted = RegistryQuery(limit=limit, cursor=cursor, **query)
        page, cursor = database.read(lambda tx, wanted=wanted: find(tx, wanted))  # type: ignore[misc]
        yield from page
        if not cursor:
            return


def whole(database: Database, find: Find) -> list[Any]:
    """Everything, the prompts too."""
    everything = f"tags.`{PROMPT_TAG}` IS NULL OR tags.`{PROMPT_TAG}` IS NOT NULL"
    return list(every_page(database, find, 1000, filter=everything))


def tag_values(found: Comparison, tags: dict[str, str]) -> Sequence[str]:
    if found.key == PROMPT_TAG and "NULL" not in found.comparator:
        return [tags.get(PROMPT_TAG, "false")]
    return [tags[found.key]] if found.key in tags else []


def values_of(thing: Model | Version, found: Comparison, named: dict[tuple[str, int], list[str]]) -> Sequence[Any]:
    if found.kind == "tag":
        return tag_values(found, thing.tags)
    if found.key == "alias":
        assert isinstance(thing, Version)
        return named.get((thing.model, thing.number), [])
    value = getattr(thing, found.key)
    if found.key in TIME_NAMES:
        return [milliseconds(value)]
    return [] if value is None else [str(value) if isinstance(value, str) else value]


def expected(expression: Expression, things: Sequence[Any], named: dict[tuple[str, int], list[str]]) -> list[Any]:
    asks_for_prompts = any(found.key == PROMPT_TAG for found in comparisons(expression))
    return [
        thing
        for thing in things
        if (asks_for_prompts or thing.tags.get(PROMPT_TAG) != "true")
        and meets(expression, lambda found, thing=thing: values_of(thing, found, named))  # type: ignore[misc]
    ]


def shared() -> list[st.SearchStrategy[Expression]]:
    return [
        textual("tag", "t"),
        textual("tag", PROMPT_TAG),
        ranked("attribute", "created_at", TIMES),
        ranked("attribute", "updated_at", TIMES),
    ]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=trees(st.one_of(textual("attribute", "name"), *shared())))
def test_a_filter_of_models_means_what_plain_python_says(filled: Database, expression: Expression) -> None:
    text = write(expression, TIME_NAMES)
    found = list(every_page(filled, search.find_models, 3, filter=text))
    assert found == expected(expression, whole(filled, search.find_models), {}), text


def of_versions() -> st.SearchStrategy[Expression]:
    stage = st.sampled_from(["Staging", "None", "Production"]).map(
        lambda value: Comparison(kind="attribute", key="stage", comparator="=", value=value)
    )
    alias = st.builds(
        lambda comparator, value: Comparison(kind="attribute", key="alias", comparator=comparator, value=value),
        st.sampled_from(["=", "!=", "LIKE", "NOT LIKE"]),
        st.sampled_from(["champion", "b%", "x"]),
    )
    no_alias = st.just(Comparison(kind="attribute", key="alias", comparator="IS NULL"))
    return st.one_of(
        textual("attribute", "model"),
        textual("attribute", "run_id"),
        textual("attribute", "source"),
        ranked("attribute", "number", [1.0, 2.0, 2.5, 0.0, float("inf")]),
        stage,
        alias,
        no_alias,
        *shared(),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=trees(of_versions()))
def test_a_filter_of_versions_means_what_plain_python_says(filled: Database, expression: Expression) -> None:
    text = write(expression, VERSION_NAMES)
    everything = whole(filled, search.find_versions)
    named = {(each.model, 2): ["blue", "champion"] for each in everything if each.number == 3}
    found = list(every_page(filled, search.find_versions, 3, filter=text))
    assert found == expected(expression, everything, named), text


def test_prompts_are_no_models(filled: Database) -> None:
    def names(text: str) -> list[str]:
        return [model.name for model in every_page(filled, search.find_models, 100, filter=text)]

    (prompt,) = names(f"tags.`{PROMPT_TAG}` = 'true'")
    assert prompt not in names("")
    assert names("") == names(f"tags.`{PROMPT_TAG}` != 'true'") == names(f"tag.`{PROMPT_TAG}` = 'false'")
    assert sorted([*names(""), prompt], key=str.encode) == sorted(
        (text or "none" for text in TEXTS), key=str.encode
    )
    found = every_page(
        filled, search.find_versions, 100, filter=f"tags.`{PROMPT_TAG}` != 'false' AND name = '{prompt}'"
    )
    assert {version.model for version in found} == {prompt}


def test_default_orders(filled: Database) -> None:
    names = [model.name for model in every_page(filled, search.find_models, 1000)]
    assert names == sorted(names, key=str.encode)
    found: list[Version] = list(every_page(filled, search.find_versions, 1000))
    by_number = sorted(found, key=lambda each: (each.model.encode(), -each.number))
    assert found == sorted(by_number, key=lambda each: each.updated_at, reverse=True)


ORDERS = [(), ("name DESC",), ("last_updated_timestamp", "name"), ("tags.t DESC",), ("creation_timestamp ASC",)]


@pytest.mark.parametrize("order_by", ORDERS)
def test_pages_of_models_join_up(filled: Database, order_by: tuple[str, ...]) -> None:
    everything = list(every_page(filled, search.find_models, 1000, order_by=order_by))
    assert len(everything) == len(TEXTS) - 1
    for limit in (1, 2, 5):
        assert list(every_page(filled, search.find_models, limit, order_by=order_by)) == everything


@pytest.mark.parametrize("order_by", [*ORDERS, ("version_number", "name"), ("source_path DESC", "stage", "run_id")])
def test_pages_of_versions_join_up(filled: Database, order_by: tuple[str, ...]) -> None:
    everything = list(every_page(filled, search.find_versions, 1000, order_by=order_by))
    assert len({(each.model, each.number) for each in everything}) == len(everything) > 8
    for limit in (1, 2, 5):
        assert list(every_page(filled, search.find_versions, limit, order_by=order_by)) == everything


@pytest.mark.parametrize(
    ("find", "query", "message"),
    [
        (search.find_models, {"filter": "run_id = 'x'"}, "Invalid attribute key 'run_id' specified"),
        (search.find_models, {"filter": "metrics.a > 1"}, "Invalid entity type 'metrics'"),
        (search.find_models, {"filter": "name > 'x'"}, "Invalid comparator '>'"),
        (
            search.find_models,
            {"order_by": ("timestamp", "last_updated_timestamp DESC")},
            "contains duplicate fields",
        ),
        (search.find_models, {"order_by": ("run_id",)}, "Invalid attribute key 'run_id'"),
        (search.find_versions, {"filter": "version_number = 'x'"}, "Expected numeric value type"),
        (search.find_versions, {"filter": "status = 'READY'"}, "Invalid attribute key 'status'"),
        (search.find_versions, {"order_by": ("alias",)}, "not ordered by alias"),
        (search.find_versions, {"order_by": ("name sideways",)}, "Invalid ordering key in order_by clause"),
    ],
)
def test_bad_searches_are_refused(database: Database, find: Find, query: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        list(every_page(database, find, 10, **query))


def test_a_cursor_is_of_its_search(filled: Database) -> None:
    _, cursor = filled.read(lambda tx: search.find_models(tx, RegistryQuery(limit=1)))
    for find in (search.find_models, search.find_versions):
        with pytest.raises(InvalidInput, match="another search"):
            filled.read(lambda tx, find=find: find(tx, RegistryQuery(order_by=("name DESC",), cursor=cursor)))  # type: ignore[misc]


def test_the_newest_of_each_stage(filled: Database) -> None:
    (name, *_) = {each.model for each in every_page(filled, search.find_versions, 1000, filter="stage = 'Staging'")}
    found = filled.read(lambda tx: models.latest_versions(tx, name))
    assert [(each.number, each.stage) for each in found] == [(1, Stage.STAGING), (3, Stage.NONE)]
