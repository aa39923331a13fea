from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.delivery.conftest import declaration, declare, manifest

from headrace.delivery import apply
from headrace.delivery.nouns import Action, Plan, Release
from headrace.errors import Conflict, InvalidInput, ProjectError
from headrace.features import catalog
from headrace.features.nouns import ObjectKind
from headrace.kernel import events
from headrace.kernel.blobs import open_blob_store
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.manifest import Manifest
from headrace.project.model import ModelDeclaration
from headrace.project.rollout import Canary
from headrace.registry import models, policies
from headrace.registry.bounds import Bounds, RolloutBounds
from headrace.registry.nouns import Stage
from headrace.registry.rules import Policy, RequiredEvidence


def plan(database: SqliteDatabase, given: Manifest) -> dict[str, Action]:
    found = database.read(lambda tx: apply.plan(tx, given, ()))
    assert not found.applied
    return {f"{change.kind}/{change.name}": change.action for change in found.changes}


def apply_it(database: SqliteDatabase, given: Manifest, actor: str = "ana") -> Plan:
    return database.write(lambda tx: apply.apply(tx, given, ()), actor=actor)


def test_a_plan_changes_nothing_and_an_apply_does_what_it_says(database: SqliteDatabase) -> None:
    given = manifest(declaration())
    planned = plan(database, given)
    assert planned == {
        "entity/customer": Action.CREATED,
        "source/purchases": Action.CREATED,
        "feature_view/activity": Action.CREATED,
        "label/churned": Action.CREATED,
        "model/churn": Action.CREATED,
        "bundle/shop": Action.CREATED,
    }
    assert database.read(events.head) == 0
    applied = apply_it(database, given)
    assert applied.applied
    assert {f"{change.kind}/{change.name}": change.action for change in applied.changes} == planned
    assert database.read(lambda tx: models.get(tx, "churn")).created_by == "ana"
    assert database.read(lambda tx: catalog.get(tx, ObjectKind.VIEW, "activity")).version == 1


def test_applying_again_finds_nothing_to_change(database: SqliteDatabase) -> None:
    apply_it(database, manifest(declaration()))
    head = database.read(events.head)
    assert set(plan(database, manifest(declaration())).values()) == {Action.UNCHANGED}
    apply_it(database, manifest(declaration()))
    assert database.read(events.head) == head


def test_a_changed_policy_names_what_differs(database: SqliteDatabase) -> None:
    apply_it(database, manifest(declaration()))
    found = database.read(lambda tx: apply.plan(tx, manifest(declaration(approval=None)), ()))
    (model,) = [change for change in found.changes if change.kind == "model"]
    assert (model.action, model.details) == (
        Action.CHANGED,
        ("approval: role approver, four_eyes yes, expires 7d → none",),
    )


def test_a_plan_says_what_policies_ask_for_and_a_model_does_not_declare(database: SqliteDatabase) -> None:
    """Before anything is trained, also of a model that nobody has applied, and again when the policy changes."""

    def ask(value: float) -> None:
        required = RequiredEvidence(gate="at_least", metric="roc_auc", bounds=Bounds(value=value))
        wanted = Policy(
            model="*", stage=Stage.PRODUCTION, evidence=(required,), rollout=RolloutBounds(cooling="1d")
        )
        database.write(lambda tx: policies.put(tx, wanted), actor="adm")

    def warnings(given: Manifest) -> tuple[str, ...]:
        found = database.read(lambda tx: apply.plan(tx, given, ()))
        assert all(not change.warnings for change in found.changes if change.kind != "model")
        (model,) = [change for change in found.changes if change.kind == "model"]
        return model.warnings

    given = manifest(declaration())
    assert warnings(given) == ()
    ask(0.75)
    lax, short = warnings(given)
    assert lax.startswith("at_least of roc_auc is declared with value=0.7 (")
    assert lax.endswith("the policy *: stage/Production asks for no laxer than value=0.75")
    assert short == (
        "the rollout is declared with cooling=1h, and the policy *: stage/Production asks for no laxer than"
        " cooling=1d"
    )
    applied = apply_it(database, given)  # it is told, and not refused: the policy may be on its way to change
    assert [change.warnings for change in applied.changes if change.warnings] == [(lax, short)]
    (told,) = [event for event in database.read(events.recent) if event.type == "delivery.project_applied"]
    assert [each["warnings"] for each in told.payload["changes"] if each["warnings"]] == [[lax, short]]
    ask(0.7)
    assert warnings(given) == (short,)


