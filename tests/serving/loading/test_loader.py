"""Loading: safe formats here, verified bytes, answers like the estimator's own, a clear word on what is refused."""

import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.serving import models

from headrace.errors import InternalError, NotFound, NotServed, PolicyRefused, TooLarge, Unavailable
from headrace.kernel.blobs import open_blob_store
from headrace.serving.loading.environments import Environments
from headrace.serving.loading.loader import load_alone, open_loader
from headrace.serving.loading.model_files import ModelCache
from headrace.serving.nouns import Loading
from headrace.serving.runtimes.files import ModelFiles


def test_a_binary_classifier_of_ours_answers_with_the_probability_of_its_second_class(tmp_path: Path) -> None:
    estimator = models.binary_model()
    loaded = models.loaded(models.write_model(tmp_path / "m", estimator))
    assert loaded.signature.names == models.NAMES
    assert (loaded.runtime, loaded.hosted) == ("skops", False)
    np.testing.assert_array_equal(
        loaded.predict(models.features()), estimator.predict_proba(models.features())[:, 1]
    )


def test_several_classes_answer_with_all_probabilities_and_a_regression_with_its_value(tmp_path: Path) -> None:
    rows = models.features(3)
    several = models.loaded(models.write_model(tmp_path / "a", models.three_class_model()))
    assert np.asarray(several.predict(rows)).shape == (3, 3)
    regression = models.loaded(models.write_model(tmp_path / "b", models.regression_model()))
    np.testing.assert_allclose(np.asarray(regression.predict(rows)), rows @ [2.0, 3.0])


@pytest.mark.parametrize("answer", [None, "predict", "predict_proba", "predict_log_proba"])
def test_a_model_that_mlflow_logged_answers_as_mlflow_would(tmp_path: Path, answer: str | None) -> None:
    estimator = models.binary_model()
    directory = models.write_model(tmp_path / "m", estimator)

    def logged_by_mlflow(description: dict[str, Any]) -> None:
        del description["metadata"]
        function = {"loader_module": "mlflow.sklearn"} | ({} if answer is None else {"predict_fn": answer})
        description["flavors"]["python_function"] = function

    models.change_description(directory, logged_by_mlflow)
    expected = getattr(estimator, answer or "predict")(models.features())
    np.testing.assert_array_equal(models.loaded(directory).predict(models.features()), expected)


def test_labels_may_be_texts(tmp_path: Path) -> None:
    rows = models.features()
    estimator = LogisticRegression().fit(rows, np.where(rows[:, 0] > 0, "stay", "leave"))
    directory = models.write_model(tmp_path / "m", estimator)
    models.change_description(directory, lambda description: description.pop("metadata"))
    assert models.loaded(directory).predict(rows[:2]).tolist() == estimator.predict(rows[:2]).tolist()  # type: ignore[union-attr]


def test_a_model_without_the_method_that_is_asked_for_is_refused(tmp_path: Path) -> None:
    directory = models.write_model(tmp_path / "m", models.regression_model())

    def asks_for(name: str) -> None:
        def change(description: dict[str, Any]) -> None:
            description["metadata"] = None
            description["flavors"]["python_function"] = {"loader_module": "mlflow.sklearn", "predict_fn": name}

        models.change_description(directory, change)

    asks_for("predict_proba")
    with pytest.raises(NotServed, match="no method predict_proba"):
        models.loaded(directory)
    asks_for("__class__")
    with pytest.raises(NotServed, match="no way to answer"):
        models.loaded(directory)


def test_every_part_of_an_ensemble_predicts_on_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = models.features()
    inner = RandomForestClassifier(3, n_jobs=-1, random_state=0)
    estimator = CalibratedClassifierCV(inner, cv=2).fit(rows, (rows[:, 0] > 0).astype(int))
    estimator.n_jobs = -1  # not while fitting: that would start processes
    used: list[Any] = []

    def spied(model: Any, features: Any) -> Any:
        used.append((model.n_jobs, *(part.estimator.n_jobs for part in model.calibrated_classifiers_)))
        return np.zeros((len(features), 2))

    monkeypatch.setattr(CalibratedClassifierCV, "predict_proba", spied)
    models.loaded(models.write_model(tmp_path / "m", estimator)).predict(rows)
    assert used == [(1, 1, 1)]


