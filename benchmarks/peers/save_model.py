"""Runs in the peers' environment: trains one of the models that are served, and saves it as MLflow's users do."""

import json
import sys
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import xgboost
from mlflow.models import infer_signature
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ROWS, FEATURES, TREES = 2_000, 30, 100


class Distance(mlflow.pyfunc.PythonModel):
    """A model of somebody's own: how far a row is from the origin."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:  # noqa: ARG002
        """A distance for each row."""
        return np.sqrt((model_input.to_numpy() ** 2).sum(axis=1))


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    width = 10 if name == "linear" else FEATURES
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(generator.normal(size=(ROWS, width)), columns=[f"f{place}" for place in range(width)])
    labels = (rows.sum(axis=1) + generator.normal(size=ROWS) > 0).astype(int)
    shown = {"input_example": rows[:50]}
    if name in {"forest", "linear"}:
        last = LogisticRegression() if name == "linear" else RandomForestClassifier(TREES, random_state=0, n_jobs=1)
        model: Any = make_pipeline(StandardScaler(), last).fit(rows, labels)
        answers = model.predict_proba(rows)
        mlflow.sklearn.save_model(
            model,
            folder,
            signature=infer_signature(rows, answers),
            pyfunc_predict_fn="predict_proba",
            serialization_format="skops",
            skops_trusted_types=["sklearn.tree._tree.Tree"],
            **shown,
        )
    elif name == "lightgbm":
        options = {"objective": "binary", "verbose": -1, "num_threads": 1}
        model = lightgbm.train(options, lightgbm.Dataset(rows, labels), TREES)
        answers = model.predict(rows)
        mlflow.lightgbm.save_model(model, folder, signature=infer_signature(rows, answers), **shown)
    elif name == "xgboost":
        options = {"objective": "binary:logistic", "nthread": 1}
        model = xgboost.train(options, xgboost.DMatrix(rows, labels), TREES)
        answers = model.predict(xgboost.DMatrix(rows))
        mlflow.xgboost.save_model(model, folder, signature=infer_signature(rows, answers), **shown)
    else:
        answers = Distance().predict(None, rows)
        mlflow.pyfunc.save_model(folder, python_model=Distance(), signature=infer_signature(rows, answers), **shown)
    expected = np.asarray(answers)[0].tolist()
    print(json.dumps({"columns": list(rows.columns), "row": rows.iloc[0].tolist(), "expected": expected}))


if __name__ == "__main__":
    main()
