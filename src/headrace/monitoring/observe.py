"""Looking at a window: the runner of the job `monitoring.window`.

Work-side. It waits until every gateway has logged the window, compares it with the profile of the version in
production, joins the labels that have become final, and hands back what each monitor found. It changes nothing but
the lake, where each label is written once, so the job may be repeated.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from headrace.errors import InvalidInput
from headrace.kernel.work import WorkContext
from headrace.monitoring import drift, labels, performance, quality
from headrace.monitoring.firings import previous_firing
from headrace.monitoring.nouns import (
    OUTPUT_COLUMN,
    Finding,
    Health,
    WindowRequest,
    WindowResult,
    monitor_kind,
    named_monitors,
)
from headrace.monitoring.predictions import Predictions, read_live
from headrace.project.label import Label
from headrace.project.model import ModelDeclaration
from headrace.project.monitors import DriftMonitor, Monitor, PerformanceMonitor, QualityMonitor
from headrace.registry.nouns import ModelDetails, Version
from headrace.serving.log.compaction import compact
from headrace.statistics.drift import effective_rows
from headrace.statistics.profiles import Counts, Profile, count


class _View(NamedTuple):
    """What the monitors look at.

    Attributes:
        own: the window's predictions that the judged version answered.
        reference: its profile, if it has one.
        counts: the window in the profile's bins.
        labelled: whether the labels are final and written through the end of the window.
    """

    start: datetime
    end: datetime
    version: Version
    own: Predictions
    reference: Profile | None
    counts: Counts | None
    labelled: bool


def run_window(ctx: WorkContext, request: WindowRequest) -> WindowResult:
    """Look at one window of a model.

    Raises:
        InvalidInput: the job names no end of the window.
        Unavailable: gateways or the label's source have not come so far yet; the next attempt may find them ready.
    """
    end = request.end or ctx.job.scheduled_for
    if end is None:
        raise InvalidInput("a window needs an end", where="end", fix="Give the business time at which it ends.")
    start = previous_firing(request.cron, end)
    path = f"/api/v1/models/{quote(request.model, safe='')}"
    details = ctx.control.call("GET", path, returns=ModelDetails)
    declaration = msgspec.convert(details.model.declaration, ModelDeclaration)
    monitors = {
        name: monitor
        for name, monitor in named_monitors(tuple(declaration.policy.monitors)).items()
        if monitor.every == request.cron
    }
    source = labels.ready_source(ctx, declaration.label, end)
    compact(ctx, request.model, end)
    ctx.progress(0.4, "predictions are in the lake")
    joined = 0 if source is None else labels.join(ctx, request.model, declaration.label, source, end)
    ctx.progress(0.7, f"{joined} labels joined")
    live = read_live(ctx.lake, request.model, start, end)
    result = WindowResult(
        model=request.model,
        cron=request.cron,
        start=start,
        end=end,
        version=details.production,
        predictions=len(live),
        faults=live.faults,
        labels_joined=joined,
    )
    if details.production is None:
        findings = _nothing("no version is in production", monitors)
        return msgspec.structs.replace(result, findings=findings)
    version = ctx.control.call("GET", f"{path}/versions/{details.production}", returns=Version)
    view = _view(ctx, version, live, start, end, labelled=source is not None)
    stored = None if view.counts is None else ctx.blobs.put(msgspec.json.encode(view.counts)).digest
    findings = tuple(_find(ctx, view, name, monitor, declaration.label) for name, monitor in monitors.items())
    return msgspec.structs.replace(result, counts=stored, findings=findings)


def _view(
    ctx: WorkContext, version: Version, live: Predictions, start: datetime, end: datetime, *, labelled: bool
) -> _View:
    own = live.of_version(version.number)
    reference = counts = None
    if version.profile is not None:
        reference = msgspec.json.decode(ctx.blobs.read(version.profile), type=Profile)
        counts = _counts(reference, own)
    return _View(start, end, version, own, reference, counts, labelled)


def _counts(reference: Profile, own: Predictions) -> Counts:
    """The window in the profile's bins: features of all rows, outputs of those that were answered.

    An output that is missing because the model faulted is a fault, which is counted as such. It is not drift, or
    faults would start a retraining.
    """
    every = count(reference, own.columns(reference.columns))
    outputs = count(reference, own.answered().columns([OUTPUT_COLUMN])).columns
    return msgspec.structs.replace(every, columns=every.columns | outputs)


def _find(ctx: WorkContext, view: _View, name: str, monitor: Monitor, label: Label) -> Finding:
    match monitor:
        case DriftMonitor():
            independent_rows = effective_rows(view.own.entity_rows())
            return drift.find(name, monitor, view.reference, view.counts, independent_rows=independent_rows)
        case QualityMonitor():
            return quality.find(
                name, monitor, view.reference, view.counts, rows=len(view.own), faults=view.own.faults
            )
        case PerformanceMonitor():
            if not view.labelled:
                return _nothing("the label's source is behind", {name: monitor})[0]
            start, end = view.start - label.maturity, view.end - label.maturity
            cohort = labels.cohort(ctx.lake, view.version.model, label, view.version.number, start, end)
            return performance.find(name, monitor, view.version, cohort, start=start, end=end)


def _nothing(why: str, monitors: Mapping[str, Monitor]) -> tuple[Finding, ...]:
    return tuple(
        Finding(monitor=monitor_kind(monitor), name=name, health=Health.INCONCLUSIVE, summary=why, rows=0)
        for name, monitor in monitors.items()
    )
