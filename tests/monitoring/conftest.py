"""A model in production with a lake of predictions, as control and as a worker see it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tests.predictions import table_of

import headrace as hr
from headrace.errors import NotFound
from headrace.features.nouns import ObjectDetails, SourceState
from headrace.kernel.blobs import BlobStore, open_blob_store
from headrace.kernel.jobs import Job
from headrace.kernel.lake import Lake
from headrace.kernel.settings import Settings
from headrace.kernel.work import WorkContext
from headrace.monitoring.nouns import OUTPUT_COLUMN
from headrace.project.model import ModelDeclaration
from headrace.registry.nouns import Estimate, Model, ModelDetails, Version
from headrace.serving.log.compaction import predictions_table
from headrace.serving.nouns import Arm, PredictionRecord, Purpose
from headrace.statistics.profiles import profile

START = datetime(1997, 8, 1, tzinfo=UTC)
END = datetime(1997, 9, 1, tzinfo=UTC)
CRON = "0 0 1 * *"
SOURCE_PATH = "/api/v1/features/source/purchases"


def declare(monitors: Sequence[Any], alerts: Sequence[str] = ("ops",)) -> ModelDeclaration:
    customer = hr.Entity("customer", key="customer_id")
    purchases = hr.Source("purchases", "purchases.parquet", time="date")
    view = hr.FeatureView(
        "activity", entity=customer, source=purchases, ttl="400d", features={"recency": hr.age_of_last()}
    )
    label = hr.Label(
        "no_purchase_in_30d",
        entity=customer,
        source=purchases,
        value=hr.none_within("30d"),
        matures_after="31d",
    )

    @hr.model("churn", features=[view], label=label, task="binary")
    def churn(data: Any, params: Any) -> Any:
        raise NotImplementedError

    churn.delivered_by(monitors=list(monitors), alerts=list(alerts))
    return churn.declaration


@pytest.fixture
def declaration() -> Callable[..., dict[str, Any]]:
    def make(monitors: Sequence[Any], alerts: Sequence[str] = ("ops",)) -> dict[str, Any]:
        built: dict[str, Any] = msgspec.to_builtins(declare(monitors, alerts))
        return built

    return make


class Control:
    """Answers what the platform's control would, from what a test has put there."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"/api/v1/gateways?alive=true": ()}

    def call(self, method: str, path: str, body: Any = None, *, returns: Any) -> Any:
        assert (method, body) == ("GET", None)
        if path not in self.answers:
            raise NotFound("nothing there", where=path)
        return msgspec.json.decode(msgspec.json.encode(self.answers[path]), type=returns)

    def upload(self, path: str, content: bytes, *, returns: Any) -> Any:
        raise AssertionError(f"monitoring uploads nothing, and not to {path}")


@dataclass
class Bench:
    """A worker's surroundings."""

    directory: Path
    lake: Lake
    blobs: BlobStore
    control: Control = field(default_factory=Control)
    logged: int = 0
    ingested: int = 0

    def context(self, *, end: datetime | None = END, attempt: int = 1, **settings: Any) -> WorkContext:
        job = Job(
            id="job_1",
            kind="monitoring.window",
            payload=msgspec.Raw(b"{}"),
            actor="system",
            workspace="default",
            state="leased",
            attempt=attempt,
            max_attempts=12,
            enqueued_at=END,
            scheduled_for=end,
        )
        return WorkContext(
            control=self.control,
            blobs=self.blobs,
            lake=self.lake,
            settings=Settings(home=self.directory, **settings),
            business_now=END,
            job=job,
            directory=self.directory,
            report_progress=lambda fraction, note: None,
        )

    def put_model(
        self,
        monitors: Sequence[Any],
        *,
        production: int | None = 1,
        profiled: bool = True,
        scores: Sequence[float] | None = None,
    ) -> None:
        """A model whose version 1 was trained on recency uniform in [0, 100), with its scores in the profile."""
        model = Model(
            name="churn",
            declaration=msgspec.to_builtins(declare(monitors)),
            created_by="ana",
            created_at=START,
            updated_at=START,
        )
        reference = profile({"recency": np.random.default_rng(1).uniform(0, 100, size=4000)})
        if scores is not None:
            outputs = profile({OUTPUT_COLUMN: np.array(scores)}).columns
            reference = msgspec.structs.replace(reference, columns=reference.columns | outputs)
        stored = self.blobs.put(msgspec.json.encode(reference)).digest if profiled else None
        version = Version(
            model="churn",
            number=1,
            digest="sha256:" + "0" * 64,
            files=(),
            profile=stored,
            metrics={"roc_auc": Estimate(value=0.8, low=0.78, high=0.82)},
            author="ana",
            created_by="ana",
            created_at=START,
            updated_at=START,
        )
        details = ModelDetails(model=model, versions=(version,), aliases=(), production=production)
        self.control.answers["/api/v1/models/churn"] = details
        self.control.answers["/api/v1/models/churn/versions/1"] = version

    def put_source(self, purchases: Mapping[int, Sequence[datetime]], through: datetime) -> None:
        """The source in the lake: moments of purchase by customer."""
        rows = [(customer, moment) for customer, moments in purchases.items() for moment in moments]
        table = pa.table(
            {
                "customer_id": pa.array([row[0] for row in rows], pa.int32()),
                "event_ts": pa.array([row[1] for row in rows], pa.timestamp("us", tz="UTC")),
            }
        )
        self.ingested += 1
        version = self.lake.append("sources/purchases", table, operation="test", sequence=self.ingested)
        state = SourceState(
            source="purchases",
            version=1,
            table="sources/purchases",
            lake_version=version,
            ingested_through=through,
        )
        self.control.answers[SOURCE_PATH] = ObjectDetails(versions=(), sources=(state,))

    def predict(
        self,
        customers: Sequence[int],
        at: datetime,
        *,
        recency: Sequence[float | None] | None = None,
        scores: Sequence[float | None] | None = None,
        version: int = 1,
        purpose: Purpose = Purpose.LIVE,
        entity: Callable[[int], dict[str, str | int] | None] = lambda customer: {"customer_id": customer},
    ) -> list[str]:
        """Log predictions; a score of None is a fault. Returns their ids."""
        records = []
        for place, customer in enumerate(customers):
            score = 0.5 if scores is None else scores[place]
            records.append(
                PredictionRecord(
                    prediction_id=f"pred_{self.logged + place:06d}",
                    business_at=at,
                    at=at,
                    model="churn",
                    version=version,
                    arm=Arm.CHAMPION,
                    propensity=1.0,
                    release_id=None,
                    step=None,
                    entity=entity(customer),
                    names=("recency",),
                    features=(50.0 if recency is None else recency[place],),
                    output=score,
                    latency_us=100,
                    fault="ValueError" if score is None else None,
                    purpose=purpose,
                )
            )
        self.logged += len(records)
        self.lake.append(predictions_table("churn"), table_of(records), operation="test", sequence=self.logged)
        return [record.prediction_id for record in records]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(directory=tmp_path, lake=Lake(tmp_path / "lake"), blobs=open_blob_store(tmp_path))
