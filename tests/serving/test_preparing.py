"""What is allowed and made ready for a version: bound to its bytes, recorded, and told to the gateways."""

from typing import Any

import msgspec
import pytest

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events, jobs, pins, subscriptions
from headrace.kernel.database import Database, Tx
from headrace.kernel.jobs import Job
from headrace.registry import models, register, removal
from headrace.registry.nouns import ModelFile, RegisterVersion
from headrace.serving import allowances, preparing, routing, served
from headrace.serving.loading_nouns import Allow, Allowance, Forbid, OptimizationReport, Prepared
from headrace.serving.nouns import FieldPolicy, Loading, Route, RouteChange

pytestmark = pytest.mark.both_databases

GRAPH, REPORT = "sha256:" + "9" * 64, "sha256:" + "8" * 64
FASTER = Prepared(
    report=OptimizationReport(
        digest="sha256:0", chosen="exact", runtime="skops", absolute_bound=1e-6, relative_bound=1e-6
    ),
    report_digest=REPORT,
    converted=ModelFile(path="model.onnx", digest=GRAPH, size_bytes=1),
    known={"output": "answers"},
)


@pytest.fixture(autouse=True)
def registered(database: Database) -> None:
    def work(tx: Tx) -> None:
        subscriptions.enroll(tx, preparing.SUBSCRIBERS)
        models.ensure(tx, "churn")
        for number in (1, 2):
            files = (ModelFile(path="MLmodel", digest="sha256:" + f"{number}" * 64, size_bytes=1),)
            register.register_version(tx, RegisterVersion(model="churn", files=files, source=f"from/{number}"))

    database.write(work, actor="ana")


def hear(database: Database) -> None:
    """Let the subscribers hear of what happened."""
    for subscriber in preparing.SUBSCRIBERS:
        database.write(lambda tx, subscriber=subscriber: subscriptions.advance(tx, subscriber), actor="system")  # type: ignore[misc]


def allow(database: Database, number: int = 1, **asked: Any) -> Allowance:
    wanted = Allow(**({"reason": "reviewed by two"} | asked))
    return database.write(lambda tx: allowances.allow(tx, "churn", number, wanted), actor="ben")


def loading(database: Database, number: int = 1) -> Loading:
    return database.read(lambda tx: served.describe(tx, "churn", number).loading)


def routed(database: Database) -> Route:
    change = RouteChange(model="churn", champion=1, resident=(2,))
    return database.write(lambda tx: routing.set_route(tx, change), actor="ana")


def asked_for(database: Database) -> list[Job]:
    found = database.read(jobs.recent)
    return [job for job in found if job.kind == preparing.PREPARE.name]


def settle(database: Database, job: Job, result: Prepared = FASTER) -> None:
    database.write(lambda tx: preparing.settle(tx, job, result), actor="ana")


def test_what_is_allowed_reaches_the_gateways_and_is_recorded(database: Database) -> None:
    before = routed(database)
    given = allow(database, code=True, types=("shop.Scaler",))
    assert (given.allowed_by, given.code, given.types) == ("ben", True, ("shop.Scaler",))
    assert loading(database) == Loading(code=True, types=("shop.Scaler",))
    after = database.read(lambda tx: routing.get(tx, "churn"))
    assert after.sequence > before.sequence
    told = after.version(1)
    assert told is not None
    assert told.loading.code
    recorded = database.read(lambda tx: events.of_subject(tx, "version/churn/1"))[-1]
    assert (recorded.type, recorded.actor) == ("serving.loading_allowed", "ben")
    assert recorded.payload["reason"] == "reviewed by two"
    assert recorded.payload["digest"] == given.digest


def test_more_may_be_allowed_later_and_the_same_again_changes_nothing(database: Database) -> None:
    first = allow(database, types=("shop.Scaler",))
    assert allow(database, types=("shop.Scaler",), reason="again") == first
    assert allow(database, code=True).types == ("shop.Scaler",)
    kinds = [event.type for event in database.read(lambda tx: events.of_subject(tx, "version/churn/1"))]
    assert kinds.count("serving.loading_allowed") == 2


def test_it_is_taken_back(database: Database) -> None:
    routed(database)
    allow(database, code=True)
    database.write(lambda tx: allowances.forbid(tx, "churn", 1, Forbid(reason="no longer")), actor="ben")
    assert loading(database) == Loading()
    told = database.read(lambda tx: routing.get(tx, "churn")).version(1)
    assert told is not None
    assert not told.loading.code
    with pytest.raises(NotFound, match="nothing was allowed"):
        database.write(lambda tx: allowances.forbid(tx, "churn", 1, Forbid(reason="twice")), actor="ben")


