from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from tests.delivery.conftest import declaration

from headrace.delivery.checks import run_check
from headrace.project.checks import Check, completeness, schema, stable_distribution
from headrace.project.declaration import definition
from headrace.registry.nouns import Evidence, Verdict
from headrace.training.nouns import TrainingSetManifest

ROWS = 800


def table(**columns: object) -> pa.Table:
    generator = np.random.default_rng(3)
    given: dict[str, object] = {
        "customer_id": np.arange(ROWS),
        "count_90d": generator.poisson(2.0, ROWS).astype(np.float64),
        "churned": (np.arange(ROWS) % 3 == 0).astype(np.int8),
        "holdout": np.arange(ROWS) % 4 == 0,
    }
    return pa.table({name: value for name, value in (given | columns).items() if value is not None})


def check(asked: Check, given: pa.Table) -> Evidence:
    manifest = TrainingSetManifest(
        id="ts_1",
        model="churn",
        purpose="training",
        as_of=datetime(1997, 5, 1, tzinfo=UTC),
        entity_key="customer_id",
        features=("count_90d",),
        label="churned",
        rows=given.num_rows,
        holdout_rows=given.num_rows // 4,
        positives=0,
        holdout_fraction=0.25,
        seed=0,
        content_digest="sha256:0",
        data_digest="sha256:0",
        size_bytes=1,
        lake_versions=(),
        created_by="system",
        created_at=datetime(1997, 8, 1, tzinfo=UTC),
    )
    return run_check(asked, given, declaration(), manifest)


def test_a_set_as_declared_passes_every_check() -> None:
    for asked in (schema(), completeness(0.99), stable_distribution()):
        found = check(asked, table())
        assert (found.verdict, found.kind, found.sample_size) == (Verdict.PASS, "check", ROWS)
        assert found.gate == asked.__struct_config__.tag
        assert found.declaration == definition(asked)


def test_a_missing_column_and_a_wrong_type_are_named() -> None:
    assert check(schema(), table(count_90d=None)).summary == "count_90d is missing"
    wrong = check(schema(), table(count_90d=np.arange(ROWS, dtype=np.int64)))
    assert (wrong.verdict, wrong.summary) == (Verdict.WORSE, "count_90d is int64, not float64")


def test_a_label_with_one_outcome_is_no_label() -> None:
    found = check(schema(), table(churned=np.zeros(ROWS, dtype=np.int8)))
    assert found.verdict is Verdict.WORSE
    assert "takes the values [0]" in found.summary


def test_nulls_and_nans_are_incomplete() -> None:
    values = np.ones(ROWS)
    values[:8] = np.nan
    found = check(completeness(0.99), table(count_90d=pa.array(values)))
    assert (found.verdict, found.value) == (Verdict.PASS, 0.99)
    nulls = pa.array([None] * 9 + [1.0] * (ROWS - 9), pa.float64())
    assert check(completeness(0.99), table(count_90d=nulls)).verdict is Verdict.WORSE


def test_a_split_that_follows_a_feature_is_found() -> None:
    values = np.arange(ROWS, dtype=np.float64)
    found = check(stable_distribution(), table(count_90d=values, holdout=values >= 0.75 * ROWS))
    assert found.verdict is Verdict.WORSE
    assert found.details["moved"] == ["count_90d"]


def test_too_few_rows_to_compare_do_not_pass() -> None:
    found = check(stable_distribution(), table().slice(0, 40))
    assert (found.verdict, found.summary) == (Verdict.WORSE, "too few rows to compare training and hold-out")
