"""The verdict of each gate on a sample: pure, so that a worker computes it and anyone can compute it again.

Sources: see `statistics`: `comparison`, `fairness`, `slices`, `calibration` and `latency`.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from headrace.delivery.findings import (
    FIRST_VERSION,
    Finding,
    Part,
    Sample,
    margin_of,
    metric_of,
    name_of,
    of_parts,
)
from headrace.delivery.group_verdicts import judge_fair, judge_slices
from headrace.errors import InvalidInput
from headrace.project.gates import (
    AtLeast,
    AtMost,
    Calibrated,
    Fair,
    Gate,
    Latency,
    NotWorseThanProduction,
    Size,
    Slices,
)
from headrace.statistics import calibration, comparison, intervals, latency, metrics
from headrace.statistics.comparison import Verdict
from headrace.statistics.intervals import Interval

MINIMUM_ROUNDS = 20
"""Rounds of calls that a verdict on latency needs."""


def judge(gate: Gate, sample: Sample) -> Finding:
    """A gate's finding; rows that carry no answer (one outcome only, say) make it INCONCLUSIVE, with the reason."""
    try:
        found = _JUDGES[type(gate)](gate, sample)
    except InvalidInput as problem:
        found = Finding(
            verdict=Verdict.INCONCLUSIVE,
            summary=f"{name_of(gate)}: {problem.message}",
            metric=metric_of(gate),
            margin=margin_of(gate),
            details={"without_interval": problem.message},
        )
    if isinstance(gate, Latency | Size):
        return found
    entities = len(np.unique(np.asarray(sample.keys).astype(str)))
    details = {**found.details, "entities": entities}
    return msgspec.structs.replace(found, sample_size=len(sample.labels), details=details)


def _at_least(gate: AtLeast | AtMost, sample: Sample) -> Finding:
    threshold = gate.threshold if isinstance(gate, AtLeast) else metrics.THRESHOLD
    found = comparison.attain(
        gate.metric, sample.labels, sample.candidate,
        bound=gate.value, alpha=gate.alpha, groups=sample.keys, threshold=threshold,
    )  # fmt: skip
    estimate = found.estimate
    side = "at least" if isinstance(gate, AtLeast) else "at most"
    return Finding(
        verdict=found.verdict,
        metric=gate.metric,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        confidence=estimate.confidence,
        margin=gate.value,
        smallest_detectable_effect=found.detectable,
        summary=(
            f"{gate.metric} {estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}], "
            f"{side} {gate.value:g}: {found.verdict.value}{_too_few(gate.metric, sample, found.verdict)}"
        ),
        details={"method": comparison.method(gate.metric, groups=sample.keys)},
    )


def _not_worse(gate: NotWorseThanProduction, sample: Sample) -> Finding:
    if sample.production is None:
        return Finding(
            verdict=Verdict.PASS,
            metric=gate.metric,
            margin=gate.margin,
            summary=f"{gate.metric}: {FIRST_VERSION}",
            details={"without_interval": FIRST_VERSION},
        )
    found = comparison.compare(
        gate.metric, sample.labels, sample.candidate, sample.production,
        margin=gate.margin, alpha=gate.alpha, groups=sample.keys, threshold=gate.threshold,
    )  # fmt: skip
    gain = found.difference
    return Finding(
        verdict=found.verdict,
        metric=gate.metric,
        value=gain.value,
        low=gain.low,
        high=gain.high,
        confidence=gain.confidence,
        margin=gate.margin,
        smallest_detectable_effect=found.detectable,
        details={
            "candidate": found.new,
            "production": found.old,
            "method": comparison.method(gate.metric, paired=True, groups=sample.keys),
        },
        summary=(
            f"{gate.metric} {found.old:.4f} -> {found.new:.4f}, gain {gain.value:+.4f} "
            f"[{gain.low:+.4f}, {gain.high:+.4f}], margin {gate.margin:g}: {found.verdict.value}"
            f"{_too_few(gate.metric, sample, found.verdict)}"
        ),
    )


def _too_few(metric: str, sample: Sample, verdict: Verdict) -> str:
    if verdict is not Verdict.INCONCLUSIVE or comparison.enough(metric, sample.labels, sample.keys):
        return ""
    return f" (too few rows: {comparison.needed(metric)})"


