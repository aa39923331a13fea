"""Which customers of a shop will not buy in the next 90 days."""

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

import headrace as hr

customer = hr.Entity("customer", key="customer_id")
purchases = hr.Source("purchases", "data/cdnow.parquet", time="date")

customer_activity = hr.FeatureView(
    "customer_activity",
    entity=customer,
    source=purchases,
    ttl="730d",
    features={
        "purchase_count_30d": hr.count(window="30d"),
        "purchase_count_90d": hr.count(window="90d"),
        "purchase_count_365d": hr.count(window="365d"),
        "spend_90d": hr.sum("dollar_value", window="90d"),
        "spend_365d": hr.sum("dollar_value", window="365d"),
        "largest_purchase_730d": hr.maximum("dollar_value", window="730d"),
        "days_since_last_purchase": hr.age_of_last(),
        "days_since_first_purchase": hr.age_of_first(),
    },
)

no_purchase_in_90d = hr.Label(
    "no_purchase_in_90d",
    entity=customer,
    source=purchases,
    value=hr.none_within("90d"),
    matures_after="90d",
)


@hr.model(
    "churn",
    features=[customer_activity],
    label=no_purchase_in_90d,
    task="binary",
    params={"recency": "raw", "learning_rate": 0.05, "max_iter": 150, "max_leaf_nodes": 31, "min_samples_leaf": 50},
)
def churn(data: hr.TrainingSet, params: hr.Params) -> hr.Fitted:
    """Boosted trees on what each customer bought, how much and when."""
    classifier = HistGradientBoostingClassifier(
        learning_rate=params.learning_rate,
        max_iter=params.max_iter,
        max_leaf_nodes=params.max_leaf_nodes,
        min_samples_leaf=params.min_samples_leaf,
        early_stopping=False,
        random_state=0,
    )
    if params.recency == "raw":
        return hr.Fitted(classifier.fit(data.features, data.label))
    # One code for each whole day since the last purchase. A year of codes is enough: nobody in the data has
    # stayed away for longer than that.
    codes = OrdinalEncoder(categories=[np.arange(365.0)], handle_unknown="error")
    whole_days = make_pipeline(FunctionTransformer(np.floor), codes)
    table = ColumnTransformer(
        [("year_table", whole_days, [data.column("days_since_last_purchase")])], remainder="passthrough"
    )
    return hr.Fitted(make_pipeline(table, classifier).fit(data.features, data.label))


churn.delivered_by(
    checks=[hr.schema(), hr.completeness(0.99), hr.stable_distribution()],
    search=hr.Search(
        trials=8,
        maximize="roc_auc",
        space={
            "learning_rate": hr.log_uniform(0.03, 0.1),
            "max_iter": hr.integers(100, 200),
            "max_leaf_nodes": hr.integers(15, 31),
            "min_samples_leaf": hr.integers(20, 80),
        },
    ),
    gates=[hr.at_least("roc_auc", 0.65), hr.not_worse_than_production("roc_auc", margin=0.005)],
    staging=hr.replay(rows=500),
    approval=hr.Approval(role="approver", four_eyes=True, expires="7d"),
    # A shop would stay an hour or a day at each step; the demo has only seconds.
    rollout=hr.Canary([5, 25, 50, 100], tolerance=0.01, alpha=0.05, minimum_time="1s", cooling="2s"),
    monitors=[hr.drift(), hr.quality(), hr.performance("roc_auc")],
    retrain=hr.Retrain(on=("drift",), cohorts="month", cooldown="1d"),
    alerts=["ops"],
)
