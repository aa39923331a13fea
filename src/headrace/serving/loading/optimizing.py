"""Looks for a faster form of a model that is the same model: makes graphs, compares them, measures, chooses.

Every form runs in a host, as it would be served: on one thread, and timed from inside. What does not pass is
reported and never used.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from headrace.errors import HeadraceError
from headrace.serving.forms.inputs import Array, Outputs
from headrace.serving.loading.host import ModelHost
from headrace.serving.loading.parity import ABSOLUTE_BOUND, RELATIVE_BOUND, compare, differing
from headrace.serving.loading.trial_rows import edge_rows, random_rows
from headrace.serving.loading_nouns import NATIVE, Agreement, Candidate, OptimizationReport

CALLS = 200
WITHIN_S = 0.5
WARM_UP_CALLS = 5
GAIN = 0.9
"""A form is worth its while when one row takes at most this share of the time."""
LOSS = 1.2
"""And a hundred rows at most this many times as long."""
LIKELIHOODS = frozenset({"second", "all"})
SEED = 20_261
LAST_BIT = "last bit"

Graph = tuple[bytes, dict[str, Any]]
OpenForm = Callable[[Graph], AbstractContextManager[ModelHost]]


class Trial(NamedTuple):
    """Rows of one kind, and what the model answers to them."""

    kind: str
    rows: Array
    answers: Outputs


def optimize(
    native: ModelHost,
    open_form: OpenForm,
    *,
    digest: str,
    runtime: str,
    real: Array,
    nulls: tuple[bool, ...],
    rows_from: dict[str, int],
    libraries: dict[str, str],
    progress: Callable[[float, str], None],
) -> tuple[OptimizationReport, Graph | None]:
    """Try every form that can be made of a model.

    Args:
        native: the model as it was registered, with the libraries that make others of it.
        open_form: gives a host for a graph, with the libraries of the gateways.
        digest: of the version.
        runtime: what serves it as it was registered.
        real: rows to compare on, shape (rows, columns).
        nulls: which columns may be null.
        rows_from: where they came from.
        libraries: for the report.
        progress: takes a fraction and a note.

    Returns:
        The report, and the graph that was chosen; None keeps the model as it was registered.

    Raises:
        NotServed: there is no conversion for this kind of model.
        ModelFault: the model itself fails on real rows.
    """
    graphs, not_made = native.convert()
    progress(0.4, f"compares {len(graphs)} forms on {len(real)} rows")
    trials = _trials(native, real, np.array(nulls))
    one_row_us, hundred_rows_us = _measure(native, real)
    candidates = []
    for place, (name, graph) in enumerate(graphs.items()):
        progress(0.5 + 0.4 * place / len(graphs), f"compares the form {name}")
        candidates.append(_try(name, graph, open_form, trials, real))
    best = _fastest(candidates, one_row_us, hundred_rows_us)
    report = OptimizationReport(
        digest=digest,
        chosen=best or NATIVE,
        runtime=runtime,
        one_row_us=one_row_us,
        hundred_rows_us=hundred_rows_us,
        candidates=tuple(candidates),
        not_made=not_made,
        rows_from=rows_from,
        absolute_bound=ABSOLUTE_BOUND,
        relative_bound=RELATIVE_BOUND,
        libraries=libraries,
    )
    return report, graphs[best] if best else None


def untried(digest: str, runtime: str, note: str) -> OptimizationReport:
    """The report of a model for which nothing could be tried."""
    return OptimizationReport(
        digest=digest,
        chosen=NATIVE,
        runtime=runtime,
        absolute_bound=ABSOLUTE_BOUND,
        relative_bound=RELATIVE_BOUND,
        note=note,
    )


def _trials(native: ModelHost, real: Array, nulls: Any) -> list[Trial]:
    """Rows of each kind with the model's answers; random rows that the model cannot take are left out."""
    generator = np.random.default_rng(SEED)
    made = [("real", real), ("random", random_rows(real, generator, nulls=nulls))]
    beside, last_bit = edge_rows(real, native.predict, generator)
    made += [("edges", beside), (LAST_BIT, last_bit)]
    trials = []
    for kind, rows in made:
        if not len(rows):
            continue
        try:
            trials.append(Trial(kind, rows, native.predict(rows)))
        except HeadraceError:
            if kind == "real":
                raise
    return trials


def _try(name: str, graph: Graph, open_form: OpenForm, trials: list[Trial], real: Array) -> Candidate:
    size_bytes = len(graph[0])
    agreements: dict[str, Agreement] = {}
    try:
        with open_form(graph) as host:
            for trial in trials:
                agreements[trial.kind] = _agreement(host, graph, open_form, trial)
            why = differing([found for kind, found in agreements.items() if kind != LAST_BIT])
            one_row_us, hundred_rows_us = _measure(host, real)
    except HeadraceError as problem:
        return Candidate(
            name=name, passed=False, why=problem.message[:500], size_bytes=size_bytes, agreements=agreements
        )
    return Candidate(
        name=name,
        passed=not why,
        why=why,
        size_bytes=size_bytes,
        agreements=agreements,
        one_row_us=one_row_us,
        hundred_rows_us=hundred_rows_us,
    )


def _agreement(host: ModelHost, graph: Graph, open_form: OpenForm, trial: Trial) -> Agreement:
    content, known = graph
    classes = known["take"] in LIKELIHOODS
    found = compare(trial.answers, host.predict(trial.rows), classes=classes)
    if not found.flips or known["take"] != "likeliest":
        return found
    with open_form((content, {**known, "take": "all"})) as likelihoods:
        behind = np.asarray(likelihoods.predict(trial.rows), dtype=np.float64)
        return compare(trial.answers, host.predict(trial.rows), classes=False, likelihoods=behind)


def _measure(host: ModelHost, real: Array) -> tuple[float, float]:
    """Median microseconds of a call with one row and with a hundred."""
    hundred = np.resize(real, (100, real.shape[1]))
    for rows in (hundred[:1], hundred):
        host.median_s(rows, calls=WARM_UP_CALLS, within_s=WITHIN_S)
    one_us = 1e6 * host.median_s(hundred[:1], calls=CALLS, within_s=WITHIN_S)
    return one_us, 1e6 * host.median_s(hundred, calls=CALLS, within_s=WITHIN_S)


def _fastest(candidates: list[Candidate], one_row_us: float, hundred_rows_us: float) -> str | None:
    """The form whose single rows are fastest, if that is worth it and many rows do not pay for it."""
    worth = [
        (each.one_row_us, each.name)
        for each in candidates
        if each.passed
        and each.one_row_us is not None
        and each.hundred_rows_us is not None
        and each.one_row_us <= GAIN * one_row_us
        and each.hundred_rows_us <= LOSS * hundred_rows_us
    ]
    return min(worth)[1] if worth else None