def test_a_model_that_chooses_columns_by_name_gets_a_frame(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(models.features(), columns=list(models.NAMES))
    chosen = ColumnTransformer([("scaled", StandardScaler(), ["spend"])])
    estimator = make_pipeline(chosen, LogisticRegression()).fit(frame, (frame["spend"] > 0).astype(int))
    loaded = models.loaded(models.write_model(tmp_path / "m", estimator))
    np.testing.assert_array_equal(loaded.predict(models.features()), estimator.predict_proba(frame)[:, 1])


def pickled(directory: Path) -> Path:
    """A directory whose model is a pickle."""
    estimator = models.binary_model()
    models.write_model(directory, estimator)
    (directory / "model.pkl").write_bytes(pickle.dumps(estimator))
    pickle_of = {"serialization_format": "pickle", "pickled_model": "model.pkl"}
    models.change_description(directory, lambda description: description["flavors"].update({"sklearn": pickle_of}))
    return directory


def test_a_pickle_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(PolicyRefused, match="stored as pickle, which runs code") as refused:
        models.loaded(pickled(tmp_path / "m"))
    assert "serialization_format='skops'" in str(refused.value.fix)
    assert "headrace models allow MODEL@N --pickle" in str(refused.value.fix)


def test_a_pickle_that_is_allowed_answers_from_a_process_of_its_own(tmp_path: Path) -> None:
    loaded = models.loaded(pickled(tmp_path / "m"), Loading(code=True))
    assert loaded.hosted
    expected = models.binary_model().predict_proba(models.features())[:, 1]
    np.testing.assert_array_equal(loaded.predict(models.features()), expected)


def test_a_directory_of_ones_own_needs_the_word_of_who_serves_it(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "environments")
    with pytest.raises(PolicyRefused) as refused:
        load_alone(ModelFiles(pickled(tmp_path / "m")), environments)
    assert "--allow-pickle" in str(refused.value.fix)
    assert load_alone(ModelFiles(tmp_path / "m"), environments, allow_code=True).hosted


def test_types_that_nobody_reviewed_are_refused_by_name_and_may_be_allowed(tmp_path: Path) -> None:
    data = models.features()
    estimator = make_pipeline(StandardScaler(), models.forest()).fit(data, (data[:, 0] > 0).astype(int))
    estimator.headrace_extra = DateLike()
    directory = models.write_model(tmp_path / "m", estimator)
    name = f"{DateLike.__module__}.DateLike"
    with pytest.raises(PolicyRefused, match="DateLike"):
        models.loaded(directory)
    assert np.asarray(models.loaded(directory, Loading(types=(name,))).predict(data)).shape == (200,)


class DateLike:
    """A type of somebody's own."""

    def __init__(self) -> None:
        self.year = 2026


DateLike.__module__ = "tests_serving_date_like"
sys.modules.setdefault("tests_serving_date_like", sys.modules[__name__])


def test_a_directory_without_such_a_model_is_refused(tmp_path: Path) -> None:
    signature = 'signature: {inputs: \'[{"name": "x", "type": "double"}]\'}'
    (tmp_path / "m").mkdir()
    description = tmp_path / "m" / "MLmodel"
    description.write_text(f"flavors: {{}}\n{signature}")
    with pytest.raises(NotServed, match="no model that can be served"):
        models.loaded(tmp_path / "m")
    description.write_text(f"flavors: {{python_function: {{loader_module: mlflow.prophet}}}}\n{signature}")
    with pytest.raises(PolicyRefused, match="runs code when loaded"):
        models.loaded(tmp_path / "m")
    description.write_text("flavors: [unclosed")
    with pytest.raises(InternalError):
        models.loaded(tmp_path / "m")
    description.write_bytes(b"x: '" + b"a" * (5 << 20) + b"'")
    with pytest.raises(TooLarge):
        models.loaded(tmp_path / "m")
    description.unlink()
    with pytest.raises(NotFound):
        models.loaded(tmp_path / "m")


def test_a_damaged_file_is_told_as_such(tmp_path: Path) -> None:
    directory = models.write_model(tmp_path / "m", models.binary_model())
    (directory / "model.skops").write_bytes(b"PK not a zip")
    with pytest.raises(InternalError, match="could not be read"):
        models.loaded(directory)


def test_a_model_trained_on_a_frame_must_have_the_columns_of_its_signature(tmp_path: Path) -> None:
    estimator = models.regression_model()
    estimator.feature_names_in_ = np.array(["spend", "purchases"], dtype=object)
    models.write_model(tmp_path / "m", estimator)
    with pytest.raises(NotServed, match="trained on"):
        models.loaded(tmp_path / "m")
    loaded = models.loaded(models.write_model(tmp_path / "m", estimator, names=("spend", "purchases")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.asarray(loaded.predict(models.features(2))).shape == (2,)


def test_a_model_of_another_library_version_waits_for_its_environment(tmp_path: Path) -> None:
    directory = models.write_model(tmp_path / "m", models.binary_model())

    def older(description: dict[str, Any]) -> None:
        description["flavors"]["sklearn"]["sklearn_version"] = "1.2.2"

    models.change_description(directory, older)
    with pytest.raises(Unavailable, match=r"lacks scikit-learn==1\.2\.\*"):
        models.loaded(directory)


def test_what_cannot_be_loaded_as_a_conversion_is_loaded_as_it_is(tmp_path: Path) -> None:
    blobs = open_blob_store(tmp_path / "home")
    version = models.store_version(blobs, models.write_model(tmp_path / "model", models.binary_model()), 1)
    converted = models.conversion(blobs, b"no graph")
    loaded = open_loader(tmp_path, blobs).load(models.with_loading(version, Loading(converted=converted)))
    assert loaded.runtime == "skops"
    assert ModelCache(tmp_path / "cache" / "models", blobs).obtain(version).has("MLmodel")
