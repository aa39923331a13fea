"""Graphs of gradient-boosted trees in float64 throughout, as HistGradientBoosting and LightGBM compare and add up.

The converters make float32 thresholds, which put some rows on the other side. ONNX's operator TreeEnsemble holds
float64 ones, so what it answers differs by the order of additions at most.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headrace.errors import NotServed
from headrace.serving.runtimes.recipe import library

OPSET, TREES_OPSET, IR = 20, 5, 10
LEQ = 0
"""TreeEnsemble's mode for a branch that is taken up to the threshold."""
SUM = 1
_EXPONENTIAL = frozenset({"poisson", "gamma", "tweedie"})
_PLAIN = frozenset(
    {"regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg"}
)


@dataclass
class Trees:
    """Trees as TreeEnsemble lists them: inner nodes and leaves, each in one sequence for all trees."""

    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    missing_left: list[int] = field(default_factory=list)
    children: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    are_leaves: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def leaf(self, weight: float, target: int) -> int:
        """Add a leaf; returns its place."""
        self.targets.append(target)
        self.weights.append(weight)
        return len(self.weights) - 1

    def node(self, feature: int, threshold: float, *, missing_left: bool) -> int:
        """Add an inner node, whose children come later; returns its place."""
        self.features.append(feature)
        self.thresholds.append(threshold)
        self.missing_left.append(int(missing_left))
        for side in (0, 1):
            self.children[side].append(0)
            self.are_leaves[side].append(0)
        return len(self.features) - 1

    def link(self, node: int, side: int, child: int, *, leaf: bool) -> None:
        """Say what hangs on the left (0) or right (1) of a node."""
        self.children[side][node] = child
        self.are_leaves[side][node] = int(leaf)

    def lonely(self, weight: float, target: int) -> None:
        """Add a tree that is one leaf."""
        node, leaf = self.node(0, 0.0, missing_left=True), self.leaf(weight, target)
        self.roots.append(node)
        for side in (0, 1):
            self.link(node, side, leaf, leaf=True)


Found = tuple[Trees, list[float], str]
"""Trees, what is added to the sum of each target, and what is done with that: sigmoid, softmax, exp or nothing."""


def behind(steps: Any, trees: Any) -> Any:
    """A model of trees behind one that prepares its matrix, as one model."""
    onnx = library("onnx")
    for known in steps.opset_import:
        if known.domain == "ai.onnx.ml":
            known.version = TREES_OPSET
            break
    else:
        steps.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", TREES_OPSET))
    steps.ir_version = IR
    compose = library("onnx.compose")
    joint = [(steps.graph.output[0].name, f"trees_{trees.graph.input[0].name}")]
    return compose.merge_models(steps, compose.add_prefix(trees, prefix="trees_"), io_map=joint)


def opset_of(model: Any) -> int:
    """The version of ONNX's plain operators that a model uses."""
    return next((known.version for known in model.opset_import if known.domain == ""), OPSET)


def of_hist_gradient_boosting(estimator: Any) -> Found:
    """The trees of a HistGradientBoosting estimator, what is added to each sum, and what is done with it.

    Raises:
        NotServed: it has categories, or a loss that is not known here.
    """
    if getattr(estimator, "_preprocessor", None) is not None:
        raise NotServed("trees with categories are not converted")
    loss = type(estimator._loss).__name__  # noqa: SLF001 - scikit-learn shows it in no other way
    ends = {
        "HalfBinomialLoss": "sigmoid",
        "HalfMultinomialLoss": "softmax",
        "HalfSquaredError": "",
        "AbsoluteError": "",
        "PinballLoss": "",
        "HalfPoissonLoss": "exp",
        "HalfGammaLoss": "exp",
    }
    if loss not in ends:
        raise NotServed(f"the loss {loss} is not converted")
    trees = Trees()
    for iteration in estimator._predictors:  # noqa: SLF001
        for target, predictor in enumerate(iteration):
            _add_predictor(trees, predictor.nodes, target)
    return trees, np.ravel(estimator._baseline_prediction).tolist(), ends[loss]  # noqa: SLF001


def _add_predictor(trees: Trees, nodes: Any, target: int) -> None:
    if nodes[0]["is_leaf"]:
        trees.lonely(float(nodes[0]["value"]), target)
        return
    places = {}
    for place, node in enumerate(nodes):
        if node["is_categorical"]:
            raise NotServed("trees with categories are not converted")
        if node["is_leaf"]:
            places[place] = trees.leaf(float(node["value"]), target)
        else:
            missing_left = bool(node["missing_go_to_left"])
            places[place] = trees.node(
                int(node["feature_idx"]), float(node["num_threshold"]), missing_left=missing_left
            )
    trees.roots.append(places[0])
    for place, node in enumerate(nodes):
        if not node["is_leaf"]:
            for side, child in enumerate((int(node["left"]), int(node["right"]))):
                trees.link(places[place], side, places[child], leaf=bool(nodes[child]["is_leaf"]))


