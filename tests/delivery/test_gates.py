"""Gates on real scores: a scikit-learn model directory, scored by a model host, judged on a hold-out."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from tests.delivery.conftest import ACTIVITY, declaration

from headrace.delivery import gates, staging
from headrace.delivery.nouns import GatesRequest, GatesResult, StagingRequest
from headrace.delivery.recompute import recompute
from headrace.errors import InvalidInput
from headrace.features.nouns import ObjectDetails, SourceState
from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.kernel.jobs import Job
from headrace.kernel.lake import Lake
from headrace.kernel.settings import Settings
from headrace.kernel.work import WorkContext
from headrace.project.column import column
from headrace.project.declaration import definition
from headrace.project.environment import capture_environment
from headrace.project.gates import (
    Gate,
    at_least,
    calibrated,
    fair,
    latency,
    not_worse_than_production,
    size,
    slices,
)
from headrace.project.source import Source
from headrace.registry.nouns import ModelFile, Verdict, directory_digest
from headrace.serving.nouns import Gateway, LoadedVersion, ServedVersion, ServedView
from headrace.training.model_directory import export_model
from headrace.training.nouns import LakeVersion, TrainingSetManifest

T = TypeVar("T")
NAMES = ("count_90d",)
ROWS = 600
NOW = datetime(1997, 8, 1, tzinfo=UTC)


class Answers:
    """Control's answers by path, as a worker would get them."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def call(self, method: str, path: str, body: Any = None, *, returns: type[T]) -> T:
        return msgspec.convert(msgspec.to_builtins(self.answers[f"{method} {path}"]), returns)

    def upload(self, path: str, content: bytes, *, returns: type[T]) -> T:
        raise AssertionError(f"nothing is uploaded to {path}")


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blob_store(tmp_path)


def rows() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    generator = np.random.default_rng(7)
    features = generator.normal(size=(ROWS, 1))
    labels = (features[:, 0] + generator.normal(size=ROWS) > 0).astype(np.int64)
    return features, labels


def served(blobs: BlobStore, folder: Path, number: int, *, strength: float) -> ServedVersion:
    """A version that orders the rows well (strength 1) or the wrong way round (-1)."""
    features, labels = rows()
    estimator = LogisticRegression().fit(features * strength, labels)
    if strength < 0:
        estimator.coef_ = -np.abs(estimator.coef_)
    export_model(estimator, names=NAMES, sample=features[:5], directory=folder, environment=capture_environment())
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            blob = blobs.put(path)
            relative = path.relative_to(folder).as_posix()
            files.append(ModelFile(path=relative, digest=blob.digest, size_bytes=blob.size_bytes))
    return ServedVersion(
        model="churn",
        number=number,
        digest=directory_digest(tuple(files)),
        files=tuple(files),
        entity_key="customer_id",
        views=(ServedView(name="activity", version=1, spec=definition(ACTIVITY)),),
    )


