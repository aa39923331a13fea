"""Run by the Python of a real MLflow: saves models of every kind, and what MLflow's own scoring would answer.

    python mlflow_models.py FOLDER

Each model becomes FOLDER/<name>/model with FOLDER/<name>/expected.json beside it: the body of a request, and the
predictions as MLflow's scoring server writes them.
"""

import json
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import lightgbm
import mlflow  # type: ignore[import-not-found]
import mlflow.lightgbm  # type: ignore[import-not-found]
import mlflow.pyfunc  # type: ignore[import-not-found]
import mlflow.sklearn  # type: ignore[import-not-found]
import mlflow.xgboost  # type: ignore[import-not-found]
import numpy as np
import pandas as pd
import xgboost
from mlflow.models import infer_signature  # type: ignore[import-not-found]
from mlflow.pyfunc.scoring_server import predictions_to_json  # type: ignore[import-not-found]
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

GENERATOR = np.random.default_rng(5)
FRAME = pd.DataFrame(
    {
        "age": GENERATOR.integers(18, 90, 200),
        "income": GENERATOR.normal(50_000, 20_000, 200).round(2),
        "active": GENERATOR.integers(0, 2, 200).astype(bool),
    }
)
LABELS = ((FRAME["income"] > 50_000) ^ (FRAME["age"] > 60)).astype(int)
NAMED = np.where(LABELS, "leave", "stay")
BANDS = pd.qcut(FRAME["income"], 3, labels=False)
NUMBERS = FRAME.astype(float)
TEXTS = FRAME.assign(city=GENERATOR.choice(["Rome", "Oslo", "Lima"], 200))

SCRIPT = """
import mlflow


class Doubled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        factor = (params or {}).get("factor", 2.0)
        return model_input["income"] * factor


mlflow.models.set_model(Doubled())
"""