def of_lightgbm(booster: Any) -> Found:
    """The trees of a LightGBM booster, what is added to each sum, and what is done with it.

    Raises:
        NotServed: it has categories, linear leaves or an objective that is not known here.
    """
    text = booster.model_to_string(num_iteration=1)
    header = dict(line.split("=", 1) for line in text.split("\n\n", 1)[0].splitlines() if "=" in line)
    if "average_output" in text.split("\n\n", 1)[0]:
        raise NotServed("forests of LightGBM are not converted")
    words = header.get("objective", "regression").split()
    options = dict(word.split(":", 1) for word in words[1:] if ":" in word)
    if "sqrt" in words:
        raise NotServed("square roots of LightGBM are not converted")
    scale, end = 1.0, ""
    if words[0] in {"binary", "multiclassova"}:
        scale, end = float(options.get("sigmoid", "1")), "sigmoid"
    elif words[0] == "cross_entropy":
        end = "sigmoid"
    elif words[0] == "multiclass":
        end = "softmax"
    elif words[0] in _EXPONENTIAL:
        end = "exp"
    elif words[0] not in _PLAIN:
        raise NotServed(f"the objective {words[0]} is not converted")
    trees, targets = Trees(), booster.num_model_per_iteration()
    for place, tree in enumerate(booster.dump_model()["tree_info"]):
        _add_structure(trees, tree["tree_structure"], place % targets, scale)
    return trees, [0.0] * targets, end


def _add_structure(trees: Trees, root: Any, target: int, scale: float) -> None:
    if "leaf_coeff" in root or "leaf_const" in root:
        raise NotServed("trees with linear leaves are not converted")
    if "split_feature" not in root:
        trees.lonely(scale * float(root["leaf_value"]), target)
        return
    trees.roots.append(_add_split(trees, root))
    waiting: list[tuple[Any, int, int]] = [
        (root["left_child"], trees.roots[-1], 0),
        (root["right_child"], trees.roots[-1], 1),
    ]
    while waiting:
        structure, above, side = waiting.pop()
        if "split_feature" in structure:
            place = _add_split(trees, structure)
            trees.link(above, side, place, leaf=False)
            waiting += [(structure["left_child"], place, 0), (structure["right_child"], place, 1)]
        elif "leaf_coeff" in structure or "leaf_const" in structure:
            raise NotServed("trees with linear leaves are not converted")
        else:
            trees.link(above, side, trees.leaf(scale * float(structure["leaf_value"]), target), leaf=True)


def _add_split(trees: Trees, structure: Any) -> int:
    missing = structure["missing_type"]
    if structure["decision_type"] != "<=" or missing == "Zero":
        raise NotServed("trees with categories, or with zeros for nulls, are not converted")
    threshold = float(structure["threshold"])
    # without nulls in training, LightGBM takes a null for zero
    missing_left = bool(structure["default_left"]) if missing == "NaN" else threshold >= 0.0
    return trees.node(int(structure["split_feature"]), threshold, missing_left=missing_left)


def graph_of(found: Found, *, columns: int, taken: str, given: str, classes: bool, opset: int = OPSET) -> Any:
    """An ONNX model: a matrix of float64 in; values of shape (rows, 1), or likelihoods of (rows, classes), out.

    Args:
        found: the trees, what is added to each sum, and what is done with it.
        columns: of the matrix.
        taken: name of the input.
        given: name of the output.
        classes: whether one sigmoid stands for two classes.
        opset: version of ONNX's plain operators.
    """
    trees, base, end = found
    onnx = library("onnx")
    helper, numpy_helper, kinds = onnx.helper, library("onnx.numpy_helper"), onnx.TensorProto
    double = kinds.DOUBLE
    nodes = [
        helper.make_node(
            "TreeEnsemble",
            [taken],
            ["sums"],
            domain="ai.onnx.ml",
            n_targets=len(base),
            aggregate_function=SUM,
            post_transform=0,
            tree_roots=trees.roots,
            nodes_featureids=trees.features,
            nodes_splits=numpy_helper.from_array(np.array(trees.thresholds), "splits"),
            nodes_modes=numpy_helper.from_array(np.full(len(trees.features), LEQ, dtype=np.uint8), "modes"),
            nodes_missing_value_tracks_true=trees.missing_left,
            nodes_truenodeids=trees.children[0],
            nodes_falsenodeids=trees.children[1],
            nodes_trueleafs=trees.are_leaves[0],
            nodes_falseleafs=trees.are_leaves[1],
            leaf_targetids=trees.targets,
            leaf_weights=numpy_helper.from_array(np.array(trees.weights), "weights"),
        ),
        helper.make_node("Add", ["sums", "base"], ["raw"]),
    ]
    constants = [numpy_helper.from_array(np.array([base]), "base")]
    nodes += list(_endings(helper, end, given, two=classes and len(base) == 1))
    if classes and len(base) == 1:
        constants.append(numpy_helper.from_array(np.array([[1.0]]), "one"))
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info(taken, double, [None, columns])],
        [helper.make_tensor_value_info(given, double, [None, None])],
        constants,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", TREES_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR)


def _endings(helper: Any, end: str, given: str, *, two: bool) -> Iterator[Any]:
    operator = {"sigmoid": "Sigmoid", "softmax": "Softmax", "exp": "Exp", "": "Identity"}[end]
    yield helper.make_node(operator, ["raw"], ["second" if two else given])
    if two:
        yield helper.make_node("Sub", ["one", "second"], ["first"])
        yield helper.make_node("Concat", ["first", "second"], [given], axis=1)
