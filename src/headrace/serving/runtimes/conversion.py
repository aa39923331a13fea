"""Other models as ONNX graphs, in each precision that may be right; whether one is, others judge.

scikit-learn's trees compare float32 with float64 thresholds, its scalers count in float64, LightGBM compares
float64, XGBoost float32. No one precision of a graph is right for all of them, so several are made.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from headrace.errors import HeadraceError, MissingExtra, NotServed
from headrace.serving.runtimes import (
    frames,
    lightgbm_models,
    pickles,
    skops_models,
    tree_graphs,
    xgboost_models,
)
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import PREDICT, Recipe, library
from headrace.training.answers import POSITIVE_PROBABILITY

Graph = tuple[bytes, dict[str, Any]]
"""A graph and what `onnx_models.converted` has to know of it."""

INPUT = "features"
ANSWERS = "answers"


def convert(files: ModelFiles, recipe: Recipe) -> tuple[dict[str, Graph], dict[str, str]]:
    """Every graph that can be made of a model, by a name that says how; and why the others could not be made.

    Raises:
        NotServed: there is no conversion for this kind of model or answer.
        MissingExtra: the converters are not installed.
    """
    if not recipe.columns or not frames.all_numbers(recipe):
        raise NotServed("only models of columns of numbers are converted", where="MLmodel.signature.inputs")
    if recipe.answer not in {PREDICT, "predict_proba", POSITIVE_PROBABILITY}:
        raise NotServed(f"there is no conversion of {recipe.answer}", where="MLmodel.flavors.python_function")
    library("onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converters, on what they guess
        if recipe.runtime == "xgboost":
            booster = xgboost_models.read_booster(files, recipe)
            return _attempts({"float": lambda: _from_xgboost(booster, recipe)})
        if recipe.runtime == "lightgbm":
            booster = lightgbm_models.read_booster(files, recipe)
            return _attempts_of_lightgbm(booster, recipe, None)
        if recipe.runtime == "skops":
            estimator = skops_models.read(files.read(recipe.file), recipe)
        elif recipe.runtime == "pickle":
            estimator = pickles.read(files, recipe)
        else:
            raise NotServed(f"there is no conversion of {recipe.runtime}", where="runtime")
        if lightgbm_models.of_estimator(estimator) is not None:
            return _attempts_of_lightgbm(estimator.booster_, recipe, estimator)
        if _last(estimator).startswith("HistGradientBoosting"):
            made, refused = _attempts({"exact": lambda: _exact_sklearn(estimator, recipe)})
            if made:
                return made, refused
        return _attempts(_ways(estimator, recipe))


def _attempts(ways: dict[str, Callable[[], Graph]]) -> tuple[dict[str, Graph], dict[str, str]]:
    made, refused = {}, {}
    for name, way in ways.items():
        try:
            made[name] = way()
        except NotServed as problem:
            if isinstance(problem, MissingExtra):
                raise
            refused[name] = problem.message
        except HeadraceError:
            raise
        except Exception as error:  # noqa: BLE001 - the converters raise what they please
            refused[name] = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
    return made, refused


def _ways(estimator: Any, recipe: Recipe) -> dict[str, Callable[[], Graph]]:
    """Float32 or float64 throughout, or float64 up to the last step and float32 from there."""
    types = library("skl2onnx.common.data_types")
    width = [None, len(recipe.names)]
    float32, float64 = types.FloatTensorType(width), types.DoubleTensorType(width)
    ways = {
        "float": lambda: _from_sklearn(estimator, estimator, float32, recipe),
        "double": lambda: _from_sklearn(estimator, estimator, float64, recipe),
        "mixed": lambda: _from_sklearn(_cast_before_last(estimator, len(recipe.names)), estimator, float64, recipe),
    }
    if recipe.answer == PREDICT and hasattr(estimator, "predict_proba"):
        ways |= {f"{name}, its own labels": _own_labels(way) for name, way in ways.items()}
    return ways


def _own_labels(way: Callable[[], Graph]) -> Callable[[], Graph]:
    def relabelled() -> Graph:
        graph, known = way()
        return graph, {"output": known["labels"], "take": "flat", "classes": None, "labels": known["labels"]}

    return relabelled


def _from_sklearn(model: Any, estimator: Any, taken: Any, recipe: Recipe) -> Graph:
    classes: Any = getattr(estimator, "classes_", None)
    classifier = classes is not None and hasattr(estimator, "predict_proba")
    options = {"zipmap": False} if classifier else None
    graph = library("skl2onnx").to_onnx(model, initial_types=[(INPUT, taken)], options=options)
    outputs = [output.name for output in graph.graph.output]
    if not classifier:
        return graph.SerializeToString(), _known(outputs[0], "flat", None, outputs[0])
    known = _known(outputs[1], _taken(recipe, len(classes)), np.asarray(classes).tolist(), outputs[0])
    return graph.SerializeToString(), known


def _cast_before_last(estimator: Any, columns: int) -> Any:
    pipeline = library("sklearn.pipeline").Pipeline
    cast = library("skl2onnx.sklapi").CastTransformer(dtype=np.float32)
    cast.fit(np.zeros((1, columns)))
    steps = list(estimator.steps) if isinstance(estimator, pipeline) else [("model", estimator)]
    return pipeline([*steps[:-1], ("headrace_cast", cast), steps[-1]])


def _last(estimator: Any) -> str:
    """The name of the class of an estimator, or of a pipeline's last step."""
    return type(estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator).__name__


