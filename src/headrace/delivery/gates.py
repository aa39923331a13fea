"""The gates: a candidate's verdict, from its own scores and production's on identical rows.

Work-side. Every gate becomes one piece of evidence with interval, margin, sample size and the smallest effect that
so many rows could have shown. What cannot be told is INCONCLUSIVE, and that is not a pass.

Sources: see `statistics.comparison` (non-inferiority) and `statistics.ranking` (DeLong).
"""

import msgspec

from headrace.delivery import evaluation_rows
from headrace.delivery.evaluation_rows import Floats, Rows
from headrace.delivery.nouns import GatesRequest, GatesResult
from headrace.errors import InvalidInput
from headrace.kernel.work import WorkContext
from headrace.project.gates import AtLeast, Gate, NotWorseThanProduction
from headrace.project.model import ModelDeclaration
from headrace.registry.nouns import Evidence, Verdict
from headrace.serving.nouns import ServedVersion
from headrace.statistics import comparison


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """The rows with what both versions say of them."""

    rows: Rows
    candidate: Floats
    production: Floats | None
    scores: str
    """Blob digest of the file that holds them."""


def run(ctx: WorkContext, request: GatesRequest) -> GatesResult:
    """Score the rows with both versions and judge every gate.

    Raises:
        InvalidInput: the version does not say what it was trained on.
    """
    ctx.progress(0.0, "builds the rows of the verdict")
    scored = score_both(ctx, request)
    ctx.progress(0.8, "judges the gates")
    return GatesResult(evidence=tuple(judge(gate, request, scored) for gate in request.gates))


def score_both(ctx: WorkContext, request: GatesRequest) -> Scored:
    """The rows of the verdict, with the scores of the candidate and, if there is one, of production."""
    declaration = request.declaration
    if declaration is None:
        raise InvalidInput(
            "no project declares this model, so its rows cannot be built", where=f"model/{request.candidate.model}"
        )
    rows = _rows(ctx, request, declaration)
    ctx.progress(0.4, f"scores {len(rows.labels)} rows")
    candidate = evaluation_rows.score(ctx, request.candidate, rows)
    columns = {"candidate": candidate}
    production = None
    if request.production is not None:
        production = _score_other(ctx, declaration, rows, request.candidate, request.production)
        columns["production"] = production
    scores = evaluation_rows.keep_scores(ctx.blobs, rows, columns)
    return Scored(rows=rows, candidate=candidate, production=production, scores=scores)


def judge(gate: Gate, request: GatesRequest, scored: Scored) -> Evidence:
    """One gate's evidence; rows that carry no answer (one outcome only, say) make it INCONCLUSIVE."""
    try:
        if isinstance(gate, AtLeast):
            return _at_least(gate, request, scored)
        return _not_worse(gate, request, scored)
    except InvalidInput as problem:
        return _evidence(
            gate,
            request,
            scored,
            verdict=Verdict.INCONCLUSIVE,
            summary=f"{name_of(gate)}: {problem.message}",
        )


def name_of(gate: Gate) -> str:
    """A gate in short."""
    if isinstance(gate, AtLeast):
        return f"{gate.metric} at least {gate.value:g}"
    return f"{gate.metric} not worse than production by {gate.margin:g}"


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


def _score_other(
    ctx: WorkContext,
    declaration: ModelDeclaration,
    rows: Rows,
    candidate: ServedVersion,
    production: ServedVersion,
) -> Floats:
    if not evaluation_rows.same_views(candidate, production):
        rows = evaluation_rows.for_other(ctx, declaration, rows, production)
    return evaluation_rows.score(ctx, production, rows)


def _at_least(gate: AtLeast, request: GatesRequest, scored: Scored) -> Evidence:
    found = comparison.attain(
        gate.metric,
        scored.rows.labels,
        scored.candidate,
        bound=gate.value,
        alpha=gate.alpha,
        groups=scored.rows.keys,
    )
    estimate = found.estimate
    return _evidence(
        gate,
        request,
        scored,
        verdict=Verdict(found.verdict.value),
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        confidence=estimate.confidence,
        margin=gate.value,
        smallest_detectable_effect=found.detectable,
        summary=(
            f"{gate.metric} {estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}], "
            f"at least {gate.value:g}: {found.verdict.value}"
        ),
    )


def _not_worse(gate: NotWorseThanProduction, request: GatesRequest, scored: Scored) -> Evidence:
    if request.production is None or scored.production is None:
        return _evidence(
            gate,
            request,
            scored,
            verdict=Verdict.PASS,
            margin=gate.margin,
            summary=f"{gate.metric}: a first version has no production version to compare with",
        )
    found = comparison.compare(
        gate.metric,
        scored.rows.labels,
        scored.candidate,
        scored.production,
        margin=gate.margin,
        alpha=gate.alpha,
        groups=scored.rows.keys,
    )
    gain = found.difference
    return _evidence(
        gate,
        request,
        scored,
        verdict=Verdict(found.verdict.value),
        value=gain.value,
        low=gain.low,
        high=gain.high,
        confidence=gain.confidence,
        margin=gate.margin,
        smallest_detectable_effect=found.detectable,
        details={"candidate": found.new, "production": found.old},
        summary=(
            f"{gate.metric} {found.old:.4f} -> {found.new:.4f}, gain {gain.value:+.4f} "
            f"[{gain.low:+.4f}, {gain.high:+.4f}], margin {gate.margin:g}: {found.verdict.value}"
        ),
    )


def _evidence(
    gate: Gate,
    request: GatesRequest,
    scored: Scored,
    *,
    verdict: Verdict,
    summary: str,
    value: float | None = None,
    low: float | None = None,
    high: float | None = None,
    confidence: float | None = None,
    margin: float | None = None,
    smallest_detectable_effect: float | None = None,
    details: dict[str, float] | None = None,
) -> Evidence:
    facts: dict[str, object] = {
        "alpha": gate.alpha,
        "training_set_id": scored.rows.training_set_id,
        "as_of": scored.rows.as_of,
        **(details or {}),
    }
    return Evidence(
        model=request.candidate.model,
        number=request.candidate.number,
        kind="gate",
        name=name_of(gate),
        gate=str(gate.__struct_config__.tag),
        verdict=verdict,
        metric=gate.metric,
        value=value,
        low=low,
        high=high,
        confidence=confidence,
        margin=margin,
        sample_size=len(scored.rows.labels),
        smallest_detectable_effect=smallest_detectable_effect,
        production_number=None if request.production is None else request.production.number,
        cohort=request.cohort,
        scores=scored.scores,
        summary=summary,
        details=facts,
    )
