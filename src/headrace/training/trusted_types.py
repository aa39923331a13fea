"""The types that a skops file may build, beyond those that skops trusts by itself.

skops refuses every type that it does not know. Each name below was read in its library's source: restoring one
from a file sets numbers and calls nothing that the file could choose. `functools.partial` and plain functions are
left out for that reason, and with them the native categories of HistGradientBoosting. The boosters of LightGBM and
XGBoost hand the text or bytes of their trees to the parser of their library, and nothing else. The arrays inside a
tree are checked for type and shape, not for loops or wrong indices, so a file still has to come from somebody who
may register models. Training and serving share the list: what one exports, the other loads.
"""

TRUSTED_TYPES = frozenset(
    {
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
    }
)
"""Full type names, as `skops.io.get_untrusted_types` gives them."""
