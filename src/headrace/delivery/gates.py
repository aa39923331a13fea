"""The gates: a candidate's verdict, from its own scores and production's on identical rows.

Work-side. Every gate becomes one piece of evidence with interval, margin, sample size and the smallest effect that
so many rows could have shown. What cannot be told is INCONCLUSIVE, and that is not a pass. The verdicts themselves
are pure (verdicts.py); what they rest on is stored with the evidence.
"""

import os
import platform
from typing import Any

import msgspec

from headrace.delivery import evaluation_rows, stored_scores
from headrace.delivery.evaluation_rows import Rows
from headrace.delivery.findings import Sample, name_of
from headrace.delivery.group_columns import Grouped, group_rows
from headrace.delivery.nouns import GatesRequest, GatesResult
from headrace.delivery.timing import time_in_turns
from headrace.delivery.verdicts import judge
from headrace.errors import InvalidInput
from headrace.kernel.work import WorkContext
from headrace.project.declaration import definition
from headrace.project.gates import Gate, Latency, Size, columns_of
from headrace.project.model import ModelDeclaration
from headrace.registry.nouns import Evidence, Verdict


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """The rows with what both versions say of them, and where that is stored."""

    rows: Rows
    grouped: Grouped
    sample: Sample
    scores: str
    """Blob digest of the rows' labels, scores and groups."""
    timings: str | None
    """Blob digest of the timed calls; None when no gate asks for them."""


def run(ctx: WorkContext, request: GatesRequest) -> GatesResult:
    """Score the rows with both versions and judge every gate.

    Raises:
        InvalidInput: the version does not say what it was trained on.
    """
    ctx.progress(0.0, "builds the rows of the verdict")
    scored = score_both(ctx, request)
    ctx.progress(0.8, "judges the gates")
    return GatesResult(
        evidence=tuple(_evidence(gate, request, scored) for gate in request.gates),
        evaluation_digest=evaluation_rows.digest(scored.rows),
    )


def score_both(ctx: WorkContext, request: GatesRequest) -> Scored:
    """The rows of the verdict, with the scores of the candidate and, if there is one, of production."""
    declaration = request.declaration
    if declaration is None:
        raise InvalidInput(
            "no project declares this model, so its rows cannot be built", where=f"model/{request.candidate.model}"
        )
    rows = _rows(ctx, request, declaration)
    ctx.progress(0.4, f"scores {len(rows.labels)} rows")
    other = None if request.production is None else _rows_of_other(ctx, request, declaration, rows)
    columns = tuple(column for gate in request.gates for column in columns_of(gate))
    grouped = group_rows(ctx, declaration.label.entity, columns, rows, other)
    sample = Sample(
        keys=rows.keys,
        labels=rows.labels,
        candidate=evaluation_rows.score(ctx, request.candidate, rows),
        production=(
            None
            if request.production is None or other is None
            else evaluation_rows.score(ctx, request.production, other)
        ),
        groups=grouped.groups,
        problems=grouped.problems,
        size_bytes=sum(file.size_bytes for file in request.candidate.files),
    )
    timings = None
    if len(rows.labels) and any(isinstance(gate, Latency) for gate in request.gates):
        production = None if request.production is None or other is None else (request.production, other)
        sample = msgspec.structs.replace(sample, timings=time_in_turns(ctx, (request.candidate, rows), production))
        timings = sample.timings
    return Scored(
        rows=rows,
        grouped=grouped,
        sample=sample,
        scores=ctx.blobs.put(stored_scores.of_scores(sample)).digest,
        timings=None if timings is None else ctx.blobs.put(stored_scores.of_timings(timings)).digest,
    )


def _rows(ctx: WorkContext, request: GatesRequest, declaration: ModelDeclaration) -> Rows:
    if request.cohort is not None:
        return evaluation_rows.of_cohort(ctx, declaration, request.candidate, request.cohort)
    if request.training_set_id is None:
        raise InvalidInput(
            "the version has no training set, so there is no hold-out to judge it on",
            where=f"version/{request.candidate.model}/{request.candidate.number}",
            fix="Name a cohort when the release is opened.",
        )
    manifest = evaluation_rows.manifest_of(ctx, request.training_set_id)
    return evaluation_rows.read(ctx, manifest, holdout_only=True)


def _rows_of_other(
    ctx: WorkContext, request: GatesRequest, declaration: ModelDeclaration, rows: Rows
) -> Rows | None:
    """The rows with production's features; the same where both read the same views."""
    production = request.production
    if production is None or evaluation_rows.same_views(request.candidate, production):
        return None if production is None else rows
    return evaluation_rows.for_other(ctx, declaration, rows, production)


def _evidence(gate: Gate, request: GatesRequest, scored: Scored) -> Evidence:
    found = judge(gate, scored.sample)
    details: dict[str, Any] = {
        **found.details,
        "training_set_id": scored.rows.training_set_id,
        "as_of": scored.rows.as_of,
        "rows_without_label": scored.rows.unlabelled,
        "sources": scored.grouped.sources if columns_of(gate) else {},
    }
    if not isinstance(gate, Size):
        details["alpha"] = gate.alpha
    if isinstance(gate, Latency):
        details["machine"] = (
            f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"
        )
    scores = scored.timings if isinstance(gate, Latency) else scored.scores
    return Evidence(
        model=request.candidate.model,
        number=request.candidate.number,
        kind="gate",
        name=name_of(gate),
        gate=str(gate.__struct_config__.tag),
        declaration=definition(gate),
        verdict=Verdict(found.verdict.value),
        metric=found.metric,
        value=found.value,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        margin=found.margin,
        sample_size=found.sample_size,
        smallest_detectable_effect=found.smallest_detectable_effect,
        production_number=None if request.production is None else request.production.number,
        cohort=request.cohort,
        scores=None if isinstance(gate, Size) else scores,
        summary=found.summary,
        details=details,
    )