def _calibrated(gate: Calibrated, sample: Sample) -> Finding:
    found = calibration.calibration(
        sample.labels, sample.candidate, confidence=1.0 - 2.0 * gate.alpha, groups=sample.keys
    )
    number = intervals.units(len(sample.labels), intervals.cluster_codes(sample.keys))
    verdict = comparison.attains(found.error, gate.at_most, lower_is_better=True)
    enough = number >= comparison.MINIMUM_ROWS
    part = Part(
        name="error",
        verdict=verdict if enough else Verdict.INCONCLUSIVE,
        value=found.error.value,
        low=found.error.low,
        high=found.error.high,
        margin=gate.at_most,
        room=gate.at_most - found.error.high,
        rows=found.error.rows,
        detectable=found.detectable,
        note="" if enough else f"fewer than {comparison.MINIMUM_ROWS} independent rows",
    )
    return of_parts(
        gate,
        [part],
        confidence=found.error.confidence,
        bins=msgspec.to_builtins(found.bins),
        in_the_large=msgspec.to_builtins(found.in_the_large),
        slope=msgspec.to_builtins(found.slope),
        method="debiased root mean square over bins, non-central chi-square",
    )


def _latency(gate: Latency, sample: Sample) -> Finding:
    if sample.timings is None:
        raise InvalidInput("no calls were timed", where="latency")
    confidence = 1.0 - 2.0 * gate.alpha
    new, new_rounds = sample.timings.of("candidate")
    old, old_rounds = sample.timings.of("production")
    parts = []
    asked = (gate.p95_ms is not None) + (gate.slower_at_most is not None and len(old) > 0)
    if gate.p95_ms is not None:
        found = latency.quantile_interval(new * 1000.0, new_rounds, confidence=confidence)
        parts.append(_bounded("p95, ms", found, gate.p95_ms, rounds=len(np.unique(new_rounds)), asked=asked))
    if gate.slower_at_most is not None and not len(old):
        parts.append(
            Part(name="against production", verdict=Verdict.PASS, margin=gate.slower_at_most, note=FIRST_VERSION)
        )
    elif gate.slower_at_most is not None:
        ratio = latency.quantile_ratio(new, new_rounds, old, old_rounds, confidence=confidence)
        slower = msgspec.structs.replace(ratio, value=ratio.value - 1.0, low=ratio.low - 1.0, high=ratio.high - 1.0)
        parts.append(
            _bounded(
                "against production", slower, gate.slower_at_most, rounds=len(np.unique(old_rounds)), asked=asked
            )
        )
    found_all = of_parts(gate, parts, confidence=confidence, method="bootstrap of rounds in turns")
    return msgspec.structs.replace(found_all, sample_size=len(new))


def _bounded(name: str, found: Interval, bound: float, *, rounds: int, asked: int) -> Part:
    verdict = comparison.attains(found, bound, lower_is_better=True)
    return Part(
        name=name,
        verdict=verdict if rounds >= MINIMUM_ROUNDS else Verdict.INCONCLUSIVE,
        value=found.value,
        low=found.low,
        high=found.high,
        margin=bound,
        room=bound - found.high,
        rows=found.rows,
        detectable=intervals.detectable(found, power=1.0 - (1.0 - intervals.POWER) / asked),
        note="" if rounds >= MINIMUM_ROUNDS else f"{rounds} rounds, {MINIMUM_ROUNDS} are needed",
    )


def _size(gate: Size, sample: Sample) -> Finding:
    if sample.size_bytes is None:
        raise InvalidInput("the size is not known", where="size")
    verdict = Verdict.PASS if sample.size_bytes <= gate.at_most_bytes else Verdict.WORSE
    return Finding(
        verdict=verdict,
        metric=metric_of(gate),
        value=float(sample.size_bytes),
        margin=float(gate.at_most_bytes),
        sample_size=1,
        summary=f"{sample.size_bytes:,} bytes, at most {gate.at_most_bytes:,}: {verdict.value}",
        details={"without_interval": "a size is counted, not estimated"},
    )


_JUDGES: dict[type, Callable[[Any, Sample], Finding]] = {
    AtLeast: _at_least,
    AtMost: _at_least,
    NotWorseThanProduction: _not_worse,
    Fair: judge_fair,
    Slices: judge_slices,
    Calibrated: _calibrated,
    Latency: _latency,
    Size: _size,
}
