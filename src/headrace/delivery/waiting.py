"""What the present step of a release waits for, told to whoever looks: how many more units, and about how long.

It is worked out when it is asked for, from the traffic of the last minute, and kept nowhere.
"""

import math

import msgspec

from headrace.delivery import experiments, releases
from headrace.delivery.canary import WATCHED
from headrace.delivery.foresight import rules_of
from headrace.delivery.machine import Phase
from headrace.delivery.nouns import Release, StepEvidence, Waits
from headrace.kernel.database import Tx
from headrace.serving import reports
from headrace.serving.nouns import Signal
from headrace.statistics.sequential import clean_requests_more


def get(tx: Tx, release_id: str) -> Release:
    """One release with what it waits for.

    Raises:
        NotFound: there is none.
    """
    return told(tx, releases.get(tx, release_id))


def search(tx: Tx, *, model: str | None = None, open_only: bool = False, limit: int = 100) -> tuple[Release, ...]:
    """Releases with what they wait for, newest first.

    Raises:
        NotFound: there is no such model, and nothing of it.
    """
    found = releases.search(tx, model=model, open_only=open_only, limit=limit)
    return tuple(told(tx, release) for release in found)


def told(tx: Tx, release: Release) -> Release:
    """A release with what it waits for; as it is where that is no traffic and no timer."""
    if release.phase not in WATCHED or release.step_started_at is None:
        return release
    units_per_s = reports.units_per_s(tx, release.model)
    units = _units_more(release)
    if release.phase is Phase.ROLLING_OUT:
        rest = experiments.rest(release, tx.now, experiments.bounds_on(tx, release))
    else:
        stayed = tx.now - (release.judged_since or release.step_started_at)
        rest = release.policy.rollout.cooling_duration - stayed
    rest_s = max(0.0, rest.total_seconds())
    seconds: float | None = None
    if not units:
        seconds = rest_s if units == 0 else None
    elif units_per_s > 0.0:
        seconds = max(rest_s, units / _asked_per_s(release, units_per_s))
    waits = Waits(units=units, units_per_s=units_per_s, rest_s=rest_s, seconds=seconds)
    return msgspec.structs.replace(release, waits=waits)


def _asked_per_s(release: Release, units_per_s: float) -> float:
    """Units a second of which the step hears: a shadow gets a part of them."""
    shadow = release.policy.shadow
    return units_per_s * shadow.percent / 100 if release.in_shadow and shadow is not None else units_per_s


def _units_more(release: Release) -> int | None:
    """How many more units of both arms it takes, none of which gives a signal; None where rewards decide."""
    if release.phase is not Phase.ROLLING_OUT:
        return 0
    if experiments.under_way(release) is not None:
        return None
    step = release.state.step or 0
    seen = next((one for one in release.canary if one.step == step), None)
    foreseen = next((one for one in release.foresight if one.step == step), None)
    whole = 0 if foreseen is None else foreseen.to_go_on_units
    if seen is None:
        return whole
    if release.in_shadow:  # each unit counts on both arms
        return max(whole - seen.challenger.units, 0)
    return _more(release, seen, whole)


def _more(release: Release, seen: StepEvidence, whole: int) -> int:
    share = seen.weight_percent / 100 if release.champion is not None else 1.0
    asked = seen.challenger.units + (seen.champion.units if share < 1.0 else 0)
    more = 0
    for rule in rules_of(release):
        signal = Signal(rule.signal)
        found = seen.signals.get(signal)
        if found is None or found.verdict == "ADVANCE":
            continue
        if rule.tolerance is None:  # what is compared with the champion comes about as it was foretold
            more = max(more, whole - asked, 1)
            continue
        own = clean_requests_more(
            seen.challenger.units,
            seen.challenger.signalled(signal),
            tolerance=rule.tolerance,
            alpha=release.policy.rollout.alpha,
        )
        more = max(more, math.ceil(own / share))
    return more
