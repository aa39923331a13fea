"""The quality monitor: missing and non-finite values, unseen categories and faults, against the reference.

Work-side. A share raises an alarm when the lower confidence bound of its rise exceeds the tolerance, so a few bad
rows in a small window do not. The confidence is divided among the checks (Bonferroni).

A number beyond the reference's range is not judged here: it is a sound value of another distribution, which is the
drift monitor's business and falls into outer bins there. Ages and counts leave the range by the mere passing of
time, and would raise a second alarm for one cause.
"""

from typing import NamedTuple

import msgspec

from headrace.monitoring.nouns import Finding, Health
from headrace.project.monitors import QualityMonitor
from headrace.statistics.drift import MINIMUM_ROWS
from headrace.statistics.intervals import Interval
from headrace.statistics.profiles import CategoricalCounts, Counts, NumericCounts, Profile
from headrace.statistics.proportions import proportion_difference

ALPHA = 0.01
"""The chance that a window without a rise beyond the tolerance raises an alarm."""
NAMED = 3


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One checked share.

    Attributes:
        column: a feature, or "" for the model itself.
        check: "missing", "infinite", "unseen category" or "fault".
        share: in the window.
        reference_share: in the reference.
        rise: difference of the two with its interval.
        alarm: whether the rise is shown to exceed the tolerance.
    """

    column: str
    check: str
    share: float
    reference_share: float
    rise: Interval
    alarm: bool


class _Check(NamedTuple):
    column: str
    check: str
    now: tuple[int, int]
    before: tuple[int, int]


def find(
    name: str, monitor: QualityMonitor, reference: Profile | None, counts: Counts | None, *, rows: int, faults: int
) -> Finding:
    """What the monitor finds in a window.

    Args:
        name: the monitor's name within the model.
        monitor: its settings.
        reference: the version's profile; without one only faults are checked.
        counts: the window's counts in the profile's bins.
        rows: predictions of the version in the window.
        faults: those of them that faulted.
    """
    if rows < MINIMUM_ROWS:
        return _finding(name, Health.INCONCLUSIVE, f"{rows} predictions are too few to tell quality", rows, [])
    checks = [_Check("", "fault", (faults, rows), (0, rows))]
    if reference is not None and counts is not None:
        checks += _column_checks(reference, counts)
    confidence = 1.0 - 2.0 * ALPHA / len(checks)
    shares = [_judge(check, confidence, monitor.tolerance) for check in checks]
    absent = [] if counts is None else counts.absent
    alarms = sorted((share for share in shares if share.alarm), key=lambda share: -share.rise.value)
    parts = [
        f"{share.check}{f' in {share.column}' if share.column else 's'} rose from {share.reference_share:.1%} "
        f"to {share.share:.1%}"
        for share in alarms[:NAMED]
    ]
    parts += [f"{column} is not sent any more" for column in absent[:NAMED]]
    if not parts:
        return _finding(name, Health.HEALTHY, f"{len(shares)} checks hold on {rows} predictions", rows, shares)
    return _finding(name, Health.ALARM, "; ".join(parts), rows, shares)


def _column_checks(reference: Profile, counts: Counts) -> list[_Check]:
    checks: list[_Check] = []
    for column, known in reference.columns.items():
        now = counts.columns.get(column)
        if now is None:
            continue
        before = known.reference
        totals = _total(now), _total(before)
        if not all(totals):
            continue
        checks.append(_Check(column, "missing", (now.missing, totals[0]), (before.missing, totals[1])))
        if isinstance(now, NumericCounts) and isinstance(before, NumericCounts):
            checks.append(_Check(column, "infinite", (now.infinite, totals[0]), (before.infinite, totals[1])))
        elif not before.bins[-1]:  # the reference had no value outside the profile's categories
            checks.append(_Check(column, "unseen category", (now.bins[-1], totals[0]), (0, totals[1])))
    return checks


def _total(counts: NumericCounts | CategoricalCounts) -> int:
    return sum(counts.bins) + counts.missing + (counts.infinite if isinstance(counts, NumericCounts) else 0)


def _judge(check: _Check, confidence: float, tolerance: float) -> Share:
    rise = proportion_difference(check.now, check.before, confidence=confidence)
    return Share(
        column=check.column,
        check=check.check,
        share=check.now[0] / check.now[1],
        reference_share=check.before[0] / check.before[1],
        rise=rise,
        alarm=rise.low > tolerance,
    )


def _finding(name: str, health: Health, summary: str, rows: int, shares: list[Share]) -> Finding:
    return Finding(
        monitor="quality",
        name=name,
        health=health,
        summary=summary,
        rows=rows,
        details={"shares": msgspec.to_builtins(shares)},
    )
