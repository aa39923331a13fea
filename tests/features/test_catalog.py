from functools import partial
from typing import Any

import msgspec
import pytest

from headrace.errors import InvalidInput, NotFound
from headrace.features import catalog, tables
from headrace.features.nouns import Change, FeatureSpecs, ObjectKind, PlannedObject, SourceSpec
from headrace.kernel import events, pins
from headrace.kernel.database import Database
from headrace.project.declaration import definition
from headrace.project.feature import Feature
from headrace.project.feature_view import FeatureView
from headrace.testing import feature_cases as cases

DATA = "sha256:" + "1" * 64
OTHER_DATA = "sha256:" + "2" * 64


def specs(**changed: Any) -> FeatureSpecs:
    whole = FeatureSpecs(
        project="shop",
        entities=(cases.CUSTOMER,),
        sources=(SourceSpec(source=cases.PURCHASES, data_digest=DATA),),
        views=(cases.VIEW,),
        labels=(cases.LABEL,),
    )
    return msgspec.structs.replace(whole, **changed)


def with_features(features: dict[str, Feature]) -> FeatureView:
    return msgspec.structs.replace(cases.VIEW, features=features)


def plan(database: Database, wanted: FeatureSpecs) -> tuple[PlannedObject, ...]:
    return database.read(lambda tx: catalog.plan_objects(tx, wanted))


def register(database: Database, wanted: FeatureSpecs) -> tuple[PlannedObject, ...]:
    return database.write(lambda tx: catalog.register_objects(tx, wanted), actor="ana")


def changes(planned: tuple[PlannedObject, ...]) -> dict[str, Change]:
    return {f"{one.kind.value}/{one.name}": one.change for one in planned}


def types_of_events(database: Database) -> list[str]:
    return [event.type for event in database.read(lambda tx: events.after(tx, 0))]


def test_a_plan_changes_nothing(database: Database) -> None:
    planned = plan(database, specs())
    assert changes(planned) == {
        "entity/customer": Change.NEW,
        "source/purchases": Change.NEW,
        "view/activity": Change.NEW,
        "label/gone": Change.NEW,
    }
    assert {one.version for one in planned} == {1}
    assert database.read(catalog.list_objects).objects == ()


def test_what_is_registered_comes_back_whole(database: Database) -> None:
    register(database, specs())
    view = database.read(lambda tx: catalog.get_view(tx, "activity"))
    assert list(view.features) == list(cases.VIEW.features)
    assert definition(view) == definition(cases.VIEW)
    label = database.read(lambda tx: catalog.get_label(tx, "gone"))
    assert (label.value.window, label.matures_after) == ("2d", "3d")
    found = database.read(lambda tx: catalog.get(tx, ObjectKind.VIEW, "activity"))
    assert (found.version, found.project, found.created_by, found.current) == (1, "shop", "ana", True)
    assert "declared_at" not in str(found.spec)


def test_applying_again_changes_nothing_and_writes_nothing(database: Database) -> None:
    register(database, specs())
    before = types_of_events(database)
    assert before == ["features.object_registered"] * 4
    assert set(changes(register(database, specs())).values()) == {Change.UNCHANGED}
    assert types_of_events(database) == before


def test_a_changed_definition_is_a_new_version(database: Database) -> None:
    register(database, specs())
    features = dict(cases.VIEW.features)
    features["count_2d"] = Feature(kind="count", window="3d")
    features["extra"] = Feature(kind="count", window="4d")
    del features["last"]
    changed = specs(views=(with_features(features),))
    (view,) = [one for one in plan(database, changed) if one.kind is ObjectKind.VIEW]
    assert (view.change, view.version) == (Change.CHANGED, 2)
    assert set(view.details) == {
        "features.count_2d.window: 2d → 3d",
        "features.extra added",
        "features.last removed",
    }
    register(database, changed)
    old = database.read(lambda tx: catalog.get_version(tx, ObjectKind.VIEW, "activity", 1))
    assert not old.current
    assert "last" in old.spec["features"]
    assert database.read(lambda tx: catalog.get(tx, ObjectKind.VIEW, "activity")).version == 2
    assert [one.version for one in database.read(catalog.list_objects).views] == [2]


def test_the_order_of_features_is_part_of_the_definition(database: Database) -> None:
    register(database, specs())
    turned = with_features(dict(reversed(cases.VIEW.features.items())))
    (view,) = [one for one in plan(database, specs(views=(turned,))) if one.kind is ObjectKind.VIEW]
    assert (view.change, view.details) == (Change.CHANGED, ("the order of its parts",))


