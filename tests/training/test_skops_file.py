"""The same estimator gives the same bytes, in this process and in another one."""

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, StandardScaler

from headrace.training.skops_file import dump_estimator

FEATURES = np.random.default_rng(0).integers(0, 9, (400, 3)).astype(np.float64)
LABEL = (FEATURES[:, 0] + FEATURES[:, 1] > 8).astype(np.int64)

ELSEWHERE = """
import hashlib, numpy as np
from sklearn.ensemble import RandomForestClassifier
from headrace.training.skops_file import dump_estimator
features = np.random.default_rng(0).integers(0, 9, (400, 3)).astype(np.float64)
label = (features[:, 0] + features[:, 1] > 8).astype(np.int64)
forest = RandomForestClassifier(5, random_state=0).fit(features, label)
print(hashlib.sha256(dump_estimator(forest)).hexdigest())
"""


def estimators() -> list[Any]:
    table = ColumnTransformer(
        [("codes", make_pipeline(FunctionTransformer(np.floor), OrdinalEncoder()), [0])], remainder="passthrough"
    )
    return [
        HistGradientBoostingClassifier(max_iter=5, random_state=0),
        RandomForestClassifier(5, random_state=0),
        make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)),
        make_pipeline(table, HistGradientBoostingClassifier(max_iter=5, random_state=0)),
    ]


@pytest.mark.parametrize("place", range(4))
def test_two_fits_give_the_same_bytes_and_the_file_predicts_the_same(place: int) -> None:
    first, second = (estimators()[place].fit(FEATURES, LABEL) for _ in range(2))
    content = dump_estimator(first)
    assert dump_estimator(second) == content
    restored = skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
    np.testing.assert_array_equal(restored.predict_proba(FEATURES), first.predict_proba(FEATURES))


def test_another_model_gives_other_bytes() -> None:
    one, two = (RandomForestClassifier(5, random_state=seed).fit(FEATURES, LABEL) for seed in (0, 1))
    assert dump_estimator(one) != dump_estimator(two)


def test_shared_objects_stay_shared() -> None:
    shared = np.arange(3.0)
    restored = skops.io.loads(dump_estimator({"a": [shared, shared], "b": np.arange(3.0)}))
    assert restored["a"][0] is restored["a"][1]
    assert restored["b"] is not restored["a"][0]


def test_another_process_gives_the_same_bytes() -> None:
    forest = RandomForestClassifier(5, random_state=0).fit(FEATURES, LABEL)
    answer = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == hashlib.sha256(dump_estimator(forest)).hexdigest()
