"""Every format answers as its own library does, from the gateway's own process."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tests.serving import models
from tests.serving.runtimes import directories
from tests.serving.runtimes.directories import LABELS, NAMES, ROWS

from headrace.errors import InternalError, MissingExtra, NotServed
from headrace.serving.runtimes import loaders, xgboost_models
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import Recipe, library

FRAME = pd.DataFrame(ROWS, columns=list(NAMES))
THREE = np.digitize(ROWS[:, 0], [-0.5, 0.5])


def answers(directory: Path, rows: Any = ROWS) -> Any:
    loaded = models.loaded(directory)
    assert not loaded.hosted
    return loaded.predict(rows)


@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_xgboost_labels_are_those_of_its_classifier(tmp_path: Path, ending: str) -> None:
    model = xgboost.XGBClassifier(n_estimators=8, n_jobs=1).fit(FRAME, LABELS)
    found = answers(directories.xgboost_model(tmp_path / "m", model, ending=ending))
    np.testing.assert_array_equal(found, model.predict(FRAME))
    several = xgboost.XGBClassifier(n_estimators=4, n_jobs=1).fit(FRAME, THREE)
    found = answers(directories.xgboost_model(tmp_path / "n", several, ending=ending))
    np.testing.assert_array_equal(found, several.predict(FRAME))


def test_xgboost_stops_where_training_found_the_best_as_its_classes_do(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, len(LABELS))
    model = xgboost.XGBClassifier(n_estimators=50, n_jobs=1, early_stopping_rounds=2, learning_rate=1.0)
    model.fit(FRAME, LABELS, eval_set=[(FRAME, noise)], verbose=False)
    assert model.best_iteration < 49
    found = answers(directories.xgboost_model(tmp_path / "m", model))
    np.testing.assert_array_equal(found, model.predict(FRAME))


@pytest.mark.parametrize("booster", ["gbtree", "gblinear", "dart"])
def test_xgboost_values_are_those_of_its_booster(tmp_path: Path, booster: str) -> None:
    model = xgboost.XGBRegressor(n_estimators=8, n_jobs=1, booster=booster).fit(FRAME, ROWS[:, 0] * 2)
    found = answers(directories.xgboost_model(tmp_path / "m", model))
    np.testing.assert_allclose(found, model.predict(FRAME), rtol=1e-6)
    found = answers(directories.xgboost_model(tmp_path / "n", model.get_booster()))
    np.testing.assert_allclose(found, model.get_booster().predict(xgboost.DMatrix(FRAME)), rtol=1e-6)


def test_a_class_that_is_not_xgboosts_is_not_imported(tmp_path: Path) -> None:
    model = xgboost.XGBRegressor(n_estimators=1, n_jobs=1).fit(FRAME, ROWS[:, 0])
    directory = directories.xgboost_model(tmp_path / "m", model)
    models.change_description(
        directory, lambda description: description["flavors"]["xgboost"].update(model_class="os.system")
    )
    with pytest.raises(NotServed, match=r"os\.system"):
        models.loaded(directory)


def test_the_columns_of_trees_are_those_of_the_signature(tmp_path: Path) -> None:
    turned = FRAME[list(NAMES[::-1])]
    trees = xgboost.XGBRegressor(n_estimators=1, n_jobs=1).fit(turned, ROWS[:, 0])
    with pytest.raises(NotServed, match="trained on"):
        models.loaded(directories.xgboost_model(tmp_path / "m", trees))
    fewer = lightgbm.train({"verbose": -1}, lightgbm.Dataset(ROWS[:, :2], LABELS), 2)
    with pytest.raises(NotServed, match="2 columns"):
        models.loaded(directories.lightgbm_model(tmp_path / "n", fewer))


def test_a_lightgbm_booster_answers_with_its_values(tmp_path: Path) -> None:
    for objective, target in (("binary", LABELS), ("multiclass", THREE), ("regression", ROWS[:, 0])):
        params = {"objective": objective, "verbose": -1, "num_class": 3 if objective == "multiclass" else 1}
        booster = lightgbm.train(params, lightgbm.Dataset(FRAME, target), 5)
        found = answers(directories.lightgbm_model(tmp_path / objective, booster))
        np.testing.assert_array_equal(found, booster.predict(FRAME))


@pytest.mark.parametrize("answer", ["predict", "predict_proba"])
def test_a_lightgbm_estimator_in_skops_answers_with_its_labels(tmp_path: Path, answer: str) -> None:
    for target in (np.where(LABELS, "yes", "no"), THREE):
        model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(FRAME, target)
        directory = tmp_path / f"m{len(set(target.tolist()))}"
        directory.mkdir()
        skops.io.dump(model, directory / "model.skops")
        kind = {"data": "model.skops", "model_class": "lightgbm.sklearn.LGBMClassifier"}
        directories.describe(directory, "lightgbm", {**kind, "serialization_format": "skops"})
        models.change_description(
            directory, lambda description: description["flavors"]["python_function"].update(predict_fn=answer)
        )
        np.testing.assert_array_equal(answers(directory), getattr(model, answer)(FRAME))


def test_a_text_of_trees_that_was_cut_off_is_told(tmp_path: Path) -> None:
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(FRAME, LABELS), 3)
    directory = directories.lightgbm_model(tmp_path / "m", booster)
    content = (directory / "model.lgb").read_bytes()
    (directory / "model.lgb").write_bytes(content[: len(content) // 2])
    with pytest.raises(InternalError, match="could not be read"):
        models.loaded(directory)


def test_an_onnx_graph_of_one_matrix_answers_with_a_frame_as_mlflow_does(tmp_path: Path) -> None:
    found = answers(directories.onnx_model(tmp_path / "m", directories.check(directories.sum_graph())))
    np.testing.assert_allclose(found["total"], ROWS.sum(axis=1), rtol=1e-5)
    assert found["total"].shape == (300,)


def test_an_onnx_graph_of_named_columns_gets_each_of_them(tmp_path: Path) -> None:
    columns = [{"name": name, "type": "double"} for name in ("right", "left")]
    directory = directories.onnx_model(tmp_path / "m", directories.two_input_graph(), inputs=columns)
    found = answers(directory, ROWS[:, :2])
    np.testing.assert_allclose(found["product"], ROWS[:, 0] * ROWS[:, 1], rtol=1e-5)
    columns = [{"name": name, "type": "double"} for name in ("up", "left")]
    with pytest.raises(NotServed, match="left, right"):
        models.loaded(directories.onnx_model(tmp_path / "n", directories.two_input_graph(), inputs=columns))


def test_texts_reach_an_estimator_as_a_frame(tmp_path: Path) -> None:
    frame = pd.DataFrame({"city": ["Rome", "Oslo", "Rome", None], "age": [1, 2, 3, 4]})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(frame, [0, 1, 0, 1])
    skops.io.dump(model, tmp_path / "model.skops")
    recipe = Recipe("skops", file="model.skops", columns=(("city", "string"), ("age", "long")))
    predict = loaders.load_here(ModelFiles(tmp_path), recipe)
    columns = {name: np.asarray(frame[name], dtype=object) for name in frame} | {"age": frame["age"].to_numpy()}
    np.testing.assert_array_equal(predict(columns, None), model.predict(frame))


def test_a_library_that_is_missing_is_told_with_the_line_that_installs_it() -> None:
    with pytest.raises(MissingExtra) as missing:
        library("xgboost.no_such_module")
    assert missing.value.fix == "pip install 'headrace[xgboost]'"
    with pytest.raises(MissingExtra) as missing:
        library("catboost_that_nobody_has")
    assert missing.value.fix == "pip install catboost_that_nobody_has"


def test_the_classes_that_answer_with_labels_are_among_those_that_are_known() -> None:
    assert xgboost_models.CLASSIFIERS < xgboost_models.CLASSES
