"""Versions in the graph of lineage: what they were made from, by the run and by what their registration says."""

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import lineage, lineage_walks
from headrace.kernel.database import Tx
from headrace.kernel.lineage import Link
from headrace.registry import tables
from headrace.registry.nouns import DataUse, Version
from headrace.tracking import artifacts, logged_models
from headrace.tracking import lineage as tracked
from headrace.tracking.nouns import Run

DATA_KINDS = ("dataset/", "training-set/", "lake/")
SUBJECT_LIMIT = 900
USES_LIMIT = 1_000
NUMBER_DIGITS = 10


def version_subject(model: str, number: int) -> str:
    """The name of a version in the graph, in pins and in events."""
    return f"version/{model}/{number}"


def begin(tx: Tx, version: Version, run: Run | None, made_from: str | None) -> None:
    """Put a new version into the graph; a deleted one that had its name gives it up."""
    lineage.put_aside(tx, version_subject(version.model, version.number))
    enter(tx, version, run, made_from)


def enter(tx: Tx, version: Version, run: Run | None, made_from: str | None) -> None:
    """Have a version in the graph, under what its files are of; one that is there may have got its files now."""
    subject = version_subject(version.model, version.number)
    about = {"digest": version.digest, "author": version.author, "registered_at": version.created_at}
    lineage.enter(tx, subject, about)
    origins = []
    if made_from is not None:
        kind, _, name = made_from.partition("/")
        origin = tracked.enter_model(tx, name) if kind == "logged-model" else made_from
        relation = "copied to" if kind == "version" else "registered as"
        origins.append(Link(origin, relation, subject))
    elif run is None and version.run_id:
        origins.append(Link(artifacts.run_owner(version.run_id), "registered as", subject))
    lineage.connect(tx, origins)
    renew(tx, version, run)


def renew(tx: Tx, version: Version, run: Run | None) -> None:
    """Add what has become known of a version since; what is above it by another way gets no edge of its own."""
    subject = version_subject(version.model, version.number)
    if run is not None:
        name = tracked.enter_run(tx, run)
        if name not in lineage_walks.above(tx, subject):
            lineage.connect(tx, [Link(name, "registered as", subject)])
    _connect_missing(
        tx,
        subject,
        [
            *((use.subject, "read by") for use in version.data),
            (f"training-set/{version.training_set_id}" if version.training_set_id else "", "read by"),
            (f"bundle/{version.bundle_digest}" if version.bundle_digest else "", "run by"),
        ],
    )
    _connect_missing(  # a bundle has its own above it
        tx,
        subject,
        [
            (f"commit/{version.code_commit}" if version.code_commit else "", "run by"),
            (f"environment/{version.environment_digest}" if version.environment_digest else "", "used by"),
        ],
    )
    links = []
    for use in version.feature_views:
        links.append(Link(f"view/{use.view}/{use.version}", "used by", subject))
        links += [Link(f"feature/{use.view}.{column}", "used by", subject) for column in use.columns]
    lineage.connect(tx, links)


def _connect_missing(tx: Tx, subject: str, upstream: list[tuple[str, str]]) -> None:
    above = lineage_walks.above(tx, subject)
    lineage.connect(
        tx, [Link(name, relation, subject) for name, relation in upstream if name and name not in above]
    )


def check_made_from(tx: Tx, made_from: str) -> None:
    """Refuse what no files can be of.

    Raises:
        InvalidInput: it is neither a logged model nor a version.
        NotFound: there is no such logged model or version.
    """
    kind, _, name = made_from.partition("/")
    model, _, number = name.rpartition("/")
    if kind == "logged-model":
        logged_models.get(tx, name, deleted_too=True)
    elif kind == "version" and model and number.isascii() and number.isdecimal() and len(number) < NUMBER_DIGITS:
        if tables.find_version(tx, model, int(number)) is None:
            raise NotFound(f"model {model!r} has no version {number}", where=made_from)
    else:
        fix = "Write logged-model/ID or version/MODEL/NUMBER."
        raise InvalidInput("files are those of a logged model or of a version", where="made_from", fix=fix)


def check_data(data: tuple[DataUse, ...]) -> None:
    """Refuse data whose names are none in the graph of lineage."""
    if len(data) > USES_LIMIT:
        raise InvalidInput(f"a version is made from at most {USES_LIMIT} data sets", where="data")
    for use in data:
        if not use.subject.startswith(DATA_KINDS) or len(use.subject) > SUBJECT_LIMIT:
            raise InvalidInput(
                "data are named by their subject of lineage",
                where="data.subject",
                fix="Write dataset/NAME@DIGEST, lake/TABLE@VERSION or training-set/ID.",
            )
