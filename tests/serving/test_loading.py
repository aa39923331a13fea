"""Loading: safe formats only, verified bytes, and answers like the estimator's own."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from tests.serving import models

from headrace.errors import InternalError, NotFound, NotServed, PolicyRefused
from headrace.serving.inputs import Array, row_answers
from headrace.serving.loading import LoadedModel, load
from headrace.serving.model_files import ModelFiles


def answers(loaded: LoadedModel, rows: Array) -> list[Any]:
    return row_answers(loaded.predict(rows))


def test_a_binary_classifier_answers_with_the_probability_of_its_second_class(tmp_path: Path) -> None:
    estimator = models.binary_model()
    loaded = load(ModelFiles(models.write_model(tmp_path, estimator)))
    assert loaded.signature.names == models.NAMES
    np.testing.assert_array_equal(
        answers(loaded, models.features()), estimator.predict_proba(models.features())[:, 1]
    )


def test_several_classes_answer_with_all_probabilities_and_a_regression_with_its_value(tmp_path: Path) -> None:
    rows = models.features(3)
    several = load(ModelFiles(models.write_model(tmp_path / "a", models.three_class_model())))
    assert np.shape(answers(several, rows)) == (3, 3)
    regression = load(ModelFiles(models.write_model(tmp_path / "b", models.regression_model())))
    np.testing.assert_allclose(answers(regression, rows), rows @ [2.0, 3.0])


def test_every_part_of_an_ensemble_predicts_on_one_core(tmp_path: Path) -> None:
    rows = models.features()
    inner = RandomForestClassifier(3, n_jobs=-1, random_state=0)
    estimator = CalibratedClassifierCV(inner, cv=2).fit(rows, (rows[:, 0] > 0).astype(int))
    estimator.n_jobs = -1  # not while fitting: that would start processes
    predict = load(ModelFiles(models.write_model(tmp_path, estimator))).predict
    held = predict.__closure__[0].cell_contents.__self__  # type: ignore[index]
    assert held.n_jobs == 1
    assert [part.estimator.n_jobs for part in held.calibrated_classifiers_] == [1, 1]


def test_a_pickle_is_refused_with_the_way_to_log_it(tmp_path: Path) -> None:
    models.write_model(tmp_path, models.binary_model())
    description = yaml.safe_load((tmp_path / "MLmodel").read_text())
    description["flavors"]["sklearn"] |= {"serialization_format": "cloudpickle", "pickled_model": "model.pkl"}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(description))
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({}))
    with pytest.raises(PolicyRefused, match="serialization_format='skops'"):
        load(ModelFiles(tmp_path))


def test_types_that_nobody_reviewed_are_refused_by_name(tmp_path: Path) -> None:
    files = ModelFiles(models.write_model(tmp_path, models.forest()))
    with pytest.raises(PolicyRefused, match=r"sklearn\.tree\._tree\.Tree"):
        load(files, trusted=())
    assert np.shape(answers(load(files), models.features(2))) == (2,)


def test_a_directory_without_such_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {python_function: {loader_module: something}}")
    with pytest.raises(NotServed):
        load(ModelFiles(tmp_path))
    (tmp_path / "MLmodel").write_text("flavors: [unclosed")
    with pytest.raises(InternalError):
        load(ModelFiles(tmp_path))
    (tmp_path / "MLmodel").unlink()
    with pytest.raises(NotFound):
        load(ModelFiles(tmp_path))


def test_a_damaged_file_is_told_as_such(tmp_path: Path) -> None:
    models.write_model(tmp_path, models.binary_model())
    (tmp_path / "model.skops").write_bytes(b"PK not a zip")
    with pytest.raises(InternalError, match="could not be read"):
        load(ModelFiles(tmp_path))


def test_a_model_trained_on_a_frame_must_have_the_columns_of_its_signature(tmp_path: Path) -> None:
    estimator = models.regression_model()
    estimator.feature_names_in_ = np.array(["spend", "purchases"], dtype=object)
    models.write_model(tmp_path, estimator)
    with pytest.raises(NotServed, match="trained on"):
        load(ModelFiles(tmp_path))
    loaded = load(
        ModelFiles(models.write_model(tmp_path, estimator, names=("spend", "purchases"))),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.shape(answers(loaded, models.features(2))) == (2,)
