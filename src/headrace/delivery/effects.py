"""What a release does to the rest of the platform when it enters a phase: jobs, approvals, routes and stages.

Everything is a row written in the transaction of the release's own event, and each is idempotent by itself.
"""

from collections.abc import Callable

from headrace.delivery import clearance, policies
from headrace.delivery.kinds import GATES, STAGING
from headrace.delivery.machine import Phase, ReleaseState
from headrace.delivery.nouns import GatesRequest, Release, StagingRequest
from headrace.kernel import jobs
from headrace.kernel.database import Tx
from headrace.monitoring import alerts
from headrace.registry import approvals, stages, versions
from headrace.registry.governed import Grounds
from headrace.registry.nouns import Stage
from headrace.serving import routing, served
from headrace.serving.nouns import RouteChange


def carry_out(tx: Tx, release: Release, before: ReleaseState | None, after: ReleaseState) -> None:
    """Write what follows from the step between two states; a mere pause has no effect."""
    moved = before is None or (before.phase, before.step) != (after.phase, after.step)
    if before is not None and after.asked and not before.asked:
        _ask_a_person(tx, release)
    asks_again = before is not None and after.approval_open and not before.approval_open
    if asks_again:
        clearance.ask(tx, release)
    elif moved:
        _EFFECTS[after.phase](tx, release)


def _gate(tx: Tx, release: Release) -> None:
    request = GatesRequest(
        release_id=release.id,
        attempt=release.state.attempt,
        declaration=policies.declaration_of(tx, release.model),
        candidate=served.describe(tx, release.model, release.number),
        training_set_id=versions.get(tx, release.model, release.number).training_set_id,
        production=None if release.champion is None else served.describe(tx, release.model, release.champion),
        gates=tuple(release.policy.gates),
        cohort=release.cohort,
    )
    jobs.enqueue(tx, GATES, request, key=_key(GATES.name, release))


def _stage(tx: Tx, release: Release) -> None:
    if clearance.may_show_staging(tx, release):
        _move(tx, release, Stage.STAGING, "its release entered staging", clearance.grounds_of(release))
    routing.set_route(tx, _beside(tx, release, resident=(release.number,)))
    request = StagingRequest(
        release_id=release.id,
        attempt=release.state.attempt,
        version=served.describe(tx, release.model, release.number),
        training_set_id=versions.get(tx, release.model, release.number).training_set_id,
        rows=release.policy.staging.rows if release.policy.staging else 0,
    )
    jobs.enqueue(tx, STAGING, request, key=_key(STAGING.name, release))


def _ask_a_person(tx: Tx, release: Release) -> None:
    """Tell the model's channels that a step goes on without a verdict; the release waits, and may still go on."""
    alerts.tell(
        tx,
        f"release/{release.id}",
        f"asked/{release.state.step}",
        f"{release.model}@{release.number} at {release.state.weight_percent} %: what shall become of it?",
        f"{release.reason}. Promote it, abort it, or wait: headrace release {release.model} --do promote",
        release.policy.alerts,
    )


def _ask(tx: Tx, release: Release) -> None:
    clearance.ask(tx, release)


def _roll_out(tx: Tx, release: Release) -> None:
    if release.in_shadow:
        routing.set_route(
            tx,
            RouteChange(
                model=release.model,
                champion=release.champion,
                shadow=release.number,
                shadow_percent=float(release.policy.shadow.percent if release.policy.shadow else 0),
                release_id=release.id,
                step=release.state.step,
                previous=_held_before(tx, release),
                default=release.policy.fallback.default,
            ),
        )
        return
    routing.set_route(
        tx,
        RouteChange(
            model=release.model,
            champion=release.champion,
            challenger=release.number,
            weight_percent=float(release.state.weight_percent),
            release_id=release.id,
            step=release.state.step,
            slow_us=release.slow_us,
            previous=_held_before(tx, release),
            default=release.policy.fallback.default,
        ),
    )


