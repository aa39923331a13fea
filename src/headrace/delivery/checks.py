"""Data checks of a training set, made before a model is trained on it.

Work-side. Each becomes evidence on the version; one that does not pass ends the pipeline before any training.
"""

import numpy as np
import pyarrow as pa

from headrace.delivery.evaluation_rows import matrix
from headrace.project.checks import Check, CompletenessCheck, SchemaCheck, StableDistributionCheck
from headrace.project.declaration import definition
from headrace.project.model import ModelDeclaration
from headrace.registry.nouns import Evidence, Verdict
from headrace.statistics import drift, profiles
from headrace.training.nouns import TrainingSetManifest
from headrace.training.training_sets import HOLDOUT


def run_check(
    check: Check, table: pa.Table, declaration: ModelDeclaration, manifest: TrainingSetManifest
) -> Evidence:
    """One check's evidence; the version's number is filled in when there is one.

    Args:
        check: as declared.
        table: the training set's file: key, as_of, features, label, holdout.
        declaration: the model.
        manifest: of the training set.
    """
    if isinstance(check, SchemaCheck):
        return _schema(check, table, declaration, manifest)
    if isinstance(check, CompletenessCheck):
        return _completeness(check, table, declaration, manifest)
    return _stable_distribution(check, table, declaration, manifest)


def _schema(
    check: SchemaCheck, table: pa.Table, declaration: ModelDeclaration, manifest: TrainingSetManifest
) -> Evidence:
    wanted = declaration.feature_names
    found = tuple(name for name in table.schema.names if name in wanted)
    wrong = [name for name in found if not pa.types.is_float64(table.schema.field(name).type)]
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is {table.schema.field(name).type}, not float64" for name in wrong]
    if not problems and found != wanted:
        problems.append("the columns are in another order")
    if not problems:
        outcomes = set(table[manifest.label].unique().to_pylist())
        if outcomes != {0, 1}:
            problems.append(f"the label takes the values {sorted(outcomes, key=str)}, not 0 and 1")
    summary = "; ".join(problems) or f"{len(wanted)} features and the label are as declared"
    return _evidence(check, declaration, manifest, "schema", passed=not problems, summary=summary)


def _completeness(
    check: CompletenessCheck, table: pa.Table, declaration: ModelDeclaration, manifest: TrainingSetManifest
) -> Evidence:
    rows = table.num_rows
    values = matrix(table, declaration.feature_names)
    shares = np.isfinite(values).mean(axis=0) if rows else np.zeros(len(declaration.feature_names))
    complete = dict(zip(declaration.feature_names, shares.tolist(), strict=True))
    worst = min(complete, key=lambda name: complete[name])
    passed = all(share >= check.minimum for share in complete.values())
    return _evidence(
        check,
        declaration,
        manifest,
        f"completeness({check.minimum:g})",
        passed=passed,
        summary=f"{worst} has a value in {complete[worst]:.2%} of {rows} rows, the least of all",
        value=complete[worst],
        margin=check.minimum,
        details={"complete": complete},
    )


def _stable_distribution(
    check: StableDistributionCheck,
    table: pa.Table,
    declaration: ModelDeclaration,
    manifest: TrainingSetManifest,
) -> Evidence:
    """Training against hold-out rows: a difference tells a broken split or a leaking join."""
    names = declaration.feature_names
    values = matrix(table, names)
    held_out = np.asarray(table[HOLDOUT].to_numpy(zero_copy_only=False), dtype=bool)
    columns = {name: values[:, index] for index, name in enumerate(names)}
    reference = profiles.profile({name: column[~held_out] for name, column in columns.items()})
    window = profiles.count(reference, {name: column[held_out] for name, column in columns.items()})
    report = drift.compare(
        reference, window, alpha=check.alpha, minimum_distance=0.0, correction=drift.Correction.HOLM
    )
    moved = report.drifted
    enough = report.verdict is not drift.DriftVerdict.INCONCLUSIVE
    summary = (
        f"{', '.join(moved)} differ between training and hold-out rows"
        if moved
        else f"training and hold-out rows agree in all {len(names)} features"
    )
    if not enough:
        summary = "too few rows to compare training and hold-out"
    return _evidence(
        check,
        declaration,
        manifest,
        f"stable_distribution(alpha={check.alpha:g})",
        passed=not moved and enough,
        summary=summary,
        margin=check.alpha,
        details={"moved": moved},
    )


def _evidence(
    check: Check,
    declaration: ModelDeclaration,
    manifest: TrainingSetManifest,
    name: str,
    *,
    passed: bool,
    summary: str,
    value: float | None = None,
    margin: float | None = None,
    details: dict[str, object] | None = None,
) -> Evidence:
    return Evidence(
        model=declaration.name,
        number=0,
        kind="check",
        name=name,
        gate=str(check.__struct_config__.tag),
        declaration=definition(check),
        verdict=Verdict.PASS if passed else Verdict.WORSE,
        value=value,
        margin=margin,
        sample_size=manifest.rows,
        summary=summary,
        details={"training_set_id": manifest.id, **(details or {})},
    )
