"""Runs in the peers' environment: a saved model as a function of a matrix, by its own library if it has one."""

import warnings
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd


def load_model(folder: str) -> Callable[[Any], Any]:
    """The model's function, which MLflow's wrapper would only slow down."""
    flavors = mlflow.models.Model.load(folder).flavors
    if "sklearn" in flavors:
        model = mlflow.sklearn.load_model(folder)
        warnings.filterwarnings("ignore", message="X does not have valid feature names")  # a frame would cost more
        return model.predict_proba
    if "lightgbm" in flavors:
        return mlflow.lightgbm.load_model(folder).predict
    if "xgboost" in flavors:
        booster = mlflow.xgboost.load_model(folder)
        return lambda rows: booster.inplace_predict(np.asarray(rows), validate_features=False)
    python_model = mlflow.pyfunc.load_model(folder).unwrap_python_model()
    return lambda rows: python_model.predict(None, pd.DataFrame(rows))
