"""The catalog: what projects declare becomes versioned objects; a plan says what applying would change.

An object with a changed definition gets a new version. Versions stay: what was trained on one goes on being
served from it. What a project no longer declares is archived, and comes back when it is declared again.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from headrace.errors import InvalidInput, NotFound
from headrace.features import sources, tables, views
from headrace.features.nouns import (
    Catalog,
    Change,
    FeatureObject,
    FeatureSpecs,
    ObjectDetails,
    ObjectKind,
    PlannedObject,
)
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.project.declaration import Declaration, definition
from headrace.project.feature_view import FeatureView
from headrace.project.label import Label


class _Wanted(NamedTuple):
    kind: ObjectKind
    name: str
    declaration: Declaration
    spec: dict[str, Any]
    digest: str
    data_digest: str | None


def plan_objects(tx: Tx, specs: FeatureSpecs) -> tuple[PlannedObject, ...]:
    """What applying a project would do to each object, archived ones last.

    Raises:
        InvalidInput: two objects of one kind have one name, or a view or label refers to another definition
            of an
            entity or source than the project declares.
    """
    wanted = _wanted(specs)
    planned = [_planned(tx, specs.project, one) for one in wanted.values()]
    planned += [
        PlannedObject(
            kind=existing.kind,
            name=existing.name,
            change=Change.ARCHIVED,
            version=existing.version,
            declared_at=existing.declared_at,
        )
        for existing in tables.list_current(tx, project=specs.project)
        if existing.archived_at is None and (existing.kind, existing.name) not in wanted
    ]
    return tuple(planned)


def register_objects(tx: Tx, specs: FeatureSpecs) -> tuple[PlannedObject, ...]:
    """Apply a project's objects and ask for the data that they need; returns the plan that was carried out.

    Raises:
        InvalidInput: see `plan_objects`.
    """
    plan = plan_objects(tx, specs)
    wanted = _wanted(specs)
    for planned in plan:
        if planned.change is Change.ARCHIVED:
            archive(tx, planned.kind, planned.name)
        elif planned.change is not Change.UNCHANGED:
            _register(tx, specs.project, wanted[planned.kind, planned.name], planned.version)
    return plan


def archive(tx: Tx, kind: ObjectKind, name: str) -> FeatureObject:
    """Mark an object as no longer declared; its versions and their data stay.

    Raises:
        NotFound: there is no such object.
    """
    existing = get(tx, kind, name)
    if existing.archived_at is None:
        tables.change_objects(tx, kind, name, version=existing.version, archived_at=tx.now)
        events.append(
            tx, "features.object_archived", f"{kind.value}/{name}/{existing.version}",
            {"kind": kind, "name": name, "version": existing.version},
        )  # fmt: skip
    return get(tx, kind, name)


def get(tx: Tx, kind: ObjectKind, name: str) -> FeatureObject:
    """The current version of an object.

    Raises:
        NotFound: there is no such object.
    """
    found = tables.find_object(tx, kind, name)
    if found is None:
        raise NotFound(f"there is no {kind.value} named {name!r}", where=f"{kind.value}/{name}")
    return found


def get_version(tx: Tx, kind: ObjectKind, name: str, version: int) -> FeatureObject:
    """One version of an object.

    Raises:
        NotFound: there is no such version.
    """
    found = tables.find_object(tx, kind, name, version)
    if found is None:
        raise NotFound(f"{kind.value} {name!r} has no version {version}", where=f"{kind.value}/{name}/{version}")
    return found


def get_view(tx: Tx, name: str, version: int | None = None) -> FeatureView:
    """The definition of a feature view; the current version's by default.

    Raises:
        NotFound: there is no such view or version.
    """
    found = get(tx, ObjectKind.VIEW, name) if version is None else get_version(tx, ObjectKind.VIEW, name, version)
    return msgspec.convert(found.spec, FeatureView)


def get_label(tx: Tx, name: str) -> Label:
    """The current definition of a label.

    Raises:
        NotFound: there is no such label.
    """
    return msgspec.convert(get(tx, ObjectKind.LABEL, name).spec, Label)


def list_objects(tx: Tx) -> Catalog:
    """Every object in its current version, and where the data of its sources and views stand."""
    found = tables.list_current(tx)
    current = {(item.kind, item.name): item.version for item in found}
    return Catalog(
        objects=found,
        sources=tuple(
            state
            for state in tables.list_source_states(tx)
            if current.get((ObjectKind.SOURCE, state.source)) == state.version
        ),
        views=tuple(
            state
            for state in tables.list_view_states(tx)
            if current.get((ObjectKind.VIEW, state.view)) == state.version
        ),
    )


def details(tx: Tx, kind: ObjectKind, name: str) -> ObjectDetails:
    """An object's versions and, for sources and views, where the data of each stand; newest first.

    Raises:
        NotFound: there is no such object.
    """
    get(tx, kind, name)
    return ObjectDetails(
        versions=tables.list_versions(tx, kind, name),
        sources=tables.list_source_states(tx, name) if kind is ObjectKind.SOURCE else (),
        views=tables.list_view_states(tx, view=name) if kind is ObjectKind.VIEW else (),
    )


def _wanted(specs: FeatureSpecs) -> dict[tuple[ObjectKind, str], _Wanted]:
    wanted: dict[tuple[ObjectKind, str], _Wanted] = {}
    for one in _declared(specs):
        if (one.kind, one.name) in wanted:
            raise InvalidInput(
                f"two declarations make a {one.kind.value} named {one.name!r}",
                where=one.declaration.declared_at or None,
                fix="Rename one of them.",
            )
        wanted[one.kind, one.name] = one
    for view in specs.views:
        _require_parts(wanted, view)
    for label in specs.labels:
        _require_parts(wanted, label)
    return wanted


def _require_parts(wanted: dict[tuple[ObjectKind, str], _Wanted], user: FeatureView | Label) -> None:
    parts = ((ObjectKind.ENTITY, user.entity.name, user.entity), (ObjectKind.SOURCE, user.source.name, user.source))
    for kind, name, part in parts:
        declared = wanted.get((kind, name))
        if declared is None or declared.digest != _digest(definition(part)):
            raise InvalidInput(
                f"{user.name} refers to a {kind.value} {name!r} that the project does not declare so",
                where=user.declared_at or None,
                fix=f"Declare the {kind.value} once and use that object.",
            )


def _declared(specs: FeatureSpecs) -> Iterator[_Wanted]:
    for entity in specs.entities:
        yield _one(ObjectKind.ENTITY, entity.name, entity)
    for spec in specs.sources:
        yield _one(ObjectKind.SOURCE, spec.source.name, spec.source, spec.data_digest)
    for view in specs.views:
        yield _one(ObjectKind.VIEW, view.name, view)
    for label in specs.labels:
        yield _one(ObjectKind.LABEL, label.name, label)


def _one(kind: ObjectKind, name: str, declaration: Declaration, data_digest: str | None = None) -> _Wanted:
    spec = definition(declaration)
    return _Wanted(kind, name, declaration, spec, _digest(spec), data_digest)


def _digest(spec: dict[str, Any]) -> str:
    # In the order of the declaration: the order of a view's features is the order of a model's columns.
    return f"sha256:{hashlib.sha256(msgspec.json.encode(spec)).hexdigest()}"


def _planned(tx: Tx, project: str, wanted: _Wanted) -> PlannedObject:
    existing = tables.find_object(tx, wanted.kind, wanted.name)
    version, change, details = 1, Change.NEW, list[str]()
    if existing is not None:
        version = existing.version
        if existing.digest != wanted.digest:
            version += 1
            details += _differences(existing.spec, wanted.spec) or ["the order of its parts"]
        elif wanted.kind is ObjectKind.SOURCE and sources.data_of(tx, wanted.name, version) != wanted.data_digest:
            details.append("its data")
        if existing.archived_at is not None:
            details.append("comes back from the archive")
        if details and existing.project != project:
            details.append(f"was declared by project {existing.project}")
        change = Change.CHANGED if details else Change.UNCHANGED
    return PlannedObject(
        kind=wanted.kind,
        name=wanted.name,
        change=change,
        version=version,
        declared_at=wanted.declaration.declared_at,
        details=tuple(details),
    )


def _register(tx: Tx, project: str, wanted: _Wanted, version: int) -> None:
    """One new version, or one that is there already and gets other data, another owner or comes back."""
    new = tables.find_object(tx, wanted.kind, wanted.name, version) is None
    declared_at = wanted.declaration.declared_at
    if new:
        tables.add_object(
            tx,
            FeatureObject(
                kind=wanted.kind,
                name=wanted.name,
                version=version,
                project=project,
                spec=wanted.spec,
                digest=wanted.digest,
                declared_at=declared_at,
                current=True,
                created_by=tx.actor,
                created_at=tx.now,
            ),
        )
    else:
        tables.change_objects(
            tx, wanted.kind, wanted.name,
            version=version, project=project, declared_at=declared_at, archived_at=None,
        )  # fmt: skip
    events.append(
        tx,
        "features.object_registered",
        f"{wanted.kind.value}/{wanted.name}/{version}",
        {
            "kind": wanted.kind,
            "name": wanted.name,
            "version": version,
            "digest": wanted.digest,
            "data_digest": wanted.data_digest,
            "project": project,
        },
    )
    if wanted.kind is ObjectKind.SOURCE:
        sources.begin(tx, wanted.name, version, wanted.data_digest)
    elif wanted.kind is ObjectKind.VIEW and new:
        view = msgspec.convert(wanted.spec, FeatureView)
        views.begin(tx, view, version, get(tx, ObjectKind.SOURCE, view.source.name).version)


def _differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{name}.")
        elif name not in after:
            found.append(f"{prefix}{name} removed")
        elif name not in before:
            found.append(f"{prefix}{name} added")
        elif old != new:
            found.append(f"{prefix}{name}: {old} → {new}")
    return found
