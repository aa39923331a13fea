"""The drift monitor: the features that were served against the version's reference profile.

Work-side. The statistics are `statistics.drift`'s; this turns a report into a finding.
"""

import msgspec

from headrace.monitoring.nouns import Finding, Health
from headrace.project.monitors import DriftMonitor
from headrace.statistics import drift
from headrace.statistics.drift import DriftReport, DriftVerdict
from headrace.statistics.profiles import Counts, Profile

HEALTH = {
    DriftVerdict.STABLE: Health.HEALTHY,
    DriftVerdict.DRIFTED: Health.ALARM,
    DriftVerdict.INCONCLUSIVE: Health.INCONCLUSIVE,
}
NAMED = 3
"""Columns that a summary names."""


def find(
    name: str,
    monitor: DriftMonitor,
    reference: Profile | None,
    counts: Counts | None,
    *,
    independent_rows: float | None = None,
) -> Finding:
    """What the monitor finds in a window.

    Args:
        name: the monitor's name within the model.
        monitor: its settings.
        reference: the version's profile; None when it has none.
        counts: the window's counts in the profile's bins.
        independent_rows: how many independent rows they are worth; rows about one entity are not. Default all.
    """
    if reference is None or counts is None:
        return Finding(
            monitor="drift",
            name=name,
            health=Health.INCONCLUSIVE,
            summary="the version has no reference profile to compare with",
            rows=0,
        )
    report = drift.compare(
        reference,
        counts,
        alpha=monitor.alpha,
        minimum_distance=monitor.minimum_distance,
        independent_rows=independent_rows,
    )
    return Finding(
        monitor="drift",
        name=name,
        health=HEALTH[report.verdict],
        summary=_summary(report),
        rows=report.rows,
        details=msgspec.to_builtins(report),
    )


def _summary(report: DriftReport) -> str:
    if report.verdict is DriftVerdict.INCONCLUSIVE:
        return f"{report.rows} predictions are too few to tell drift"
    if report.verdict is DriftVerdict.STABLE:
        return f"{len(report.columns)} columns are as in training, on {report.rows} predictions"
    drifted = [column for column in report.columns if column.verdict is DriftVerdict.DRIFTED]
    parts = [f"{column.name}: {column.reason}" for column in drifted[:NAMED]]
    parts += [f"{name} is not sent any more" for name in report.absent[:NAMED]]
    total = len(drifted) + len(report.absent)
    return f"{total} of {len(report.columns) + len(report.absent)} columns drifted: {'; '.join(parts)}"
