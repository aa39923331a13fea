"""A project of seconds: a small synthetic shop whose model trains at once, for tests that start real processes."""

import random
import time
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.delivery.nouns import PipelineStatus, Release
from headrace.errors import Unavailable
from headrace.sdk.platform import Platform
from headrace.testing.platform import TemporaryPlatform

MODEL = "small"
PATIENCE_S = 120.0
NOW = datetime(2025, 10, 1, tzinfo=UTC)

CUSTOMERS = 1200
FIRST_DAY = date(2025, 1, 1)
LAST_DAY = date(2025, 12, 31)

PROJECT = '''"""Who will not come back to a small shop."""

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import headrace as hr

customer = hr.Entity("customer", key="customer_id")
purchases = hr.Source("purchases", "purchases.parquet", time="day")

activity = hr.FeatureView(
    "activity",
    entity=customer,
    source=purchases,
    ttl="365d",
    features={
        "count_60d": hr.count(window="60d"),
        "spend_60d": hr.sum("amount", window="60d"),
        "days_since_last": hr.age_of_last(),
    },
)

gone = hr.Label("gone", entity=customer, source=purchases, value=hr.none_within("30d"), matures_after="30d")


@hr.model("small", features=[activity], label=gone, task="binary", params={"strength": 1.0})
def small(data: hr.TrainingSet, params: hr.Params) -> hr.Fitted:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=params.strength))
    return hr.Fitted(model.fit(data.features, data.label))


small.delivered_by(
    checks=[hr.schema(), hr.completeness(0.95)],
    gates=[hr.at_least("roc_auc", 0.6), hr.not_worse_than_production("roc_auc", margin=0.05)],
    staging=hr.replay(rows=100),
    approval=hr.Approval(role="approver", four_eyes=True, expires="1d"),
    rollout=hr.Canary([50, 100], tolerance=0.05, alpha=0.05, minimum_time="1s", cooling="1s"),
    monitors=[hr.drift(), hr.quality()],
)
'''


def write(folder: Path) -> Path:
    """Write the project and its data into `folder`; returns the project file."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(purchases(), folder / "purchases.parquet")
    (folder / "project.py").write_text(PROJECT)
    return folder / "project.py"


def purchases() -> pa.Table:
    """Purchases of customers whose habit differs, so that the past tells something of the future."""
    random = np.random.default_rng(7)
    days = (LAST_DAY - FIRST_DAY).days
    habits = random.choice([1.0, 24.0], CUSTOMERS)  # purchases a year: guests and regulars
    customers = np.concatenate(
        [np.arange(1, CUSTOMERS + 1), np.repeat(np.arange(1, CUSTOMERS + 1), random.poisson(habits))]
    )
    offsets = random.integers(0, days, len(customers))
    offsets[:CUSTOMERS] = random.integers(0, 30, CUSTOMERS)  # everybody's first purchase is in January
    return pa.table(
        {
            "customer_id": pa.array(customers, pa.int64()),
            "day": pa.array([FIRST_DAY + timedelta(days=int(offset)) for offset in offsets], pa.date32()),
            "amount": pa.array(random.gamma(2.0, 15.0, len(customers)).round(2), pa.float64()),
        }
    )


def open_shop(platform: TemporaryPlatform, project: Path) -> Platform:
    """Apply the project as its developer, whose connection is returned."""
    platform.local.move_clock(NOW)
    dana = platform.person("dana", "developer")
    dana.apply(*dana.plan(project))
    platform.local.settle()
    return dana


def train(dana: Platform, strength: float) -> int:
    """Train one more version; returns its number."""
    pipeline = dana.train(MODEL, params={"strength": strength}, release=False)
    ended = dana.wait_for(lambda: dana.pipeline(pipeline.id), lambda now: now.status.ended, "training")
    assert ended.status is PipelineStatus.SUCCEEDED, ended.note
    assert ended.number is not None
    return ended.number


_AT_ONCE = "from headrace.server import supervisor; supervisor.SETTLED_AFTER_S = 0.0"
IMPATIENT = ("-c", f"{_AT_ONCE}; from headrace.cli.main import run; run()")
"""A platform that starts again at once what a test kills time and again."""


def ask(platform: TemporaryPlatform) -> None:
    """A few customers ask for predictions, if there is a gateway at the moment."""
    customers = random.sample(range(1, CUSTOMERS + 1), 20)
    with suppress(Unavailable), closing(platform.local.predictor(MODEL)) as predictor:
        predictor.predict({"customer_id": customers})


def deliver(
    platform: TemporaryPlatform, dana: Platform, ravi: Platform, number: int, *, victims: tuple[str, ...] = ()
) -> Release:
    """Release a version under traffic, killing the victims at each boundary.

    That is: when it enters a phase or a step, while a worker has one of its jobs, and when its approval is granted.
    The victim `worker` is the one that has a job, or any.
    """
    release = dana.open_release(MODEL, number)
    seen: set[tuple[str, ...]] = set()

    def look() -> Release:
        requests = [item for item in ravi.approvals() if item.release_id == release.id]
        jobs = [job for job in dana.jobs(10) if release.id in (job.key or "")]
        now = dana.release(release.id)
        boundaries: set[tuple[str, ...]] = {("release", now.phase, str(now.state.step))}
        boundaries.update(("leased", job.kind) for job in jobs if job.state == "leased")
        boundaries.update(("granted",) for item in requests if item.status in {"granted", "used"})
        if boundaries - seen:
            seen.update(boundaries)
            holders = [str(job.leased_by).partition("@")[0] for job in jobs if job.state == "leased"]
            for victim in () if now.state.final else victims:
                platform.launched.kill([*holders, "worker-1"][0] if victim == "worker" else victim)
            dana.clock()  # answered again
        for item in requests:
            if item.status == "requested":
                ravi.decide(item.id, grant=True, reason="evidence read")
        return now

    give_up = time.monotonic() + PATIENCE_S
    while not (ended := look()).state.final:
        assert time.monotonic() < give_up, ended
        if ended.state.weight_percent:
            ask(platform)
        time.sleep(0.01)
    assert not victims or {("granted",), ("leased", "delivery.gates"), ("leased", "delivery.staging")} <= seen
    return ended
