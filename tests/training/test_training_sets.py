"""Training sets from the example's real purchases: who is in, what was known, what is refused, what repeats."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import InvalidInput, LabelsNotMature
from headrace.kernel.database import Database
from headrace.kernel.pins import pins_on
from headrace.kernel.work import WorkContext
from headrace.project.loading import LoadedProject
from headrace.training.nouns import TrainingSetManifest, TrainingSetRequest
from headrace.training.training_sets import build_training_set, content_digest, holdout_mask

Contexts = Callable[..., WorkContext]

AS_OF = datetime(1997, 5, 1, tzinfo=UTC)


def request(example: LoadedProject, **changes: object) -> TrainingSetRequest:
    values = {"declaration": example.models[0].declaration, "as_of": AS_OF} | changes
    return TrainingSetRequest(**values)  # type: ignore[arg-type]


def rows_of(context: WorkContext, manifest: TrainingSetManifest) -> pa.Table:
    return pq.read_table(io.BytesIO(context.blobs.read(manifest.data_digest)))


def test_rows_are_every_entity_seen_with_what_was_known_then(contexts: Contexts, example: LoadedProject) -> None:
    context = contexts()
    manifest = build_training_set(context, request(example))
    rows = rows_of(context, manifest)
    path = example.root / example.sources[0].path
    expected = duckdb.execute(
        f"""SELECT customer_id,
            count(*) FILTER (date < DATE '1997-05-01' AND date + 1 > DATE '1997-01-31') AS purchase_count_90d,
            date_diff('day', max(date + 1) FILTER (date < DATE '1997-05-01'), DATE '1997-05-01') AS age,
            (count(*) FILTER (date >= DATE '1997-05-01' AND date < DATE '1997-07-30') = 0)::INT AS label
            FROM '{path}' GROUP BY customer_id HAVING min(date) < DATE '1997-05-01' ORDER BY customer_id"""
    ).fetchall()
    found = zip(
        rows["customer_id"].to_pylist(),
        rows["purchase_count_90d"].to_pylist(),
        rows["days_since_last_purchase"].to_pylist(),
        rows["no_purchase_in_90d"].to_pylist(),
        strict=True,
    )
    assert list(found) == expected
    assert manifest.rows == len(expected) == 23_570
    assert manifest.positives == sum(row[3] for row in expected)
    assert manifest.features == example.models[0].declaration.feature_names
    assert rows.column_names == ["customer_id", "as_of", *manifest.features, "no_purchase_in_90d", "holdout"]


def test_the_same_inputs_are_the_same_training_set(contexts: Contexts, example: LoadedProject) -> None:
    first = build_training_set(contexts(), request(example))
    second = build_training_set(contexts(), request(example))
    assert second == first


def test_another_moment_is_another_content(contexts: Contexts, example: LoadedProject) -> None:
    first = build_training_set(contexts(), request(example))
    second = build_training_set(contexts(), request(example, as_of=AS_OF - timedelta(days=1)))
    assert second.content_digest != first.content_digest
    assert second.id != first.id


def test_immature_labels_are_refused(contexts: Contexts, example: LoadedProject) -> None:
    final_at = AS_OF + timedelta(days=90)
    with pytest.raises(LabelsNotMature, match="1997-07-30"):
        build_training_set(contexts(final_at - timedelta(seconds=1)), request(example))
    assert build_training_set(contexts(final_at), request(example)).rows == 23_570


def test_labels_that_the_lake_does_not_hold_yet_are_refused(contexts: Contexts, example: LoadedProject) -> None:
    with pytest.raises(LabelsNotMature, match="ingested"):
        build_training_set(
            contexts(datetime(1998, 1, 1, tzinfo=UTC)), request(example, as_of=AS_OF + timedelta(days=30))
        )


def test_a_moment_before_the_first_event_is_refused(contexts: Contexts, example: LoadedProject) -> None:
    with pytest.raises(InvalidInput, match="no customer was seen"):
        build_training_set(contexts(), request(example, as_of=datetime(1996, 1, 1, tzinfo=UTC)))


def test_an_impossible_holdout_is_refused(contexts: Contexts, example: LoadedProject) -> None:
    with pytest.raises(InvalidInput, match="hold-out"):
        build_training_set(contexts(), request(example, holdout_fraction=1.0))


def test_the_holdout_follows_the_entity(example: LoadedProject) -> None:
    keys = pa.chunked_array([list(range(10_000))])
    mask = holdout_mask(keys, request(example)).to_pylist()
    part = holdout_mask(keys.slice(5_000), request(example, as_of=AS_OF - timedelta(days=9))).to_pylist()
    assert mask[5_000:] == part
    assert 2_300 < sum(mask) < 2_700
    assert holdout_mask(keys, request(example, seed=1)).to_pylist() != mask
    assert not any(holdout_mask(keys, request(example, holdout_fraction=0.0)).to_pylist())


def test_the_file_and_the_lake_version_are_pinned(
    contexts: Contexts, example: LoadedProject, database: Database
) -> None:
    manifest = build_training_set(contexts(), request(example))
    (version,) = manifest.lake_versions
    for resource in (version.resource, f"blob/{manifest.data_digest}"):
        (pin,) = database.read(lambda tx, resource=resource: pins_on(tx, resource))  # type: ignore[misc]
        assert pin.holder == f"training-set/{manifest.id}"


def test_the_content_digest_sees_values_and_not_storage() -> None:
    table = pa.table({"key": ["a", None, "c"], "value": [1.0, float("nan"), None]})
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert content_digest(chunked) == content_digest(table)
    digests = {
        content_digest(changed)
        for changed in (
            table,
            table.rename_columns(["key", "other"]),
            table.set_column(1, "value", pa.array([1.0, None, None])),
            table.set_column(1, "value", pa.array([1.0, None, float("nan")])),
            table.set_column(0, "key", pa.array(["a", "", "c"])),
            table.set_column(0, "key", pa.array(["ac", None, ""])),
            table.take([1, 0, 2]),
        )
    }
    assert len(digests) == 7