def training_set(blobs: BlobStore, *, labels: np.ndarray[Any, Any] | None = None) -> TrainingSetManifest:
    features, outcome = rows()
    table = pa.table(
        {
            "customer_id": np.arange(ROWS, dtype=np.int64),
            "count_90d": features[:, 0],
            "churned": pa.array(outcome if labels is None else labels, pa.int8(), from_pandas=True),
            "holdout": np.arange(ROWS) % 2 == 0,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    blob = blobs.put(buffer.getvalue())
    return TrainingSetManifest(
        id="ts_1",
        model="churn",
        purpose="training",
        as_of=NOW,
        entity_key="customer_id",
        features=NAMES,
        label="churned",
        rows=ROWS,
        holdout_rows=ROWS // 2,
        positives=int(outcome.sum()),
        holdout_fraction=0.5,
        seed=0,
        content_digest="sha256:" + "0" * 64,
        data_digest=blob.digest,
        size_bytes=blob.size_bytes,
        lake_versions=(LakeVersion(table="sources/purchases", version=1),),
        created_by="system",
        created_at=NOW,
    )


def context(tmp_path: Path, blobs: BlobStore, answers: dict[str, Any]) -> WorkContext:
    job = Job(
        id="job_1",
        kind="delivery.gates",
        payload=msgspec.Raw(b"{}"),
        actor="system",
        workspace="default",
        state="leased",
        attempt=1,
        max_attempts=3,
        enqueued_at=NOW,
    )
    directory = tmp_path / "scratch"
    directory.mkdir(exist_ok=True)
    return WorkContext(
        control=Answers(answers),
        blobs=blobs,
        lake=Lake(tmp_path / "lake"),
        settings=Settings(home=tmp_path),
        business_now=NOW,
        job=job,
        directory=directory,
        report_progress=lambda fraction, note: None,
    )


PEOPLE = Source("people", "people.parquet", time="since")


def people(tmp_path: Path) -> dict[str, Any]:
    """A source that says of most customers where they live; one moved after the rows' moment."""
    keys = np.arange(ROWS - 20, dtype=np.int64)
    table = pa.table(
        {
            "customer_id": np.append(keys, 0),
            "region": np.append(np.where(keys % 4 == 0, "n", "s"), "far away"),
            "event_ts": pa.array([NOW] * len(keys) + [NOW.replace(year=1998)], pa.timestamp("us", tz="UTC")),
        }
    )
    version = Lake(tmp_path / "lake").append("sources/people", table, operation="test")
    state = SourceState(
        source="people", version=1, table="sources/people", lake_version=version, ingested_through=NOW
    )
    return {"GET /api/v1/features/source/people": ObjectDetails(versions=(), sources=(state,))}


Judge = Callable[..., GatesResult]


@pytest.fixture
def judge(tmp_path: Path, blobs: BlobStore) -> Judge:
    def run(
        *asked: Gate, production: float | None = None, labels: np.ndarray[Any, Any] | None = None
    ) -> GatesResult:
        manifest = training_set(blobs, labels=labels)
        other = None if production is None else served(blobs, tmp_path / "old", 1, strength=production)
        request = GatesRequest(
            release_id="rel_1",
            attempt=1,
            declaration=declaration(),
            candidate=served(blobs, tmp_path / "new", 2, strength=1.0),
            training_set_id="ts_1",
            production=other,
            gates=asked,
            cohort=None,
        )
        answers = {"GET /api/v1/training-sets/ts_1": manifest, **people(tmp_path)}
        return gates.run(context(tmp_path, blobs, answers), request)

    return run


def test_a_good_first_version_passes(judge: Judge, blobs: BlobStore) -> None:
    result = judge(at_least("roc_auc", 0.7), not_worse_than_production("roc_auc", margin=0.01))
    floor, comparison = result.evidence
    assert (floor.verdict, floor.sample_size, floor.margin) == (Verdict.PASS, ROWS // 2, 0.7)
    assert floor.low is not None
    assert floor.value is not None
    assert 0.7 <= floor.low < floor.value < 1.0
    assert floor.smallest_detectable_effect is not None
    assert comparison.verdict is Verdict.PASS
    assert "first version" in comparison.summary


def test_the_scores_are_kept_so_that_the_verdict_can_be_computed_again(judge: Judge, blobs: BlobStore) -> None:
    (evidence,) = judge(not_worse_than_production("roc_auc", margin=0.01), production=-1.0).evidence
    assert evidence.scores is not None
    table = pq.read_table(pa.BufferReader(blobs.read(evidence.scores)))
    assert table.schema.names == ["key", "label", "candidate", "production"]
    assert table.num_rows == ROWS // 2

    def area(scores: str) -> float:
        label, score = table["label"].to_numpy(), table[scores].to_numpy()
        above = score[label == 1][:, None] > score[label == 0][None, :]
        return float(above.mean())

    assert evidence.value == pytest.approx(area("candidate") - area("production"), abs=1e-9)


def test_better_than_a_bad_production(judge: Judge) -> None:
    (evidence,) = judge(not_worse_than_production("roc_auc", margin=0.01), production=-1.0).evidence
    assert (evidence.verdict, evidence.production_number) == (Verdict.BETTER, 1)


def test_the_same_model_is_not_worse(judge: Judge) -> None:
    (evidence,) = judge(not_worse_than_production("roc_auc", margin=0.01), production=1.0).evidence
    assert (evidence.verdict, evidence.value) == (Verdict.PASS, 0.0)


def test_a_floor_out_of_reach_is_worse(judge: Judge) -> None:
    (evidence,) = judge(at_least("roc_auc", 0.99)).evidence
    assert evidence.verdict is Verdict.WORSE


def test_rows_of_one_outcome_tell_nothing(judge: Judge) -> None:
    (evidence,) = judge(at_least("roc_auc", 0.7), labels=np.ones(ROWS)).evidence
    assert evidence.verdict is Verdict.INCONCLUSIVE
    assert not evidence.verdict.passes


def test_a_version_from_outside_has_no_rows(tmp_path: Path, blobs: BlobStore) -> None:
    request = GatesRequest(
        release_id="rel_1",
        attempt=1,
        declaration=declaration(),
        candidate=ServedVersion(model="churn", number=1, digest="sha256:0", files=()),
        training_set_id=None,
        production=None,
        gates=(at_least("roc_auc", 0.7),),
        cohort=None,
    )
    with pytest.raises(InvalidInput, match="no training set"):
        gates.run(context(tmp_path, blobs, {}), request)


def test_rows_without_a_label_are_left_out_and_counted(judge: Judge) -> None:
    _, labels = rows()
    known = labels.astype(float)
    known[:100] = np.nan  # half of them are held out
    (evidence,) = judge(at_least("roc_auc", 0.6), labels=known).evidence
    assert (evidence.sample_size, evidence.details["rows_without_label"]) == (ROWS // 2 - 50, 50)
    assert evidence.verdict is Verdict.PASS


def test_every_gate_leaves_evidence_that_can_be_computed_again(judge: Judge, blobs: BlobStore) -> None:
    region = column("region", source=PEOPLE)
    asked = (
        at_least("roc_auc", 0.6),
        not_worse_than_production("log_loss", margin=0.1),
        fair([region, column("count_90d", edges=[0.0])], margin=0.9, small_groups="left_out"),
        slices("brier", ["count_90d"], margin=0.1),
        calibrated(at_most=0.2),
        latency(slower_at_most=20.0),
        size(at_most_bytes=10**9),
    )
    result = judge(*asked, production=1.0)
    for gate, evidence in zip(asked, result.evidence, strict=True):
        assert evidence.gate == gate.__struct_config__.tag
        assert evidence.declaration == definition(gate)
        assert evidence.verdict.passes, evidence.summary
        content = None if evidence.scores is None else blobs.read(evidence.scores)
        again = recompute(evidence, content, size_bytes=int(result.evidence[-1].value or 0))
        assert again.agrees, again.differences
    assert result.evaluation_digest == judge(asked[0], production=-1.0).evaluation_digest


def test_a_column_of_a_source_is_joined_as_of_the_rows_and_kept_with_the_scores(
    judge: Judge, blobs: BlobStore
) -> None:
    (evidence,) = judge(fair([column("region", source=PEOPLE)], at_most=0.5, small_groups="left_out")).evidence
    assert evidence.details["sources"] == {"people": 1}
    rates = {row["group"]: row["rows"] for row in evidence.details["groups"]}
    assert rates == {"n": 145, "s": 145, "(none)": 10}  # nobody is far away yet
    assert evidence.scores is not None
    table = pq.read_table(pa.BufferReader(blobs.read(evidence.scores)))
    assert table.schema.names == ["key", "label", "candidate", "by people.region"]


def test_a_column_that_nobody_has_makes_its_gate_inconclusive_and_no_other(judge: Judge) -> None:
    unfair, floor = judge(fair([column("gender", source=PEOPLE)], at_most=0.1), at_least("roc_auc", 0.6)).evidence
    assert (unfair.verdict, floor.verdict) == (Verdict.INCONCLUSIVE, Verdict.PASS)
    assert "no column 'gender'" in unfair.summary
    assert unfair.details["without_interval"] in unfair.summary


def test_no_rows_at_all_are_inconclusive(judge: Judge) -> None:
    asked = (
        at_least("roc_auc", 0.6),
        calibrated(at_most=0.1),
        latency(p95_ms=10),
        slices("f1", ["count_90d"], bound=0.1),
    )
    for evidence in judge(*asked, labels=np.full(ROWS, np.nan), production=1.0).evidence:
        assert evidence.verdict is Verdict.INCONCLUSIVE
        assert evidence.details["without_interval"]


def test_other_rows_have_another_name(judge: Judge) -> None:
    _, labels = rows()
    flipped = labels.copy()
    flipped[0] = 1 - flipped[0]
    gate = at_least("roc_auc", 0.6)
    assert judge(gate).evaluation_digest != judge(gate, labels=flipped).evaluation_digest


# -- the staging check --------------------------------------------------------------------------------------


def gateway(url: str = "http://127.0.0.1:9", *, error: str | None = None) -> Gateway:
    return Gateway(
        name="g1",
        boot="b1",
        booted_at=NOW,
        url=url,
        last_seen=NOW,
        applied_sequence=1,
        logged_until=None,
        predictions_dropped=0,
        predictions_lost=0,
        loaded=(LoadedVersion(model="churn", number=2, error=error),),
        trips=(),
    )


def test_staging_hears_that_a_gateway_could_not_load_the_version(tmp_path: Path, blobs: BlobStore) -> None:
    request = StagingRequest(
        release_id="rel_1",
        attempt=2,
        version=served(blobs, tmp_path / "new", 2, strength=1.0),
        training_set_id="ts_1",
        rows=10,
    )
    answers = {
        "GET /api/v1/training-sets/ts_1": training_set(blobs),
        "GET /api/v1/gateways": [gateway(error="a pickle")],
    }
    found = staging.run(context(tmp_path, blobs, answers), request).evidence
    assert found.verdict is Verdict.WORSE
    assert "could not load the version: a pickle" in found.summary