class Banded(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Answers with a frame of a text and a number."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Bands and shares."""
        del context, params
        bands = np.where(model_input["income"] > 50_000, "high", "low")
        return pd.DataFrame({"band": bands, "share": model_input["income"] / 1e5})


class Told(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Answers with what it was given."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Names and types of the columns, and each row's values."""
        del context, params
        given = " ".join(f"{name}:{kind}" for name, kind in model_input.dtypes.items())
        return [f"{given} {row.tolist()!r}" for row in model_input.astype(float).to_numpy()]


def sklearn_models() -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Name, model, frame, and options of saving."""
    trees = {"serialization_format": "skops", "skops_trusted_types": ["sklearn.tree._tree.Tree", "numpy.dtype"]}
    boosted = {
        "serialization_format": "skops",
        "skops_trusted_types": ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"],
    }
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(NUMBERS, LABELS)
    yield "labels", scaled, NUMBERS, {"serialization_format": "skops"}
    yield "probabilities", scaled, NUMBERS, {"serialization_format": "skops", "pyfunc_predict_fn": "predict_proba"}
    named = make_pipeline(StandardScaler(), RandomForestClassifier(10, random_state=0)).fit(FRAME, NAMED)
    yield "named-labels", named, FRAME, trees
    yield "bands", HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(NUMBERS, BANDS), NUMBERS, boosted
    yield "values", LinearRegression().fit(FRAME, FRAME["income"] * 2), FRAME, {"serialization_format": "skops"}
    yield "pickled", named, FRAME, {"serialization_format": "cloudpickle"}
    chosen = ColumnTransformer(
        [("city", OneHotEncoder(handle_unknown="ignore"), ["city"]), ("rest", StandardScaler(), ["age", "income"])]
    )
    texts = make_pipeline(chosen, LogisticRegression()).fit(TEXTS, LABELS)
    yield "texts", texts, TEXTS, {"serialization_format": "skops"}


def save(folder: Path) -> None:
    """Save every model."""
    for name, model, frame, options in sklearn_models():
        signature = infer_signature(frame, model.predict(frame))
        mlflow.sklearn.save_model(model, folder / name / "model", signature=signature, **options)
        expect(folder / name, frame)
    signature = infer_signature(NUMBERS, LABELS)
    classifier = xgboost.XGBClassifier(n_estimators=10, n_jobs=1)
    for name, model in (
        ("xgboost-labels", classifier.fit(NUMBERS, LABELS)),
        ("xgboost-values", xgboost.XGBRegressor(n_estimators=10, n_jobs=1).fit(NUMBERS, FRAME["income"])),
        ("xgboost-booster", classifier.get_booster()),
    ):
        mlflow.xgboost.save_model(model, folder / name / "model", signature=signature)
        expect(folder / name, NUMBERS)
    boosted = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1).fit(NUMBERS, NAMED)
    mlflow.lightgbm.save_model(boosted.booster_, folder / "lightgbm-booster" / "model", signature=signature)
    expect(folder / "lightgbm-booster", NUMBERS)
    options = {"signature": signature, "serialization_format": "skops"}
    mlflow.lightgbm.save_model(boosted, folder / "lightgbm-labels" / "model", **options)
    expect(folder / "lightgbm-labels", NUMBERS)
    save_python_models(folder)
    save_tensor_models(folder)


def save_tensor_models(folder: Path) -> None:
    """Save models that were trained on arrays, whose signature is a tensor without names."""
    matrix = NUMBERS.to_numpy()
    signature = infer_signature(matrix, LABELS.to_numpy())
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(matrix, LABELS)
    mlflow.sklearn.save_model(
        scaled, folder / "tensor" / "model", signature=signature, serialization_format="skops"
    )
    expect_tensor(folder / "tensor", matrix)
    classifier = xgboost.XGBClassifier(n_estimators=10, n_jobs=1).fit(matrix, LABELS)
    mlflow.xgboost.save_model(classifier, folder / "xgboost-tensor" / "model", signature=signature)
    expect_tensor(folder / "xgboost-tensor", matrix)
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(matrix, LABELS), 5)
    mlflow.lightgbm.save_model(booster, folder / "lightgbm-tensor" / "model", signature=signature)
    expect_tensor(folder / "lightgbm-tensor", matrix)


def expect_tensor(folder: Path, matrix: Any) -> None:
    """Write down what MLflow answers to an array."""
    rows = matrix[:40]
    write(
        folder / "expected.json",
        {"inputs": rows.tolist()},
        mlflow.pyfunc.load_model(str(folder / "model")).predict(rows),
    )


def save_python_models(folder: Path) -> None:
    """Save one model as a pickle and one as code."""
    signature = infer_signature(FRAME, pd.DataFrame({"band": ["low"], "share": [0.1]}))
    mlflow.pyfunc.save_model(folder / "python-frame" / "model", python_model=Banded(), signature=signature)
    expect(folder / "python-frame", FRAME)
    for name, frame in (("python-doubles", NUMBERS), ("python-numbers", FRAME)):
        signature = infer_signature(frame, ["text"])
        mlflow.pyfunc.save_model(folder / name / "model", python_model=Told(), signature=signature)
        expect(folder / name, frame)
    script = folder / "doubled.py"
    script.write_text(SCRIPT)
    signature = infer_signature(FRAME, FRAME["income"], params={"factor": 2.0})
    mlflow.pyfunc.save_model(folder / "python-code" / "model", python_model=str(script), signature=signature)
    expect(folder / "python-code", FRAME)
    expect(folder / "python-code", FRAME, params={"factor": 3.0}, name="with-params.json")


def expect(folder: Path, frame: Any, *, params: Any = None, name: str = "expected.json") -> None:
    """Write down what MLflow answers."""
    rows = frame.head(40)
    model = mlflow.pyfunc.load_model(str(folder / "model"))
    body = {"dataframe_split": {"columns": list(rows.columns), "data": json.loads(rows.to_json(orient="values"))}}
    if params:
        body["params"] = params
    write(folder / name, body, model.predict(rows, params=params))


def write(path: Path, body: dict[str, Any], predictions: Any) -> None:
    """Keep a request and its answer, as MLflow's scoring server writes it."""
    written = StringIO()
    predictions_to_json(predictions, written)
    path.write_text(json.dumps({"body": body, "predictions": json.loads(written.getvalue())["predictions"]}))


if __name__ == "__main__":
    save(Path(sys.argv[1]))