def _exact_sklearn(estimator: Any, recipe: Recipe) -> Graph:
    """HistGradientBoosting in float64, behind what the converters make of the steps before it."""
    steps = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
    last = steps[-1]
    classes = getattr(last, "classes_", None)
    found = tree_graphs.of_hist_gradient_boosting(last)
    known = _known(ANSWERS, "flat", None, ANSWERS)
    if classes is not None:
        known = _known(ANSWERS, _taken(recipe, len(classes)), np.asarray(classes).tolist(), ANSWERS)
    if len(steps) == 1:
        graph = tree_graphs.graph_of(
            found, columns=len(recipe.names), taken=INPUT, given=ANSWERS, classes=classes is not None
        )
        return graph.SerializeToString(), known
    types = library("skl2onnx.common.data_types")
    before = library("skl2onnx").to_onnx(
        estimator[:-1], initial_types=[(INPUT, types.DoubleTensorType([None, len(recipe.names)]))]
    )
    trees = tree_graphs.graph_of(
        found,
        columns=last.n_features_in_,
        taken=INPUT,
        given=ANSWERS,
        classes=classes is not None,
        opset=tree_graphs.opset_of(before),
    )
    graph = tree_graphs.behind(before, trees)
    return graph.SerializeToString(), {**known, "output": graph.graph.output[0].name}


def _attempts_of_lightgbm(booster: Any, recipe: Recipe, estimator: Any) -> tuple[dict[str, Graph], dict[str, str]]:
    """In float64; and in float32 where that cannot be."""
    made, refused = _attempts({"exact": lambda: _exact_lightgbm(booster, recipe, estimator)})
    if made:
        return made, refused
    made, more = _attempts({"float": lambda: _from_lightgbm(booster, recipe, estimator)})
    return made, {**refused, **more}


def _exact_lightgbm(booster: Any, recipe: Recipe, estimator: Any) -> Graph:
    """LightGBM's trees in float64."""
    found = tree_graphs.of_lightgbm(booster)
    _, base, end = found
    classes: Any = getattr(estimator, "classes_", None)
    likelihoods = end in {"sigmoid", "softmax"}
    graph = tree_graphs.graph_of(found, columns=len(recipe.names), taken=INPUT, given=ANSWERS, classes=likelihoods)
    if classes is not None:
        known = _known(ANSWERS, _taken(recipe, len(classes)), np.asarray(classes).tolist(), ANSWERS)
    elif likelihoods:
        known = _known(ANSWERS, "second" if len(base) == 1 else "all", None, ANSWERS)
    else:
        known = _known(ANSWERS, "flat" if len(base) == 1 else "all", None, ANSWERS)
    return graph.SerializeToString(), known


