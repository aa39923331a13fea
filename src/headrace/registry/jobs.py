"""What of a version lies in files: asked of a worker after its registration, and filled in when it has been read.

The packages that a model needs are in its directory, those that its run had are among the run's files; control
reads neither while somebody waits.
"""

import hashlib

import msgspec

from headrace.errors import NotFound
from headrace.kernel import environments, events, lineage, pins
from headrace.kernel import jobs as kernel_jobs
from headrace.kernel.database import Tx
from headrace.kernel.environments import Environment
from headrace.kernel.events import Event
from headrace.kernel.jobs import Handling, Job, JobKind
from headrace.kernel.lineage import Link
from headrace.kernel.subscriptions import Subscriber
from headrace.registry import completion, tables, tables_completion
from headrace.registry import lineage as graph
from headrace.registry.nouns import Version
from headrace.tracking import artifacts, runs
from headrace.tracking.nouns import Run

ENVIRONMENT_FILES = ("requirements.txt", "conda.yaml", "python_env.yaml")
"""Where MLflow's model format says which packages a model needs."""
LARGEST_FILE_BYTES = 2_000_000
VERSIONS_OF_A_RUN = 1_000


class ReadFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files to read for one version.

    Attributes:
        version: number of its subject in the graph of lineage, which a new name of the model does not change.
        environment: the files of the model directory that name packages, by their blob digests.
        machine: blob of what the run captured of its machine.
        place: where the run's files are, if its client wrote them itself.
        diff_wanted: whether the differences from the commit may be there too.
        run_ended: whether the run's files are all there.
    """

    version: int
    environment: dict[str, str] = {}
    machine: str | None = None
    place: str = ""
    diff_wanted: bool = False
    run_ended: bool = False


class FilesRead(msgspec.Struct, frozen=True, kw_only=True):
    """What the files said; what is None was not there, or says nothing.

    Attributes:
        needs: the packages of the model directory.
        ran_in: the packages of the run.
        code_diff: blob of the differences from the commit, copied from the run's place.
    """

    needs: Environment | None = None
    ran_in: Environment | None = None
    code_diff: str | None = None


READ_FILES: JobKind[ReadFiles, FilesRead] = JobKind(name="registry.read_files", payload=ReadFiles, result=FilesRead)


def ask_for_files(tx: Tx, version: Version, run: Run | None) -> None:
    """Ask for what files say of a version, unless it is known or was asked of the same files before."""
    asked = _files_of(tx, version, run)
    if asked.environment or asked.machine or asked.place:
        same = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
        kernel_jobs.enqueue(tx, READ_FILES, asked, key=f"{READ_FILES.name}/{same}")


def settle(tx: Tx, job: Job, result: FilesRead) -> None:
    """Fill in what the files said; what is known stays. A version that was deleted meanwhile stays as it was."""
    asked = msgspec.json.decode(job.payload, type=ReadFiles)
    subject = lineage.numbered(tx, [asked.version]).get(asked.version)
    if subject is None or subject.ended_at is not None:
        return
    model, _, number = subject.name.rpartition("/")
    version = tables.find_version(tx, model, int(number))
    if version is None:
        return
    for environment in (result.needs, result.ran_in):
        if environment is not None:
            environments.keep(tx, environment)
    if result.ran_in is not None and version.run_id:
        ran_in = Link(environments.subject(result.ran_in.digest), "used by", artifacts.run_owner(version.run_id))
        lineage.connect(tx, [ran_in])
    environment = result.needs or result.ran_in
    _fill(
        tx,
        version,
        msgspec.structs.replace(
            version,
            environment_digest=version.environment_digest or (environment.digest if environment else None),
            code_diff=version.code_diff or result.code_diff,
        ),
        None,
    )


def on_run_finished(tx: Tx, event: Event) -> None:
    """Add what a run has told since its versions were registered."""
    run_id = event.subject.partition("/")[2]
    versions = tables_completion.of_run(tx, run_id, limit=VERSIONS_OF_A_RUN)
    if not versions:
        return
    try:
        run = runs.get(tx, run_id)
    except NotFound:
        return
    for version in versions:
        changed = _fill(tx, version, completion.with_latecomers(tx, version, run), run)
        if changed.environment_digest is None or changed.code_diff is None:
            ask_for_files(tx, changed, run)


def _fill(tx: Tx, version: Version, filled: Version, run: Run | None) -> Version:
    """Write what was added to a version, if anything was."""
    subject = graph.version_subject(version.model, version.number)
    if filled != version:
        tables_completion.fill(tx, filled)
        if filled.code_diff and filled.code_diff != version.code_diff:
            pins.pin(tx, f"blob/{filled.code_diff}", subject, "a registered version is made of it")
        names = [name for name in Version.__struct_fields__ if getattr(filled, name) != getattr(version, name)]
        told = {"model": version.model, "number": version.number, "filled": names}
        exact = ("environment_digest", "code_commit", "code_diff", "bundle_digest", "training_set_id")
        told |= {name: getattr(filled, name) for name in exact if name in names}
        events.append(tx, "registry.version_completed", subject, told)
    if filled != version or run is not None:
        graph.renew(tx, filled, run)
    return filled


def _files_of(tx: Tx, version: Version, run: Run | None) -> ReadFiles:
    subject = lineage.find(tx, graph.version_subject(version.model, version.number))
    number = 0 if subject is None else subject.number
    known = version.environment_digest and lineage.find(tx, environments.subject(version.environment_digest))
    environment = {
        file.path: file.digest
        for file in version.files
        if file.path in ENVIRONMENT_FILES and file.size_bytes <= LARGEST_FILE_BYTES
    }
    captured = {} if run is None else artifacts.named(tx, artifacts.run_owner(run.id), [completion.MACHINE])
    machine = captured.get(completion.MACHINE)
    return ReadFiles(
        version=number,
        environment={} if known else environment,
        machine=None if known or machine is None else machine.digest,
        place="" if run is None or known else run.artifact_uri,
        diff_wanted=version.code_diff is None,
        run_ended=run is not None and run.status.ended,
    )


HANDLINGS = [Handling(kind=READ_FILES, settle=settle)]
SUBSCRIBERS = [Subscriber("registry.runs", ("tracking.run_finished",), on_run_finished)]
