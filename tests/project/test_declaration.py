"""Declarations check themselves at the user's line, go through JSON unchanged, and compare without their lines."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import headrace as hr
from headrace.errors import ProjectError
from headrace.project.declaration import Declaration, definition, definition_digest
from headrace.project.label import NoneWithin
from headrace.project.policy import DeliveryPolicy

CUSTOMER = hr.Entity("customer", key="customer_id")
PURCHASES = hr.Source("purchases", "data/purchases.parquet", time="date")
VIEW = hr.FeatureView(
    "activity",
    entity=CUSTOMER,
    source=PURCHASES,
    features={"purchases_90d": hr.count(window="90d"), "age": hr.age_of_last()},
    ttl="365d",
)
LABEL = hr.Label("left", entity=CUSTOMER, source=PURCHASES, value=hr.none_within("90d"), matures_after="90d")


def view(**changes: Any) -> hr.FeatureView:
    values: dict[str, Any] = {"entity": CUSTOMER, "source": PURCHASES, "features": VIEW.features, "ttl": "365d"}
    return hr.FeatureView("activity", **values | changes)


def label(name: str) -> hr.Label:
    return hr.Label(name, entity=CUSTOMER, source=PURCHASES, value=hr.none_within("90d"), matures_after="90d")


def policy(**values: Any) -> DeliveryPolicy:
    return DeliveryPolicy(**values)


def declare(name: Any = "churn", **changes: Any) -> Any:
    values: dict[str, Any] = {"features": [VIEW], "label": LABEL}
    return hr.model(name, **values | changes)(lambda data, params: hr.Fitted(None))


DECLARATIONS: list[Declaration] = [
    CUSTOMER,
    PURCHASES,
    VIEW,
    LABEL,
    hr.mean("value", window="2w"),
    hr.completeness(0.9),
    hr.at_least("roc_auc", 0.7),
    hr.at_most("brier", 0.2),
    hr.not_worse_than_production("log_loss", margin=0.01),
    hr.column("age", source=PURCHASES, edges=[18, 65]),
    hr.fair(["age", hr.column("region", source=PURCHASES)], at_most=0.1, margin=0.02),
    hr.fair(["age"], measure="equalized_odds_ratio", at_least=0.8, small_groups="left_out"),
    hr.calibrated(at_most=0.05),
    hr.slices("f1", ["age"], margin=0.02, threshold=0.3),
    hr.slices("log_loss", [hr.column("age", quantiles=2)], bound=0.7, alarm=True),
    hr.latency(p95_ms=20, slower_at_most=0.2),
    hr.size(at_most_bytes=1_000),
    hr.Search(3, "roc_auc", {"a": hr.log_uniform(0.1, 1), "b": hr.integers(1, 3), "c": hr.choice("x", None)}),
    hr.replay(10),
    hr.Approval(),
    hr.Canary([10, 100]),
    hr.drift(),
    hr.quality(),
    hr.performance("roc_auc"),
    hr.Retrain(),
    declare().declaration,
]

MISTAKES: list[tuple[Callable[[], object], str]] = [
    (lambda: hr.Entity("Customer", key="id"), "'Customer' is not a name for an entity"),
    (lambda: hr.Entity("customer", key="customer id"), "is not a name for an entity's key column"),
    (lambda: hr.Entity(3, key="id"), "3 is not a name"),  # type: ignore[arg-type]
    (lambda: hr.Source("p", "../p.parquet", time="t"), "leaves the project"),
    (lambda: hr.Source("p", "/data/p.parquet", time="t"), "leaves the project"),
    (lambda: hr.Source("p", "p.xlsx", time="t"), "neither Parquet nor CSV"),
    (lambda: hr.Source("p", "p.parquet", time=""), "time cannot be ''"),
    (lambda: hr.count(window="90 days"), "window '90 days' is not a duration"),
    (lambda: hr.count(window="0d"), "is empty"),
    (lambda: hr.count(window=90), "window 90 is not a duration"),  # type: ignore[arg-type]
    (lambda: hr.sum("", window="90d"), "sum needs a column"),
    (lambda: view(ttl="30d"), "looks back 90d, further than the view's ttl of 30d"),
    (lambda: view(features={}), "needs features"),
    (lambda: view(features={"customer_id": hr.age_of_last()}), "cannot be called 'customer_id'"),
    (lambda: view(features={"as_of": hr.age_of_last()}), "cannot be called 'as_of'"),
    (lambda: view(features={"x": "count"}), "x is not a feature"),
    (lambda: view(entity="customer"), "entity must be hr.Entity, not str"),
    (lambda: hr.Label("l", CUSTOMER, PURCHASES, hr.none_within("90d")), "does not say when it is final"),
    (
        lambda: hr.Label("l", CUSTOMER, PURCHASES, hr.none_within("90d"), matures_after="30d"),
        "matures after 30d, within its window of 90d",
    ),
    (lambda: hr.Label("l", CUSTOMER, PURCHASES, "90d", "90d"), "needs a value"),  # type: ignore[arg-type]
    (lambda: declare(features=[VIEW, view(ttl="400d")]), "purchases_90d comes from both"),
    (lambda: declare(features=VIEW), "needs a list of feature views"),
    (lambda: declare(features=[view(entity=hr.Entity("shop", key="shop_id"))]), "is about shop"),
    (lambda: declare(task="ranking"), "'ranking' is not known"),
    (lambda: declare(params={"grid": [1, 2]}), "default of grid cannot be logged"),
    (lambda: declare(name="the model"), "is not a name for a model"),
    (lambda: hr.completeness(1.5), "minimum cannot be 1.5"),
    (lambda: hr.stable_distribution(alpha=0), "alpha cannot be 0"),
    (lambda: hr.at_least("auc", 0.7), "'auc' is not a known metric"),
    (lambda: hr.at_least("log_loss", 0.7), "better when lower"),
    (lambda: hr.at_least("roc_auc", 70), "value cannot be 70"),
    (lambda: hr.not_worse_than_production("roc_auc", margin=-0.1), "margin cannot be -0.1"),
    (lambda: hr.not_worse_than_production("roc_auc", margin="1"), "margin cannot be '1'"),  # type: ignore[arg-type]
    (lambda: hr.at_most("roc_auc", 0.7), "better when higher"),
    (lambda: hr.at_most("brier", -1), "value cannot be -1"),
    (lambda: hr.at_least("roc_auc", 0.7, threshold=0.3), "roc_auc is not cut at a threshold"),
    (lambda: hr.at_least("f1", 0.7, threshold=1), "threshold cannot be 1"),
    (lambda: hr.column("", source=PURCHASES), "name cannot be ''"),
    (lambda: hr.column("age", source="people"), "source must be hr.Source, not str"),  # type: ignore[arg-type]
    (lambda: hr.column("age", edges=[65, 18]), "edges cannot be [65, 18]"),
    (lambda: hr.column("age", edges=[]), "edges cannot be []"),
    (lambda: hr.column("age", edges=[float("nan")]), "edges cannot be [nan]"),
    (lambda: hr.column("age", quantiles=1), "quantiles cannot be 1"),
    (lambda: hr.fair("age", at_most=0.1), "by must be a list of columns"),
    (lambda: hr.fair([], at_most=0.1), "by must be a list of columns"),
    (lambda: hr.fair([3], at_most=0.1), "3 is not a column"),  # type: ignore[list-item]
    (lambda: hr.fair(["age", "age"], at_most=0.1), "by cannot be age, age"),
    (lambda: hr.fair(["age"]), "nothing is asked of the groups"),
    (lambda: hr.fair(["age"], at_least=0.8), "at_least does not fit demographic_parity_difference"),
    (lambda: hr.fair(["age"], at_most=2), "at_most cannot be 2"),
    (lambda: hr.fair(["age"], measure="parity", at_most=0.1), "'parity' is not a known measure"),  # type: ignore[arg-type]
    (lambda: hr.fair(["age"], at_most=0.1, minimum_rows=3), "minimum_rows cannot be 3"),
    (
        lambda: hr.fair(["age"], at_most=0.1, small_groups="ignored"),  # type: ignore[arg-type]
        "small_groups cannot be 'ignored'",
    ),
    (
        lambda: hr.fair(["age"], measure="demographic_parity_ratio", margin=0.1),
        "the change of a ratio is not judged",
    ),
    (lambda: hr.calibrated(at_most=0), "at_most cannot be 0"),
    (lambda: hr.slices("roc_auc", ["age"]), "nothing is asked of the slices"),
    (lambda: hr.slices("auc", ["age"], margin=0.1), "'auc' is not a known metric"),
    (lambda: hr.slices("roc_auc", ["age"], margin=0), "margin cannot be 0"),
    (lambda: hr.slices("roc_auc", ["age"], bound=-1), "bound cannot be -1"),
    (hr.latency, "nothing is asked of the latency"),
    (lambda: hr.latency(p95_ms=0), "p95_ms cannot be 0"),
    (lambda: hr.latency(slower_at_most=-0.1), "slower_at_most cannot be -0.1"),
    (lambda: hr.size(at_most_bytes=0.5), "at_most_bytes cannot be 0.5"),  # type: ignore[arg-type]
    (lambda: policy(holdout_uses=0), "holdout_uses cannot be 0"),
    (lambda: hr.log_uniform(0, 1), "low cannot be 0"),
    (lambda: hr.log_uniform(1, 0.1), "high cannot be 0.1"),
    (lambda: declare(label=label("age")), "two columns of the training set would be called 'age'"),
    (lambda: declare(label=label("holdout")), "two columns of the training set would be called 'holdout'"),
    (lambda: declare(label=label("as_of")), "two columns of the training set would be called 'as_of'"),
    (lambda: declare(label=label("customer_id")), "two columns of the training set would be called 'customer_id'"),
    (
        lambda: declare(features=[view(features={"holdout": hr.age_of_last()})]),
        "two columns of the training set would be called 'holdout'",
    ),
    (lambda: hr.uniform(1, float("inf")), "high cannot be inf"),
    (lambda: hr.integers(1, 2.5), "high cannot be 2.5"),  # type: ignore[arg-type]
    (hr.choice, "needs options"),
    (lambda: hr.choice([1]), "cannot be an option"),  # type: ignore[arg-type]
    (lambda: hr.Search(0, "roc_auc", {"a": hr.integers(1, 2)}), "trials cannot be 0"),
    (lambda: hr.Search(1, "roc_auc", {}), "needs a space"),
    (lambda: hr.Search(1, "brier", {"a": hr.integers(1, 2)}), "better when lower"),
    (lambda: hr.Search(1, "roc_auc", {"a": (1, 2)}), "a is not a dimension"),  # type: ignore[dict-item]
    (lambda: hr.replay(0), "rows cannot be 0"),
    (lambda: hr.Approval(role="viewer"), "'viewer' cannot approve"),  # type: ignore[arg-type]
    (lambda: hr.Approval(expires="never"), "expires 'never' is not a duration"),
    (lambda: hr.Canary([5, 25, 50]), "do not increase to 100"),
    (lambda: hr.Canary([25, 5, 100]), "do not increase to 100"),
    (lambda: hr.Canary([]), "do not increase to 100"),
    (lambda: hr.Canary([0, 100]), "do not increase to 100"),
    (lambda: hr.Canary(tolerance=1), "tolerance cannot be 1"),
    (lambda: hr.drift(every="monthly"), "'monthly' is not a cron line"),
    (lambda: hr.drift(every="0 0 31 2 *"), "is not a cron line"),
    (lambda: hr.quality(tolerance=2), "tolerance cannot be 2"),
    (lambda: hr.performance("auc"), "'auc' is not a known metric"),
    (lambda: hr.Retrain(on="drift"), "must be a list"),  # type: ignore[arg-type]
    (lambda: hr.Retrain(on=("weather",)), "cannot start on"),  # type: ignore[arg-type]
    (lambda: policy(gates=[hr.drift()]), "does not belong in gates"),
    (lambda: policy(checks=hr.schema()), "checks must be a list"),
    (lambda: policy(search=hr.schema()), "search must be a hr.Search"),
    (lambda: policy(alerts=["slack://token"]), "names a channel, not an address"),
    (lambda: policy(retrain=hr.Retrain(on=("drift",))), "without a drift monitor never happens"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_refused_at_its_line_with_a_remedy(mistake: Callable[[], object], message: str) -> None:
    with pytest.raises(ProjectError) as raised:
        mistake()
    assert message in raised.value.message
    assert raised.value.where is not None
    assert raised.value.where.startswith("test_declaration.py:")
    assert raised.value.fix


@pytest.mark.parametrize("declaration", DECLARATIONS, ids=lambda declaration: type(declaration).__name__)
def test_json_goes_both_ways(declaration: Declaration) -> None:
    again = msgspec.json.decode(msgspec.json.encode(declaration), type=type(declaration))
    assert definition(again) == definition(declaration)
    assert again.declared_at == declaration.declared_at
    assert msgspec.json.encode(again) == msgspec.json.encode(declaration)


def test_what_arrives_as_json_obeys_the_same_rules() -> None:
    with pytest.raises(ProjectError, match="not a name"):
        msgspec.json.decode(b'{"name": "No Name", "key": "id"}', type=hr.Entity)


def test_a_line_is_not_part_of_what_is_said() -> None:
    one = hr.Entity("customer", key="id")
    two = hr.Entity("customer", key="id")
    assert one.declared_at != two.declared_at
    assert definition_digest(one) == definition_digest(two)
    assert definition_digest(hr.Entity("customer", key="other")) != definition_digest(one)


def test_helpers_remember_the_users_line() -> None:
    here = NoneWithin("90d").declared_at
    assert here.startswith("test_declaration.py:")
    line = int(here.partition(":")[2])
    assert hr.none_within("90d").declared_at == f"test_declaration.py:{line + 3}"


def test_a_model_is_delivered_once() -> None:
    model = declare()
    model.delivered_by(gates=[hr.at_least("roc_auc", 0.7)], alerts=["ops"])
    assert model.declaration.policy.alerts == ("ops",)
    assert model.declaration.policy.declared_at.startswith("test_declaration.py:")
    with pytest.raises(ProjectError, match="delivered twice"):
        model.delivered_by()


def test_a_model_trains_as_its_function_does() -> None:
    made = hr.Fitted("estimator")
    model = hr.model("churn", features=[VIEW], label=LABEL)(lambda data, params: made)
    assert model(None, hr.Params({})) is made  # type: ignore[arg-type]
    assert model.declaration.feature_names == ("purchases_90d", "age")
