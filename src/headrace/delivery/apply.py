"""Plan and apply: a project's declarations become the platform's, in one transaction or not at all.

The plan says of every object whether it is created, changed, unchanged or archived, and what archiving means;
nothing that a project no longer declares is dropped.
"""

import hashlib
from typing import Any

import msgspec

from headrace.delivery import clearance, differences, policies, tables
from headrace.delivery.nouns import Action, Change, Plan, Project
from headrace.errors import Conflict, InvalidInput, NotFound, ProjectError
from headrace.features import catalog
from headrace.features.nouns import Change as FeatureChange
from headrace.features.nouns import FeatureSpecs, PlannedObject, SourceSpec
from headrace.kernel import events
from headrace.kernel.blobs import BlobStore
from headrace.kernel.database import Tx
from headrace.project.manifest import Manifest
from headrace.project.model import ModelDeclaration
from headrace.registry import models
from headrace.training import bundles
from headrace.training.nouns import RegisterBundle

ARCHIVING = {
    "model": "its versions stay and what is in production goes on serving; training and monitors stop",
    "label": "training sets that used it stay; nothing new is labelled with it",
    "feature_view": "versions trained on it go on serving; it is no longer offered to new models",
    "source": "its data in the lake stay; nothing new is ingested for new objects",
    "entity": "it is no longer offered to new views",
}
"""What it means for an object that it is archived, for people."""

_ACTIONS = {
    FeatureChange.NEW: Action.CREATED,
    FeatureChange.CHANGED: Action.CHANGED,
    FeatureChange.UNCHANGED: Action.UNCHANGED,
    FeatureChange.ARCHIVED: Action.ARCHIVED,
}


def missing_blobs(manifest: Manifest, blobs: BlobStore) -> tuple[str, ...]:
    """Digests of the bundle and the data files that still have to be uploaded."""
    needed = [manifest.bundle.digest, *(file.digest for file in manifest.data_files)]
    return tuple(digest for digest in dict.fromkeys(needed) if not blobs.exists(digest))


def plan(tx: Tx, manifest: Manifest, missing: tuple[str, ...]) -> Plan:
    """What applying a project would change.

    Raises:
        InvalidInput: a source names a file that is not in the manifest.
        ProjectError: another project declares one of the models.
    """
    known = tables.find_project(tx, manifest.project)
    features = [_of_feature(planned) for planned in catalog.plan_objects(tx, _specs(manifest))]
    declared = [_of_model(tx, manifest.project, model) for model in manifest.models]
    gone = [_of_gone_model(name) for name in _gone_models(manifest, known)]
    return Plan(
        project=manifest.project,
        changes=(*features, *declared, *gone, _of_bundle(manifest, known)),
        missing=missing,
    )


def apply(tx: Tx, manifest: Manifest, missing: tuple[str, ...]) -> Plan:
    """Apply a project: features, models with their policies, and the bundle. Again changes nothing.

    Raises:
        Conflict: files have to be uploaded first.
        InvalidInput: a source names a file that is not in the manifest.
        ProjectError: another project declares one of the models.
    """
    if missing:
        raise Conflict(
            f"{len(missing)} files of the project have not been uploaded",
            where=missing[0],
            fix="Upload what the plan lists under `missing`, then apply again.",
        )
    planned = plan(tx, manifest, ())
    changes = [change for change in planned.changes if change.action is not Action.UNCHANGED]
    applied = msgspec.structs.replace(planned, applied=True)
    if not changes:
        return applied
    bundles.register(
        tx,
        RegisterBundle(
            project=manifest.project,
            bundle=manifest.bundle,
            environment=manifest.environment,
            code_commit=manifest.code_commit,
        ),
    )
    catalog.register_objects(tx, _specs(manifest))
    known = tables.find_project(tx, manifest.project)
    for declaration in manifest.models:
        models.declare(tx, declaration.name, _stored(declaration))
    for name in _gone_models(manifest, known):
        models.archive(tx, name, f"project {manifest.project} no longer declares it")
    project = _project(tx, manifest)
    tables.put_project(tx, project, tuple(model.name for model in manifest.models))
    events.append(
        tx,
        "delivery.project_applied",
        f"project/{project.name}",
        {
            "project": project.name,
            "manifest": project.digest,
            "bundle_digest": project.bundle_digest,
            "environment_digest": project.environment_digest,
            "code_commit": project.code_commit,
            "changes": changes,
        },
    )
    return applied


def projects(tx: Tx) -> tuple[Project, ...]:
    """The projects as they were last applied, by name."""
    return tables.list_projects(tx)


def _specs(manifest: Manifest) -> FeatureSpecs:
    digests = {file.source: file.digest for file in manifest.data_files}
    for source in manifest.sources:
        if not source.is_uri and source.name not in digests:
            raise InvalidInput(
                f"the manifest does not hold the file of source {source.name}",
                where=source.declared_at or f"source/{source.name}",
                fix="Send what headrace.project.manifest.pack gives, unchanged.",
            )
    return FeatureSpecs(
        project=manifest.project,
        entities=manifest.entities,
        sources=tuple(
            SourceSpec(source=source, data_digest=digests.get(source.name)) for source in manifest.sources
        ),
        views=manifest.feature_views,
        labels=manifest.labels,
    )


