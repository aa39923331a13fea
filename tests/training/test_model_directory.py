"""The model directory is MLflow's, and refuses what nobody has reviewed."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier

from headrace.errors import PolicyRefused
from headrace.project.environment import EnvironmentLock, capture_environment
from headrace.project.loading import LoadedProject
from headrace.project.params import Params
from headrace.project.training_set import TrainingSet
from headrace.training.model_directory import export_model

FEATURES = np.random.default_rng(0).random((300, 2))
LABEL = (FEATURES[:, 0] > 0.5).astype(np.int64)


def test_the_layout_is_that_of_mlflow(tmp_path: Path) -> None:
    model = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(FEATURES, LABEL)
    lock = EnvironmentLock(python="3.11.7", packages={"scikit-learn": "1.9.1", "skops": "0.16.0", "other": "1"})
    exported = export_model(
        model,
        names=("a", "b"),
        sample=FEATURES,
        directory=tmp_path / "m",
        environment=lock,
        nullable={"b"},
    )
    description = yaml.safe_load((tmp_path / "m" / "MLmodel").read_text())
    tree = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
    assert exported.trusted_types == (tree,)
    assert description["flavors"]["sklearn"] == {
        "code": None,
        "pickled_model": "model.skops",
        "serialization_format": "skops",
        "skops_trusted_types": [tree],
        "sklearn_version": "1.9.1",
    }
    assert description["flavors"]["python_function"]["loader_module"] == "mlflow.sklearn"
    assert description["flavors"]["python_function"]["predict_fn"] == "predict_proba"
    assert description["signature"] == exported.signature
    assert json.loads(exported.signature["inputs"]) == [
        {"type": "double", "name": "a", "required": True},
        {"type": "double", "name": "b", "required": False},
    ]
    requirements = (tmp_path / "m" / "requirements.txt").read_text().split()
    assert requirements[1:] == ["scikit-learn==1.9.1", "skops==0.16.0"]


def test_types_that_nobody_reviewed_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    model = KNeighborsClassifier(algorithm="kd_tree").fit(FEATURES, LABEL)
    with pytest.raises(PolicyRefused, match="KDTree"):
        export_model(
            model,
            names=("a", "b"),
            sample=FEATURES,
            directory=tmp_path / "m",
            environment=capture_environment(),
        )
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("recency", ["raw", "year_table"])
def test_both_recencies_of_the_example_can_be_exported(
    example: LoadedProject, recency: str, tmp_path: Path
) -> None:
    model = example.model("churn")
    names = model.declaration.feature_names
    generator = np.random.default_rng(0)
    features = generator.integers(0, 364, (400, len(names))).astype(np.float64)
    data = TrainingSet(features=features, names=names, label=generator.integers(0, 2, 400), entities=np.arange(400))
    fitted = model(data, Params({**model.declaration.params, "max_iter": 5, "recency": recency}))
    export_model(
        fitted.estimator, names=names, sample=features, directory=tmp_path, environment=capture_environment()
    )
    away_for_a_year = features[:1].copy()
    away_for_a_year[0, data.column("days_since_last_purchase")] = 365.0
    if recency == "raw":
        assert fitted.estimator.predict_proba(away_for_a_year).shape == (1, 2)
    else:
        with pytest.raises(ValueError, match="unknown categories"):
            fitted.estimator.predict_proba(away_for_a_year)