def _from_lightgbm(booster: Any, recipe: Recipe, estimator: Any) -> Graph:
    converter = library("onnxmltools.convert")
    types = library("onnxmltools.convert.common.data_types")
    rounded = library("lightgbm").Booster(model_str=_thresholds_down(booster.model_to_string()))
    taken = [(INPUT, types.FloatTensorType([None, len(recipe.names)]))]
    graph = converter.convert_lightgbm(rounded, initial_types=taken, zipmap=False)
    outputs = [output.name for output in graph.graph.output]
    if len(outputs) == 1:
        return graph.SerializeToString(), _known(outputs[0], "flat", None, outputs[0])
    classes = getattr(estimator, "classes_", None)
    if estimator is None or classes is None:  # a booster itself answers with probabilities
        take = "second" if booster.num_model_per_iteration() == 1 else "all"
        return graph.SerializeToString(), _known(outputs[1], take, None, outputs[0])
    known = _known(outputs[1], _taken(recipe, len(classes)), np.asarray(classes).tolist(), outputs[0])
    return graph.SerializeToString(), known


def _thresholds_down(text: str) -> str:
    """A booster's text with each threshold at the next float32 below it.

    A float32 is at most the threshold exactly when it is at most that float32, so features that are float32 take
    the same branches as before.
    """
    lines = text.split("\n")
    for place, line in enumerate(lines):
        name, equals, values = line.partition("=")
        if name == "threshold" and equals:
            lines[place] = f"{name}=" + " ".join(repr(_down(float(value))) for value in values.split())
    # the lengths of the trees' texts have changed; without them they are read one after another
    return "\n".join(line for line in lines if not line.startswith("tree_sizes="))


def _down(value: float) -> float:
    with np.errstate(over="ignore"):
        near = np.float32(value)
    if float(near) > value:
        near = np.nextafter(near, np.float32(-np.inf))
    return float(near)


def _from_xgboost(booster: Any, recipe: Recipe) -> Graph:
    converter = library("onnxmltools.convert")
    types = library("onnxmltools.convert.common.data_types")
    booster.feature_names = None  # the converter knows columns by number alone
    taken = [(INPUT, types.FloatTensorType([None, len(recipe.names)]))]
    graph = converter.convert_xgboost(booster, initial_types=taken)
    outputs = [output.name for output in graph.graph.output]
    if len(outputs) == 1:
        return graph.SerializeToString(), _known(outputs[0], "flat", None, outputs[0])
    count = next(iter(_lengths(graph, outputs[1])), 2)
    if recipe.options["model_class"] not in xgboost_models.CLASSIFIERS:
        return graph.SerializeToString(), _known(outputs[1], "second" if count == 2 else "all", None, outputs[0])
    known = _known(outputs[1], _taken(recipe, count), list(range(count)), outputs[0])
    return graph.SerializeToString(), known


def _lengths(graph: Any, name: str) -> list[int]:
    """How many columns an output has, if the graph says so."""
    for output in graph.graph.output:
        if output.name == name:
            sizes = [size.dim_value for size in output.type.tensor_type.shape.dim]
            return [size for size in sizes[1:] if size > 0]
    return []


def _taken(recipe: Recipe, classes: int) -> str:
    if recipe.answer == PREDICT:
        return "likeliest"
    return "second" if recipe.answer == POSITIVE_PROBABILITY and classes == 2 else "all"


def _known(output: str, take: str, classes: list[Any] | None, labels: str) -> dict[str, Any]:
    return {"output": output, "take": take, "classes": classes, "labels": labels}