def _of_feature(planned: PlannedObject) -> Change:
    action = _ACTIONS[planned.change]
    kind = "feature_view" if planned.kind.value == "view" else planned.kind.value
    details = planned.details
    if action is Action.ARCHIVED:
        details = (ARCHIVING[kind],)
    return Change(kind=kind, name=planned.name, action=action, details=details, declared_at=planned.declared_at)


def _of_model(tx: Tx, project: str, declaration: ModelDeclaration) -> Change:
    owner = tables.project_of_model(tx, declaration.name)
    if owner is not None and owner.name != project and declaration.name in owner.objects.get("model", ()):
        raise ProjectError(
            f"model {declaration.name!r} belongs to project {owner.name!r}",
            where=declaration.declared_at or None,
            fix="Rename one of the two, or remove the model from the other project and apply that first.",
        )
    try:
        before = policies.declaration_of(tx, declaration.name)
        archived = models.get(tx, declaration.name).archived
    except NotFound:
        before, archived = None, False
    action = Action.CREATED
    details: tuple[str, ...] = (_delivery(declaration),)
    bound: tuple[str, ...] = ()
    if before is not None:
        details = differences.of_models(before, declaration)
        action = Action.CHANGED if details or archived else Action.UNCHANGED
        holds = policies.binding(tx, declaration.name, declaration.policy)
        bound = differences.of_policies(declaration.policy, holds)
    if archived:
        details = ("comes back from the archive", *details)
    return Change(
        kind="model",
        name=declaration.name,
        action=action,
        details=details,
        bound=bound,
        declared_at=declaration.declared_at,
        warnings=clearance.shortfalls(tx, declaration.name, declaration.policy),
    )


def _of_gone_model(name: str) -> Change:
    return Change(kind="model", name=name, action=Action.ARCHIVED, details=(ARCHIVING["model"],))


def _of_bundle(manifest: Manifest, known: Project | None) -> Change:
    files = len(manifest.bundle.files)
    if known is None:
        action, details = Action.CREATED, "1 file" if files == 1 else f"{files} files"
    elif known.digest == _digest(manifest):
        action, details = Action.UNCHANGED, ""
    elif known.bundle_digest == manifest.bundle.digest:
        action, details = Action.CHANGED, "declarations"
    elif known.environment_digest != manifest.bundle.environment_digest:
        action, details = Action.CHANGED, "code or packages"
    else:
        action, details = Action.CHANGED, "code"
    return Change(kind="bundle", name=manifest.project, action=action, details=(details,) if details else ())


def _delivery(declaration: ModelDeclaration) -> str:
    """The model's delivery policy in a line."""
    policy = declaration.policy
    parts = [_number(len(policy.gates), "gate")]
    if policy.staging:
        parts.append(f"staging on {policy.staging.rows} rows")
    if policy.approval:
        parts.append(f"approval by {policy.approval.role}{' with four eyes' if policy.approval.four_eyes else ''}")
    else:
        parts.append("no approval")
    if policy.shadow:
        parts.append(f"shadow of {policy.shadow.percent} %")
    parts.append(differences.rollout(policy.rollout))
    parts.append(_number(len(policy.monitors), "monitor"))
    if policy.retrain:
        parts.append(f"retraining on {' and '.join(policy.retrain.on)}")
    return ", ".join(parts)


def _number(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count or 'no'} {what}s"


def _gone_models(manifest: Manifest, known: Project | None) -> tuple[str, ...]:
    declared = {model.name for model in manifest.models}
    return tuple(name for name in (known.objects.get("model", ()) if known else ()) if name not in declared)


def _stored(declaration: ModelDeclaration) -> dict[str, Any]:
    stored: dict[str, Any] = msgspec.to_builtins(declaration)
    return stored


def _project(tx: Tx, manifest: Manifest) -> Project:
    return Project(
        name=manifest.project,
        bundle_digest=manifest.bundle.digest,
        project_file=manifest.bundle.project_file,
        environment_digest=manifest.bundle.environment_digest,
        code_commit=manifest.code_commit,
        objects={
            "entity": tuple(entity.name for entity in manifest.entities),
            "source": tuple(source.name for source in manifest.sources),
            "feature_view": tuple(view.name for view in manifest.feature_views),
            "label": tuple(label.name for label in manifest.labels),
            "model": tuple(model.name for model in manifest.models),
        },
        applied_by=tx.actor,
        applied_at=tx.now,
        digest=_digest(manifest),
    )


def _digest(manifest: Manifest) -> str:
    """Of everything that the platform acts on; the commit alone is no change."""
    told = msgspec.structs.replace(manifest, code_commit=None)
    encoded = msgspec.json.encode(told, order="deterministic")
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"
