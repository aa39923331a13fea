"""A connection to one platform: what the command line calls, and what a script or notebook may call too."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from headrace.client.transport import Transport
from headrace.delivery.nouns import (
    OpenRelease,
    Pipeline,
    Plan,
    Release,
    ReleaseAction,
    ReleaseCommand,
    ReleaseHistory,
    Rollback,
    RollbackRequest,
    Train,
)
from headrace.errors import Unavailable
from headrace.features.nouns import Catalog
from headrace.kernel.activity import Activity
from headrace.kernel.audit import AuditReport
from headrace.kernel.business_time import BusinessClock
from headrace.kernel.environments import Environment
from headrace.kernel.events import Event
from headrace.kernel.jobs import Job
from headrace.monitoring.nouns import Alert, Window
from headrace.project.loading import load_project
from headrace.project.manifest import PackedProject, pack
from headrace.project.search import ParameterValue
from headrace.registry.approval import Approval, Decision
from headrace.registry.moves import History
from headrace.registry.nouns import Evidence, Model, ModelDetails, Version
from headrace.sdk.access import Access
from headrace.sdk.approving import Approving, Policies
from headrace.sdk.feedback import Feedbacks
from headrace.sdk.lineage import Lineages
from headrace.sdk.loading import Loading
from headrace.sdk.prediction_log import PredictionLog
from headrace.sdk.predictions import Predictor
from headrace.sdk.registering import Measured, register
from headrace.sdk.retention import Retention
from headrace.sdk.runs import Runs
from headrace.serving.nouns import Gateway
from headrace.tracking.nouns import Collection, CollectRequest, Purge, PurgeRequest
from headrace.training.nouns import TrainingSetManifest

T = TypeVar("T")

LOOK_EVERY_S = 0.1


class Platform:
    """Everything that one caller may ask of one platform; thread-safe.

    Attributes:
        access: principals, roles and tokens.
        runs: what was tracked.
        loading: how versions are loaded.
        lineage: what was made from what.
        feedback: what became of predictions.
        predictions: the prediction log.
        retention: how long that is kept.
        policies: what changes of stages and aliases ask for.
        approving: requests for approval.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.access = Access(transport)
        self.runs = Runs(transport)
        self.loading = Loading(transport)
        self.lineage = Lineages(transport)
        self.feedback = Feedbacks(transport)
        self.predictions = PredictionLog(transport)
        self.retention = Retention(transport)
        self.policies = Policies(transport)
        self.approving = Approving(transport)

    @property
    def url(self) -> str:
        """The platform's address."""
        return self._transport.url

    @property
    def transport(self) -> Transport:
        """The connection itself."""
        return self._transport

    # -- the clock and the work -----------------------------------------------------------------------------

    def clock(self) -> BusinessClock:
        """Business time."""
        return self._transport.call("GET", "/api/v1/clock", returns=BusinessClock)

    def move_clock(self, to: datetime) -> BusinessClock:
        """Move business time forward, as a replay does.

        Raises:
            InvalidInput: it lies before the present business time.
        """
        return self._transport.call("PUT", "/api/v1/clock", {"now": to}, returns=BusinessClock, repeatable=True)

    def activity(self) -> Activity:
        """What is left to do at the present business time."""
        return self._transport.call("GET", "/api/v1/activity", returns=Activity)

    def settle(self, timeout_s: float = 120.0) -> None:
        """Wait until nothing is left to do.

        Raises:
            Unavailable: work is still under way after `timeout_s` seconds.
        """
        self.wait_for(self.activity, lambda activity: activity.settled, "all work to be done", timeout_s=timeout_s)

    def wait_for(
        self, read: Callable[[], T], enough: Callable[[T], bool], what: str, *, timeout_s: float = 120.0
    ) -> T:
        """Read until `enough` holds.

        Raises:
            Unavailable: it does not hold after `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while not enough(found := read()):
            if time.monotonic() > deadline:
                raise Unavailable(f"waited {timeout_s:.0f} s for {what}", where=self.url)
            time.sleep(LOOK_EVERY_S)
        return found

    def jobs(self, limit: int = 50) -> list[Job]:
        """Jobs, newest first."""
        return self._transport.call("GET", "/api/v1/jobs", returns=list[Job], query={"limit": limit})

    def job(self, job_id: str) -> Job:
        """One job, with its progress."""
        return self._transport.call("GET", f"/api/v1/jobs/{job_id}", returns=Job)

    def events(self, *, subject: str | None = None, limit: int = 50) -> list[Event]:
        """Events, newest first; those of one subject oldest first."""
        query = {"subject": subject, "limit": limit}
        return self._transport.call("GET", "/api/v1/events", returns=list[Event], query=query)

    def verify_audit(self) -> AuditReport:
        """Have the platform verify its event chain against its signed checkpoints."""
        return self._transport.call("POST", "/api/v1/audit/verify", returns=AuditReport, repeatable=True)

    # -- project --------------------------------------------------------------------------------------------

    def plan(self, path: Path) -> tuple[PackedProject, Plan]:
        """Load a project in this process and say what applying it would change.

        Raises:
            ProjectError: the project has an error; names file and line.
        """
        packed = pack(load_project(path))
        plan = self._transport.call("POST", "/api/v1/plan", packed.manifest, returns=Plan, repeatable=True)
        return packed, plan

    def apply(self, packed: PackedProject, plan: Plan) -> Plan:
        """Upload what is missing and apply the whole project, or nothing of it."""
        for digest in plan.missing:
            path = f"/api/v1/blobs/{digest}"
            if digest in packed.data:
                self._transport.upload(path, _chunks(packed.data[digest]), returns=dict)
            else:
                self._transport.upload(path, packed.bundle, returns=dict)
        return self._transport.call("POST", "/api/v1/apply", packed.manifest, returns=Plan, repeatable=True)

    def train(
        self,
        model: str,
        *,
        as_of: datetime | None = None,
        params: Mapping[str, ParameterValue] | None = None,
        release: bool = True,
    ) -> Pipeline:
        """Start a pipeline: training set, checks, search, fit, registration.

        Args:
            model: its name.
            as_of: business time of the features; None takes the newest month start whose labels are mature.
            params: override the declared defaults.
            release: open a release when the version is registered.

        Raises:
            LabelsNotMature: the labels as of then are not yet known.
        """
        body = Train(model=model, as_of=as_of, params=dict(params or {}), release=release)
        return self._transport.call("POST", "/api/v1/train", body, returns=Pipeline)

    def pipeline(self, pipeline_id: str) -> Pipeline:
        """One pipeline with its stages."""
        return self._transport.call("GET", f"/api/v1/pipelines/{pipeline_id}", returns=Pipeline)

    def pipelines(self, model: str | None = None) -> list[Pipeline]:
        """Pipelines, newest first."""
        return self._transport.call("GET", "/api/v1/pipelines", returns=list[Pipeline], query={"model": model})

    # -- models and releases --------------------------------------------------------------------------------

    def models(self) -> list[Model]:
        """Models by name."""
        return self._transport.call("GET", "/api/v1/models", returns=list[Model])

    def model(self, name: str) -> ModelDetails:
        """A model with its versions and what is in production."""
        return self._transport.call("GET", f"/api/v1/models/{name}", returns=ModelDetails)

    def version(self, model: str, number: int) -> Version:
        """One version."""
        return self._transport.call("GET", f"/api/v1/models/{model}/versions/{number}", returns=Version)

    def register(
        self,
        model: str,
        run_id: str,
        folder: str = "model",
        *,
        metrics: Mapping[str, Measured] | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
        owner: str = "",
    ) -> Version:
        """Register a folder of a run's files as the next version of a model; the same files again are the same.

        What the run knows is taken from it: params, metrics, data, commit and what differs from it, packages.

        Args:
            model: its name; a new one is created.
            run_id: the run that logged the files.
            folder: where they are among its files.
            metrics: instead of the run's: a value, or `(value, low, high)` with its confidence interval.
            tags: of the version.
            description: what is worth knowing of it.
            owner: who is asked about it; whoever registers it when it is not given.

        Raises:
            NotFound: there is no such run.
            InvalidInput: the run has no files there.
        """
        return register(
            self._transport,
            model,
            run_id=run_id,
            folder=folder,
            metrics=metrics or {},
            tags=tags or {},
            description=description,
            owner=owner,
        )

    def describe_version(
        self,
        model: str,
        number: int,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        owner: str | None = None,
    ) -> Version:
        """Set what of a version may change; tags are replaced as a whole, None leaves what is there."""
        body = {"description": description, "tags": None if tags is None else dict(tags), "owner": owner}
        path = f"/api/v1/models/{quote(model, safe='')}/versions/{number}"
        return self._transport.call("PATCH", path, body, returns=Version, repeatable=True)

    def history(
        self, model: str, *, at: str | datetime | None = None, limit: int = 100, cursor: str = ""
    ) -> History:
        """A model's stage moves up to a moment, newest first, and what was in production then.

        Args:
            model: its name; a model that was deleted keeps its history.
            at: wall time; a date alone, such as `2026-03-01`, is the end of that day in UTC. None is now.
            limit: how many moves.
            cursor: where the page before ended.
        """
        moment = at.isoformat() if isinstance(at, datetime) else at
        path = f"/api/v1/models/{quote(model, safe='')}/history"
        query = {"at": moment, "limit": limit, "cursor": cursor or None}
        return self._transport.call("GET", path, returns=History, query=query)

    def environment(self, digest: str) -> Environment:
        """The packages of an environment."""
        return self._transport.call("GET", f"/api/v1/environments/{digest}", returns=Environment)

    def evidence(self, model: str, number: int) -> list[Evidence]:
        """What gates, checks and staging found about a version."""
        return self._transport.call(
            "GET", f"/api/v1/models/{model}/versions/{number}/evidence", returns=list[Evidence]
        )

    def one_evidence(self, evidence_id: str) -> Evidence:
        """One piece of evidence."""
        return self._transport.call("GET", f"/api/v1/evidence/{evidence_id}", returns=Evidence)

    def blob(self, digest: str) -> bytes:
        """The bytes of one blob, such as the scores behind a verdict."""
        with self._transport.download(f"/api/v1/blobs/{digest}") as chunks:
            return b"".join(chunks)

    def open_release(self, model: str, number: int) -> Release:
        """Send a version on its way into production.

        Raises:
            Conflict: another release of the model is open.
        """
        body = OpenRelease(model=model, number=number)
        return self._transport.call("POST", "/api/v1/releases", body, returns=Release, repeatable=True)

    def releases(self, model: str | None = None) -> list[Release]:
        """Releases, newest first."""
        return self._transport.call("GET", "/api/v1/releases", returns=list[Release], query={"model": model})

    def release(self, release_id: str) -> Release:
        """One release with its evidence."""
        return self._transport.call("GET", f"/api/v1/releases/{release_id}", returns=Release)

    def command_release(self, release_id: str, command: ReleaseAction, reason: str = "") -> Release:
        """Pause, resume, abort, promote or roll back a release; repeating a command changes nothing."""
        body = ReleaseCommand(command=command, reason=reason)
        path = f"/api/v1/releases/{release_id}/commands"
        return self._transport.call("POST", path, body, returns=Release, repeatable=True)

    def release_history(self, release_id: str) -> ReleaseHistory:
        """A release told again from its events alone, and whether that is what is stored."""
        return self._transport.call("GET", f"/api/v1/releases/{release_id}/history", returns=ReleaseHistory)

    def look_at_rollback(self, model: str) -> Rollback:
        """What a rollback would do now.

        Raises:
            Conflict: there is no version to go back to.
        """
        return self._transport.call("GET", f"/api/v1/models/{model}/rollback", returns=Rollback)

    def roll_back(
        self, model: str, *, to: int | None = None, expected: int | None = None, reason: str = ""
    ) -> Rollback:
        """Back to a version, or to the last one before whose release completed; ends an open release.

        Args:
            model: its name.
            to: the version to go back to; None finds it.
            expected: the version to leave; None leaves the one that has the traffic when this is called.
            reason: why, for the record.

        Raises:
            Conflict: the version to be left has left already, or there is none to go back to.
        """
        if to is None and expected is None:
            ahead = self.look_at_rollback(model)
            to, expected = ahead.now, ahead.left
        body = RollbackRequest(to=to, expected=expected, reason=reason)
        path = f"/api/v1/models/{model}/rollback"
        return self._transport.call("POST", path, body, returns=Rollback, repeatable=to is not None)

    def gateways_behind(self, sequence: int) -> list[Gateway]:
        """The gateways that have not applied a route yet, by its place in the order of all."""
        return [gateway for gateway in self.gateways() if gateway.applied_sequence < sequence]

    def approvals(self, status: str | None = None) -> list[Approval]:
        """Requests for approval, newest first."""
        return self.approving.search(status=status)

    def decide(self, approval_id: str, *, grant: bool, reason: str = "", meaning: str = "") -> Approval:
        """Grant or refuse a request, as `approving.decide`.

        Raises:
            PolicyRefused: four eyes, or the role, forbid it to this caller.
        """
        return self.approving.decide(approval_id, Decision(grant=grant, reason=reason, meaning=meaning))

    # -- removing for good ----------------------------------------------------------------------------------

    def purge(
        self, older_than: timedelta, *, dry_run: bool = True, told: Callable[[Purge], None] = lambda _: None
    ) -> Purge:
        """Remove for good the runs, logged models and experiments that were deleted long enough ago.

        What a registered version came from stays, and is named in `held`.

        Args:
            older_than: how long ago.
            dry_run: only say what would go.
            told: after every request, what has gone so far.

        Raises:
            PermissionRefused: only admins may.
        """
        request = PurgeRequest(older_than_s=older_than.total_seconds(), dry_run=dry_run)
        done = Purge()
        while True:
            answer = self._transport.call("POST", "/api/v1/purge", request, returns=Purge, repeatable=True)
            done = msgspec.structs.replace(done.plus(answer), held=answer.held)
            told(done)
            if dry_run or not answer.more:
                return done

    def collect(self, spare_younger_than: timedelta = timedelta(days=1), *, dry_run: bool = True) -> Collection:
        """Remove the blobs that no file and no version names any more.

        Args:
            spare_younger_than: blobs that were put within this time stay: somebody may be about to name them.
            dry_run: only say what would go.

        Raises:
            PermissionRefused: only admins may.
        """
        request = CollectRequest(spare_younger_than_s=spare_younger_than.total_seconds(), dry_run=dry_run)
        path = "/api/v1/blobs/collect"
        return self._transport.call("POST", path, request, returns=Collection, repeatable=True)

    # -- what is there --------------------------------------------------------------------------------------

    def training_set(self, training_set_id: str) -> TrainingSetManifest:
        """What a model was trained on: rows, hold-out, lake versions and content digest."""
        return self._transport.call("GET", f"/api/v1/training-sets/{training_set_id}", returns=TrainingSetManifest)

    def features(self) -> Catalog:
        """Entities, sources, feature views and labels, and where their data stand."""
        return self._transport.call("GET", "/api/v1/features", returns=Catalog)

    def windows(self, model: str) -> list[Window]:
        """What the monitors saw, window by window, newest first."""
        return self._transport.call(
            "GET", "/api/v1/monitoring/windows", returns=list[Window], query={"model": model}
        )

    def alerts(self) -> list[Alert]:
        """Alerts, newest first."""
        return self._transport.call("GET", "/api/v1/alerts", returns=list[Alert])

    def gateways(self) -> list[Gateway]:
        """Where predictions are served: the gateways that reported in the last seconds."""
        return self._transport.call("GET", "/api/v1/gateways", returns=list[Gateway], query={"alive": True})

    def predictor(self, model: str) -> Predictor:
        """A connection that asks for predictions.

        Raises:
            Unavailable: no gateway is up.
        """
        found = self.gateways()
        if not found:
            raise Unavailable("no gateway is up", where=self.url, fix="Look at the logs in the home.")
        return Predictor(found[0].url, model, token=self._transport.token)

    def close(self) -> None:
        """Let go of the connections."""
        self._transport.close()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            yield chunk