@pytest.mark.parametrize(
    "asked",
    [
        {"reason": " ", "code": True},
        {"reason": "x" * 3_000, "code": True},
        {"reason": "why"},
        {"reason": "why", "types": ("os",)},
        {"reason": "why", "types": ("os.system; rm",)},
        {"reason": "why", "types": tuple(f"a.B{place}" for place in range(300))},
    ],
)
def test_what_says_nothing_is_refused(database: Database, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        allow(database, **asked)


def test_nothing_is_allowed_for_a_version_that_is_not_there(database: Database) -> None:
    with pytest.raises(NotFound):
        allow(database, number=9, code=True)


def test_each_registered_version_is_prepared_once(database: Database) -> None:
    hear(database)
    assert sorted(decoded(job).number for job in asked_for(database)) == [1, 2]
    routed(database)
    hear(database)
    assert len(asked_for(database)) == 2


def test_a_version_that_was_imported_is_prepared_when_it_gets_a_route(database: Database) -> None:
    database.write(lambda tx: subscriptions.enroll(tx, preparing.SUBSCRIBERS), actor="system")
    routed(database)
    on_routes = preparing.SUBSCRIBERS[1]
    database.write(lambda tx: subscriptions.advance(tx, on_routes), actor="system")
    assert sorted(decoded(job).number for job in asked_for(database)) == [1, 2]


def test_a_faster_form_is_told_to_the_gateways_and_kept(database: Database) -> None:
    routed(database)
    hear(database)
    job = next(job for job in asked_for(database) if decoded(job).number == 1)
    settle(database, job)
    converted = loading(database).converted
    assert converted is not None
    assert (converted.file.digest, converted.known) == (GRAPH, {"output": "answers"})
    told = database.read(lambda tx: routing.get(tx, "churn")).version(1)
    assert told is not None
    assert told.loading.converted == converted
    for blob in (GRAPH, REPORT):
        assert database.read(lambda tx, blob=blob: pins.pins_on(tx, f"blob/{blob}"))  # type: ignore[misc]
    found = database.read(lambda tx: preparing.of_version(tx, "churn", 1))
    assert found.preparation is not None
    assert found.preparation.prepared == FASTER
    kind = database.read(lambda tx: events.of_subject(tx, "version/churn/1"))[-1]
    assert (kind.type, kind.payload["serves_as"]) == ("serving.version_prepared", "exact")


def test_only_the_newest_preparation_counts(database: Database) -> None:
    hear(database)
    first = next(job for job in asked_for(database) if decoded(job).number == 1)
    second = database.write(lambda tx: jobs.get(tx, preparing.ask(tx, "churn", 1)), actor="ana")
    settle(database, first)
    assert loading(database).converted is None
    settle(database, second)
    assert loading(database).converted is not None
    third = database.write(lambda tx: jobs.get(tx, preparing.ask(tx, "churn", 1)), actor="ana")
    assert loading(database).converted is not None  # what is known stays until more is
    assert decoded(third).loading.converted is None  # and is no part of what is prepared anew
    settle(database, third, Prepared(refused="it cannot be served"))
    assert loading(database).converted is None
    assert not database.read(lambda tx: pins.pins_on(tx, f"blob/{GRAPH}"))


def test_a_failure_is_kept_and_serving_goes_on_without(database: Database) -> None:
    hear(database)
    job = asked_for(database)[0]
    database.write(lambda tx: preparing.failed(tx, job, "no network"), actor="ana")
    found = database.read(lambda tx: preparing.of_version(tx, "churn", decoded(job).number))
    assert found.preparation is not None
    assert found.preparation.prepared is not None
    assert found.preparation.prepared.refused == "no network"


def test_what_is_known_follows_a_model_to_its_new_name_and_goes_with_it(database: Database) -> None:
    allow(database, code=True)
    hear(database)
    job = next(job for job in asked_for(database) if decoded(job).number == 1)
    settle(database, job)
    database.write(lambda tx: removal.rename_model(tx, "churn", "leaving"), actor="ana")
    hear(database)
    found = database.read(lambda tx: served.describe(tx, "leaving", 1).loading)
    assert found.code
    assert found.converted is not None
    database.write(lambda tx: removal.delete_version(tx, "leaving", 1), actor="ana")
    hear(database)
    assert not database.read(lambda tx: pins.pins_on(tx, f"blob/{GRAPH}"))
    settle(database, job)  # of a job that was under way: nothing comes back
    database.write(lambda tx: removal.delete_model(tx, "leaving"), actor="ana")
    hear(database)


def decoded(job: Job) -> Any:
    return msgspec.json.decode(job.payload, type=preparing.PREPARE.payload).version


def test_what_a_project_says_of_fields_reaches_the_gateways(database: Database) -> None:
    assert routed(database).versions[0].fields == FieldPolicy()
    declared = {"unknown_fields": "ignore", "missing_fields": "null"}
    database.write(lambda tx: models.declare(tx, "churn", declared), actor="ana")
    hear(database)
    (route,) = database.read(routing.every)
    assert {version.fields for version in route.versions} == {FieldPolicy(unknown="ignore", missing="null")}