def _promote(tx: Tx, release: Release) -> None:
    stages.transition(
        tx,
        release.model,
        release.number,
        Stage.PRODUCTION,
        f"release {release.id} promoted it",
        archive_existing=True,
        grounds=clearance.grounds_of(release),
    )
    routing.set_route(
        tx,
        RouteChange(
            model=release.model,
            champion=release.number,
            release_id=release.id,
            step=release.state.step,
            previous=release.champion,
            default=release.policy.fallback.default,
        ),
    )


def _complete(tx: Tx, release: Release) -> None:
    kept = release.champion if release.policy.fallback.keep_previous else None
    routing.set_route(
        tx,
        RouteChange(
            model=release.model,
            champion=release.number,
            previous=kept,
            default=release.policy.fallback.default,
        ),
    )


def _give_up(tx: Tx, release: Release) -> None:
    """Leave things as they were before the release: what it has not moved itself is not for it to move back."""
    over = f"the release is {release.phase.value}"
    approvals.withdraw(tx, release.id, over)
    if release.phase is not Phase.ROLLED_BACK:  # then they are done long since, and every millisecond counts
        for kind in (GATES, STAGING):
            jobs.cancel(tx, _key(kind.name, release), over)
    _restore(tx, release)
    if release.champion is None:
        routing.remove(tx, release.model)
    else:
        routing.set_route(tx, _beside(tx, release))


def _restore(tx: Tx, release: Release) -> None:
    """Put the stages back. What came into production by another door meanwhile was allowed there, and stays."""
    grounds = clearance.going_back(release)
    stage = versions.get(tx, release.model, release.number).stage
    back = Stage.NONE if release.phase is Phase.ABORTED else Stage.ARCHIVED
    by_another_door = stage is Stage.PRODUCTION and not release.state.promoted
    if not by_another_door and (stage is not Stage.NONE or back is Stage.ARCHIVED):
        why = f": {release.reason}" if release.reason else ""
        _move(tx, release, back, f"its release is {release.phase.value}{why}", grounds)
    if release.champion is None or not release.state.promoted or stages.production(tx, release.model) is not None:
        return
    because = f"release {release.id} is {release.phase.value}"
    stages.transition(tx, release.model, release.champion, Stage.PRODUCTION, because, grounds=grounds)


def _beside(tx: Tx, release: Release, *, resident: tuple[int, ...] = ()) -> RouteChange:
    """The route without the release's version, which may be kept loaded."""
    return RouteChange(
        model=release.model,
        champion=release.champion,
        resident=resident,
        previous=_held_before(tx, release),
        default=release.policy.fallback.default,
    )


def _held_before(tx: Tx, release: Release) -> int | None:
    """The version that takes over from the champion so far, if one is kept for that."""
    present = routing.find(tx, release.model)
    if present is None or present.champion != release.champion or present.previous == release.number:
        return None
    return present.previous


def _key(kind: str, release: Release) -> str:
    return f"{kind}/{release.id}/{release.state.attempt}"


def _nothing(tx: Tx, release: Release) -> None:
    """Being ready is only a moment, or a pause."""


def _move(tx: Tx, release: Release, stage: Stage, reason: str, grounds: Grounds) -> None:
    stages.transition(tx, release.model, release.number, stage, reason, grounds=grounds)


_EFFECTS: dict[Phase, Callable[[Tx, Release], None]] = {
    Phase.GATING: _gate,
    Phase.STAGING: _stage,
    Phase.AWAITING_APPROVAL: _ask,
    Phase.READY: _nothing,
    Phase.ROLLING_OUT: _roll_out,
    Phase.COOLING: _promote,
    Phase.COMPLETED: _complete,
    Phase.BLOCKED: _give_up,
    Phase.REFUSED: _give_up,
    Phase.ABORTED: _give_up,
    Phase.ROLLED_BACK: _give_up,
}