def test_new_code_or_packages_change_the_bundle(database: SqliteDatabase) -> None:
    apply_it(database, manifest(declaration()))
    assert plan(database, manifest(declaration(), code="5"))["bundle/shop"] is Action.CHANGED
    assert plan(database, manifest(declaration(), data="6"))["source/purchases"] is Action.CHANGED


def test_what_is_no_longer_declared_is_archived_and_comes_back(database: SqliteDatabase) -> None:
    apply_it(database, manifest(declaration()))
    applied = apply_it(database, manifest(code="2"))
    (gone,) = [change for change in applied.changes if change.kind == "model"]
    assert (gone.action, "goes on serving" in gone.details[0]) == (Action.ARCHIVED, True)
    assert database.read(lambda tx: models.get(tx, "churn")).archived
    assert plan(database, manifest(declaration()))["model/churn"] is Action.CHANGED
    apply_it(database, manifest(declaration()))
    assert not database.read(lambda tx: models.get(tx, "churn")).archived


def test_a_model_belongs_to_one_project(database: SqliteDatabase) -> None:
    apply_it(database, manifest(declaration()))
    with pytest.raises(ProjectError, match="belongs to project 'shop'"):
        apply_it(database, manifest(declaration(), project="other"))
    apply_it(database, manifest(code="2"))
    apply_it(database, manifest(declaration(), project="other"))


def test_nothing_is_half_applied(database: SqliteDatabase) -> None:
    torn = msgspec.structs.replace(manifest(declaration()), data_files=())
    with pytest.raises(InvalidInput, match="does not hold the file of source purchases"):
        apply_it(database, torn)
    with pytest.raises(Conflict, match="have not been uploaded"):
        database.write(lambda tx: apply.apply(tx, manifest(declaration()), ("sha256:x",)), actor="ana")
    assert database.read(events.head) == 0


def test_what_has_to_be_uploaded_is_named_once(tmp_path: Path) -> None:
    blobs = open_blob_store(tmp_path)
    given = manifest(declaration())
    assert apply.missing_blobs(given, blobs) == ("sha256:" + "1" * 64, "sha256:" + "4" * 64)
    stored = blobs.put(b"the bundle")
    bundle = msgspec.structs.replace(given.bundle, digest=stored.digest)
    assert apply.missing_blobs(msgspec.structs.replace(given, bundle=bundle), blobs) == ("sha256:" + "4" * 64,)


def test_a_manifest_survives_the_wire() -> None:
    given = manifest(declaration())
    assert msgspec.json.decode(msgspec.json.encode(given), type=Manifest) == given


def test_a_plan_says_where_what_production_was_released_by_is_stricter(
    churn: SqliteDatabase, complete: Callable[[int], Release]
) -> None:
    def bound(given: ModelDeclaration) -> tuple[str, ...]:
        found = churn.read(lambda tx: apply.plan(tx, manifest(given), ()))
        return next(change.bound for change in found.changes if change.kind == "model")

    bold = Canary([25, 100], minimum_time="10s", cooling="1h", tolerance=0.02)
    assert bound(declaration(rollout=bold)) == ()
    complete(1)
    assert bound(declaration()) == ()
    told = ("rollout.steps: [25, 100] → [5, 100]", "rollout.tolerance: 0.02 → 0.01")
    assert bound(declaration(rollout=bold)) == told
    assert bound(declaration(approval=None)) == ("approval: none → role approver, four_eyes yes, expires 7d",)
    declare(churn, declaration(rollout=bold))
    assert bound(declaration(rollout=bold)) == told, "until a release after it has completed"
