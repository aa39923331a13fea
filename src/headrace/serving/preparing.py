"""Makes versions ready before anybody asks them: a job builds their environment and looks for a faster form.

It is asked for when a version is registered, and when one that nobody prepared gets a route. Serving waits for the
environment, where one is needed, and never for the faster form: that takes over when it is there.
"""

import msgspec

from headrace.errors import NotFound
from headrace.kernel import events, jobs, pins
from headrace.kernel.database import Tx
from headrace.kernel.events import Event
from headrace.kernel.jobs import Handling, Job, JobKind
from headrace.kernel.subscriptions import Subscriber
from headrace.registry import versions
from headrace.serving import routing, served, tables_loading
from headrace.serving.loading_nouns import NATIVE, Prepared, PrepareRequest, VersionLoading

PREPARE: JobKind[PrepareRequest, Prepared] = JobKind(
    name="serving.prepare", payload=PrepareRequest, result=Prepared, lease_s=60.0, max_attempts=4
)


def ask(tx: Tx, model: str, number: int) -> str:
    """Ask a worker to prepare a version, also one that was prepared before; returns the job's id.

    Raises:
        NotFound: there is no such version, or it has no files.
    """
    version = versions.get(tx, model, number)
    if not version.files:
        raise NotFound("the version has no files", where=f"version/{model}/{number}")
    described = served.describe(tx, model, number)
    loading = msgspec.structs.replace(described.loading, converted=None)
    request = PrepareRequest(
        version=msgspec.structs.replace(described, loading=loading), training_set_id=version.training_set_id
    )
    job_id = jobs.enqueue(tx, PREPARE, request, lane=f"{PREPARE.name}/{model}")
    tables_loading.put_job(tx, model, number, version.digest, job_id)
    return job_id


def ask_once(tx: Tx, model: str, number: int) -> None:
    """Ask for what nobody asked for yet; a version that is gone, or has no files, needs nothing."""
    try:
        version = versions.get(tx, model, number)
    except NotFound:
        return
    if version.files and tables_loading.find_preparation(tx, model, number, version.digest) is None:
        ask(tx, model, number)


def of_version(tx: Tx, model: str, number: int) -> VersionLoading:
    """All that is decided about loading a version.

    Raises:
        NotFound: there is no such version.
    """
    version = versions.get(tx, model, number)
    preparation = tables_loading.find_preparation(tx, model, number, version.digest)
    return VersionLoading(
        model=model,
        number=number,
        allowance=tables_loading.find_allowance(tx, model, number, version.digest),
        preparation=preparation,
        job_state=None if preparation is None else jobs.get(tx, preparation.job_id).state,
    )


def forget(tx: Tx, model: str, number: int) -> None:
    """Forget what was prepared for a version, and let go of its files; a job that runs for it is ignored."""
    tables_loading.drop_preparation(tx, model, number)
    pins.release(tx, _holder(model, number))


def settle(tx: Tx, job: Job, result: Prepared) -> None:
    """Keep what a worker found and made, and tell the gateways of a faster form."""
    request = msgspec.json.decode(job.payload, type=PrepareRequest)
    asked = request.version
    known = tables_loading.find_preparation(tx, asked.model, asked.number, asked.digest)
    if known is None or known.job_id != job.id:
        return  # the version is gone, or a later job knows more
    tables_loading.put_prepared(tx, msgspec.structs.replace(known, prepared=result, at=tx.now))
    holder = _holder(asked.model, asked.number)
    pins.release(tx, holder)
    if result.report_digest:
        pins.pin(tx, f"blob/{result.report_digest}", holder, "the report on a version's faster forms")
    if result.converted:
        pins.pin(tx, f"blob/{result.converted.digest}", holder, "a version's faster form")
    events.append(
        tx, "serving.version_prepared", f"version/{asked.model}/{asked.number}",
        {
            "model": asked.model,
            "number": asked.number,
            "digest": asked.digest,
            "refused": result.refused,
            "environment": result.environment,
            "serves_as": result.report.chosen if result.report else NATIVE,
            "report": result.report_digest,
            "converted": result.converted.digest if result.converted else None,
        },
    )  # fmt: skip
    routing.refresh(tx, asked.model, asked.number)


def failed(tx: Tx, job: Job, error: str) -> None:
    """Keep why a version could not be prepared; it is served as it is, if it can be."""
    settle(tx, job, Prepared(refused=error))


def on_registered(tx: Tx, event: Event) -> None:
    """A version was registered."""
    ask_once(tx, event.payload["model"], event.payload["number"])


def on_route_set(tx: Tx, event: Event) -> None:
    """Versions are wanted by gateways; imported ones are prepared only now."""
    for number in event.payload["resident"]:
        ask_once(tx, event.payload["model"], number)


def on_declared(tx: Tx, event: Event) -> None:
    """A project was applied: what it says of fields goes for the versions that gateways hold."""
    for route in routing.every(tx):
        if route.model == event.payload["model"]:
            for version in route.versions:
                routing.refresh(tx, route.model, version.number)


def on_removed(tx: Tx, event: Event) -> None:
    """A version, or a model with all of them, was deleted or has another name."""
    payload = event.payload
    match event.type:
        case "registry.version_deleted":
            tables_loading.forget(tx, payload["model"], payload["number"])
            pins.release(tx, _holder(payload["model"], payload["number"]))
        case "registry.model_deleted":
            tables_loading.forget(tx, payload["model"])
            for number in payload["versions"]:
                pins.release(tx, _holder(payload["model"], number))
        case _:
            for number in tables_loading.numbers(tx, payload["before"]):
                pins.hand_over(tx, _holder(payload["before"], number), _holder(payload["after"], number))
            tables_loading.rename(tx, payload["before"], payload["after"])


HANDLINGS = [Handling(PREPARE, settle, failed)]

SUBSCRIBERS = [
    Subscriber("serving.preparation", ("registry.version_registered",), on_registered),
    Subscriber("serving.preparation_routes", ("serving.route_set",), on_route_set),
    Subscriber("serving.fields", ("registry.model_declared",), on_declared),
    Subscriber(
        "serving.loading_names",
        ("registry.version_deleted", "registry.model_deleted", "registry.model_renamed"),
        on_removed,
    ),
]


def _holder(model: str, number: int) -> str:
    return f"preparation/{model}/{number}"
