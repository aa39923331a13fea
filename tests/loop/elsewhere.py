"""A project whose versions come from elsewhere: it is declared for the sake of how they are delivered."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.sdk.platform import Platform

_PROJECT = '''"""A model whose versions come from elsewhere."""

import headrace as hr

customer = hr.Entity("customer", key="customer_id")
events = hr.Source("events", "events.parquet", time="day")
activity = hr.FeatureView(
    "activity", entity=customer, source=events, ttl="365d", features={{"count_60d": hr.count(window="60d")}}
)
gone = hr.Label("gone", entity=customer, source=events, value=hr.none_within("30d"), matures_after="30d")


@hr.model("{model}", features=[activity], label=gone, task="binary")
def train(data: hr.TrainingSet, params: hr.Params) -> hr.Fitted:
    raise AssertionError("its versions come from elsewhere")


train.delivered_by({delivery})
'''


def apply(local: Platform, folder: Path, *, model: str, delivery: str) -> None:
    """Declare the model with these arguments of `delivered_by`, in a new folder."""
    folder.mkdir()
    days = pa.array(range(20_000, 20_100), pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"customer_id": pa.array(range(100)), "day": days}), folder / "events.parquet")
    (folder / "project.py").write_text(_PROJECT.format(model=model, delivery=delivery))
    local.apply(*local.plan(folder / "project.py"))
    local.settle()