def test_moving_a_declaration_to_another_line_is_no_change(database: Database) -> None:
    register(database, specs())
    moved = msgspec.structs.replace(cases.VIEW, declared_at="other.py:99")
    assert set(changes(plan(database, specs(views=(moved,)))).values()) == {Change.UNCHANGED}


def test_another_source_is_another_table(database: Database) -> None:
    register(database, specs())
    source = msgspec.structs.replace(cases.PURCHASES, path="data/other.parquet")
    view = msgspec.structs.replace(cases.VIEW, source=source)
    label = msgspec.structs.replace(cases.LABEL, source=source)
    register(
        database, specs(sources=(SourceSpec(source=source, data_digest=DATA),), views=(view,), labels=(label,))
    )
    details = database.read(lambda tx: catalog.details(tx, ObjectKind.SOURCE, "purchases"))
    assert [state.table for state in details.sources] == ["sources/purchases-v2", "sources/purchases"]
    views = database.read(lambda tx: catalog.details(tx, ObjectKind.VIEW, "activity")).views
    assert [(state.version, state.source_version) for state in views] == [(2, 2), (1, 1)]
    in_use = database.read(tables.sources_in_use)
    assert [state.version for state in in_use] == [1, 2]  # version 1 of the view still reads the first


def test_other_data_of_the_same_source_is_a_change_without_a_version(database: Database) -> None:
    register(database, specs())
    changed = specs(sources=(SourceSpec(source=cases.PURCHASES, data_digest=OTHER_DATA),))
    (source,) = [one for one in register(database, changed) if one.kind is ObjectKind.SOURCE]
    assert (source.change, source.version, source.details) == (Change.CHANGED, 1, ("its data",))
    (state,) = database.read(tables.list_source_states)
    assert state.data_digest == OTHER_DATA
    pinned = [database.read(partial(pins.pins_on, resource=f"blob/{digest}")) for digest in (DATA, OTHER_DATA)]
    assert all(pinned)  # what is in the lake came from both


def test_what_is_no_longer_declared_is_archived_and_comes_back(database: Database) -> None:
    register(database, specs())
    planned = register(database, specs(labels=()))
    assert changes(planned)["label/gone"] is Change.ARCHIVED
    assert database.read(lambda tx: catalog.get(tx, ObjectKind.LABEL, "gone")).archived_at is not None
    assert "label/gone" not in changes(plan(database, specs(labels=())))
    assert types_of_events(database)[-1] == "features.object_archived"
    (label,) = [one for one in register(database, specs()) if one.kind is ObjectKind.LABEL]
    assert (label.change, label.version, label.details) == (Change.CHANGED, 1, ("comes back from the archive",))
    assert database.read(lambda tx: catalog.get(tx, ObjectKind.LABEL, "gone")).archived_at is None


def test_a_project_archives_only_its_own(database: Database) -> None:
    register(database, specs())
    other = FeatureSpecs(project="other", entities=(cases.CUSTOMER,))
    assert changes(register(database, other)) == {"entity/customer": Change.UNCHANGED}
    changed = msgspec.structs.replace(cases.CUSTOMER, key="client_id")
    (entity,) = plan(database, FeatureSpecs(project="other", entities=(changed,)))
    assert entity.details == ("key: customer_id → client_id", "was declared by project shop")


@pytest.mark.parametrize(
    "wrong",
    [
        {"views": (cases.VIEW, cases.VIEW)},
        {"entities": ()},
        {"sources": ()},
        {"entities": (msgspec.structs.replace(cases.CUSTOMER, key="client_id"),)},
    ],
)
def test_declarations_that_do_not_fit_together_are_refused(database: Database, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        register(database, specs(**wrong))
    assert database.read(catalog.list_objects).objects == ()


def test_what_is_not_there(database: Database) -> None:
    register(database, specs())
    for ask in (
        lambda tx: catalog.get(tx, ObjectKind.VIEW, "absent"),
        lambda tx: catalog.get_version(tx, ObjectKind.VIEW, "activity", 9),
        lambda tx: catalog.details(tx, ObjectKind.LABEL, "activity"),
        lambda tx: catalog.archive(tx, ObjectKind.ENTITY, "absent"),
    ):
        with pytest.raises(NotFound):
            database.write(ask, actor="ana")
