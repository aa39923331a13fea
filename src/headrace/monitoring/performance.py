"""The performance monitor: a metric on predictions whose labels have matured, against the version's own.

Work-side. Only whole cohorts of mature labels are judged: labels that arrive early are not like those that
arrive late, and a cohort that is half labelled would be judged on the early ones.
"""

import math
from datetime import datetime

import msgspec
from scipy import stats

from headrace.errors import InvalidInput
from headrace.monitoring.labels import Labelled
from headrace.monitoring.nouns import Finding, Health
from headrace.project.monitors import PerformanceMonitor
from headrace.registry.nouns import Estimate, Version
from headrace.statistics import comparison
from headrace.statistics.comparison import Verdict, non_inferiority
from headrace.statistics.drift import MINIMUM_ROWS
from headrace.statistics.intervals import Interval, normal_quantile
from headrace.statistics.metrics import LOWER_IS_BETTER

REGISTERED_CONFIDENCE = 0.95
"""Coverage of the intervals that versions are registered with."""


def find(
    name: str, monitor: PerformanceMonitor, version: Version, cohort: Labelled, *, start: datetime, end: datetime
) -> Finding:
    """What the monitor finds in the cohort that has matured.

    Args:
        name: the monitor's name within the model.
        monitor: its settings.
        version: the version in production, with the metric that it was registered with.
        cohort: its predictions with business time in [start, end), with their labels.
        start: start of the cohort.
        end: end of the cohort.
    """
    rows = len(cohort.labels)
    told = f"{monitor.metric} on {rows} labelled predictions from {start:%Y-%m-%d} to {end:%Y-%m-%d}"
    registered = version.metrics.get(monitor.metric)
    details = {"metric": monitor.metric, "cohort_start": start, "cohort_end": end}
    if registered is None:
        summary = f"version {version.number} was registered without {monitor.metric}"
        return _finding(name, Health.INCONCLUSIVE, summary, rows, details)
    if rows < MINIMUM_ROWS or not comparison.enough(monitor.metric, cohort.labels, cohort.groups):
        return _finding(name, Health.INCONCLUSIVE, f"{told}: too few to tell", rows, details)
    try:
        live = comparison.interval(
            monitor.metric, cohort.labels, cohort.scores, confidence=1.0 - 2.0 * monitor.alpha, groups=cohort.groups
        )
    except InvalidInput as problem:
        return _finding(name, Health.INCONCLUSIVE, f"{told}: {problem.message}", rows, details)
    gain = _gain(live, registered, monitor)
    verdict = non_inferiority(gain.low, gain.high, monitor.margin)
    details |= {
        "live": msgspec.to_builtins(live),
        "registered": msgspec.to_builtins(registered),
        "gain": msgspec.to_builtins(gain),
        "margin": monitor.margin,
        "alpha": monitor.alpha,
        "verdict": verdict,
    }
    summary = (
        f"{told} is {live.value:.3f} ({live.low:.3f} to {live.high:.3f}), at registration {registered.value:.3f}"
    )
    if verdict is Verdict.WORSE:
        return _finding(name, Health.ALARM, f"{summary}: worse by more than {monitor.margin}", rows, details)
    if verdict is Verdict.INCONCLUSIVE:
        return _finding(name, Health.INCONCLUSIVE, f"{summary}: too uncertain to tell", rows, details)
    return _finding(name, Health.HEALTHY, summary, rows, details)


def _gain(live: Interval, registered: Estimate, monitor: PerformanceMonitor) -> Interval:
    """Live metric less the registered one, positive when better; the two come from different rows."""
    # from the intervals' widths: a score interval has one where the estimated error vanishes
    errors = [(live.high - live.low) / (2.0 * normal_quantile(live.confidence))]
    if registered.low is not None and registered.high is not None:
        errors.append((registered.high - registered.low) / (2.0 * normal_quantile(REGISTERED_CONFIDENCE)))
    error = math.hypot(*errors)
    sign = -1.0 if monitor.metric in LOWER_IS_BETTER else 1.0
    value = sign * (live.value - registered.value)
    half = float(stats.norm.ppf(1.0 - monitor.alpha)) * error
    return Interval(
        value=value,
        low=value - half,
        high=value + half,
        confidence=live.confidence,
        rows=live.rows,
        standard_error=error,
    )


def _finding(name: str, health: Health, summary: str, rows: int, details: dict[str, object]) -> Finding:
    return Finding(
        monitor="performance",
        name=name,
        health=health,
        summary=summary,
        rows=rows,
        details=msgspec.to_builtins(details),
    )
