"""The acts of delivery: a first release, a challenger's canary, and a version that fails in production."""

from headrace.cli.demonstration.acts_start import confirm_training
from headrace.cli.demonstration.stage import Stage
from headrace.cli.demonstration.traffic import Traffic, live_traffic
from headrace.cli.demonstration.world import MODEL, World, date
from headrace.cli.project import follow
from headrace.delivery.machine import Phase
from headrace.delivery.nouns import PipelineStatus, Release
from headrace.errors import PolicyRefused
from headrace.registry.nouns import Evidence

ROLLOUT_PATIENCE_S = 120.0


def first_release(stage: Stage, world: World) -> None:
    """Absolute gates, a staging check, four eyes, and absolute guards in production."""
    with stage.act("First release", "1997-08-01"):
        release = world.dana.open_release(MODEL, 1)
        _approve(stage, world, release)
        with live_traffic(world.dana, MODEL, world.customers, seed=1) as traffic:
            ended = _watch(stage, world, release)
        stage.confirm(
            f"production under absolute guards: {traffic.requests:,} predictions, {traffic.faults} faults",
            holds=ended.phase is Phase.COMPLETED and traffic.faults == 0,
        )
        stage.confirm(f"{MODEL}@1 is in production", holds=world.dana.model(MODEL).production == 1)


def challenger(stage: Stage, world: World) -> None:
    """The retraining that drift began becomes version 2, is compared with production, and takes over."""
    with stage.act("Retrained by itself", "1998-03-01"):
        pipeline = next(item for item in world.dana.pipelines(MODEL) if item.trigger == "drift")
        stage.confirm(
            f"it trains as of {pipeline.as_of:%Y-%m-%d} and is judged on the cohort of {pipeline.cohort:%Y-%m-%d}",
            holds=(pipeline.as_of, pipeline.cohort) == (date(1997, 9), date(1997, 12)),
        )
        ended = follow(stage.screen, world.dana, pipeline)
        confirm_training(stage, world, ended)
        release = world.dana.wait_for(
            lambda: [item for item in world.dana.releases(MODEL) if item.number == ended.number],
            bool,
            "the release of the challenger",
        )[0]
        _approve(stage, world, release)
    with stage.act("Canary 5 → 25 → 50 → 100", "1998-03-01"):
        with live_traffic(world.dana, MODEL, world.customers, seed=2) as traffic:
            finished = _watch(stage, world, release, kill_control_at=25)
        answered = ", ".join(f"version {number}: {count:,}" for number, count in sorted(traffic.answered.items()))
        stage.confirm(
            f"{MODEL}@{release.number} took over: {traffic.requests:,} live predictions ({answered}), none failed",
            holds=finished.phase is Phase.COMPLETED and traffic.faults == 0 and traffic.unavailable == 0,
        )
        stage.confirm(
            f"{MODEL}@{release.number} is in production, version 1 is archived",
            holds=world.dana.model(MODEL).production == release.number
            and world.dana.version(MODEL, 1).stage == "Archived",
        )


def faulty_version(stage: Stage, world: World) -> None:
    """A bug that no offline check could see: the canary meets it first, and the version goes back by itself."""
    with stage.act("A version that fails in production", "1998-03-01"):
        stage.say('dana encodes days since the last purchase in a table of 365 codes: "a year is enough"')
        pipeline = world.dana.train(MODEL, as_of=date(1997, 9), params={"recency": "year_table"}, release=False)
        ended = follow(stage.screen, world.dana, pipeline)
        stage.confirm(
            f"{MODEL}@{ended.number} is registered; in its data nobody had stayed away that long",
            holds=ended.status is PipelineStatus.SUCCEEDED,
        )
        before = world.dana.model(MODEL).production
        release = world.dana.open_release(MODEL, ended.number or 0)
        _approve(stage, world, release)
        with live_traffic(world.dana, MODEL, world.customers, seed=3) as traffic:
            finished = _watch(stage, world, release)
        stage.confirm(f"rolled back by itself: {finished.reason}", holds=finished.phase is Phase.ROLLED_BACK)
        _confirm_faults(stage, traffic, good=before or 0)
        stage.confirm(
            f"{MODEL}@{before} is in production as before", holds=world.dana.model(MODEL).production == before
        )


def _confirm_faults(stage: Stage, traffic: Traffic, *, good: int) -> None:
    stage.confirm(
        f"in {traffic.replaced} of {traffic.requests:,} requests it failed and version {good} answered instead: "
        "no caller saw the fault",
        holds=traffic.replaced > 0 and traffic.faults == traffic.unavailable == 0 and traffic.answered[good] > 0,
    )


def _approve(stage: Stage, world: World, release: Release) -> None:
    """Follow a release through gates and staging to its approval by the second pair of eyes."""
    with stage.bar("gates and staging", None):
        waiting = world.dana.wait_for(
            lambda: world.dana.release(release.id),
            lambda now: now.phase not in {Phase.GATING, Phase.STAGING},
            "gates and staging",
        )
    for evidence in world.dana.evidence(MODEL, release.number):
        if evidence.release_id == release.id:
            stage.confirm(_sentence(evidence), holds=evidence.verdict.passes)
    stage.confirm("the release waits for an approval", holds=waiting.phase is Phase.AWAITING_APPROVAL)
    (request,) = [item for item in world.dana.approvals("requested") if item.release_id == release.id]
    try:
        world.dana.decide(request.id, grant=True, reason="looks good to me")
    except PolicyRefused as refusal:
        stage.confirm(f"its author may not approve: {refusal.message}", holds=True)
    else:
        stage.confirm("its author may not approve", holds=False)
    decided = world.ravi.decide(request.id, grant=True, reason="evidence read")
    stage.confirm("ravi approves, a second pair of eyes", holds=decided.decided_by == "ravi")


def _sentence(evidence: Evidence) -> str:
    counted = f", {evidence.sample_size:,} rows" if evidence.sample_size else ""
    return f"{evidence.summary}{counted}"


def _watch(stage: Stage, world: World, release: Release, *, kill_control_at: int | None = None) -> Release:
    """Show a rollout until it has ended; kill -9 control once when it reaches a weight, if asked."""
    killed = kill_control_at is None
    with stage.bar("rollout", 100) as bar:

        def look() -> Release:
            nonlocal killed
            now = world.dana.release(release.id)
            bar.at(now.state.weight_percent, _note(now))
            if not killed and now.state.weight_percent >= (kill_control_at or 0) and now.phase is Phase.ROLLING_OUT:
                killed = True
                world.platform.kill("control")
                stage.say(f"kill -9 of control at {now.state.weight_percent} %; gateways go on, control comes back")
            return now

        return world.dana.wait_for(look, lambda now: now.state.final, "the rollout", timeout_s=ROLLOUT_PATIENCE_S)


def _note(release: Release) -> str:
    if not release.canary:
        return release.phase.replace("_", " ")
    last = release.canary[-1]
    seen = f"{last.challenger.units:,} customers, {last.challenger.failed_units} faults"
    return f"{release.state.weight_percent} %  {seen}: {last.verdict}"
