"""Model directories of every format, written as MLflow writes them but without it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import xgboost
import yaml
from onnx import TensorProto, helper

ROWS = np.random.default_rng(11).normal(size=(300, 3))
LABELS = (ROWS.sum(axis=1) > 0).astype(int)
NAMES = ("age", "income", "spend")


def describe(directory: Path, flavor: str, options: dict[str, Any], *, inputs: Sequence[Any] | None = None) -> Path:
    """Write the MLmodel file of a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    columns = [{"name": name, "type": "double"} for name in NAMES] if inputs is None else inputs
    description = {
        "flavors": {flavor: options, "python_function": {"loader_module": f"mlflow.{flavor}"}},
        "signature": {"inputs": json.dumps(columns), "outputs": None},
    }
    (directory / "MLmodel").write_text(yaml.safe_dump(description))
    return directory


def xgboost_model(directory: Path, model: Any, *, ending: str = "ubj") -> Path:
    """An XGBoost model, as its class saves it."""
    directory.mkdir(parents=True, exist_ok=True)
    model.save_model(directory / f"model.{ending}")
    kind = f"{type(model).__module__}.{type(model).__name__}"
    return describe(
        directory,
        "xgboost",
        {"data": f"model.{ending}", "model_class": kind, "xgb_version": xgboost.__version__},
    )


def lightgbm_model(directory: Path, booster: Any) -> Path:
    """A LightGBM booster as text."""
    directory.mkdir(parents=True, exist_ok=True)
    booster.save_model(directory / "model.lgb")
    options = {
        "data": "model.lgb",
        "model_class": "lightgbm.basic.Booster",
        "lgb_version": lightgbm.__version__,
    }
    return describe(directory, "lightgbm", options)


def onnx_model(directory: Path, graph: Any, *, inputs: Sequence[Any] | None = None) -> Path:
    """An ONNX graph."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.onnx").write_bytes(graph.SerializeToString())
    return describe(directory, "onnx", {"data": "model.onnx", "providers": ["CPUExecutionProvider"]}, inputs=inputs)


def sum_graph(*, kind: int = TensorProto.FLOAT) -> Any:
    """A graph that adds up each row of a matrix."""
    taken = helper.make_tensor_value_info("features", kind, [None, None])
    given = helper.make_tensor_value_info("total", kind, [None, 1])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    node = helper.make_node("ReduceSum", ["features", "axes"], ["total"], keepdims=1)
    graph = helper.make_graph([node], "sums", [taken], [given], [axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def two_input_graph() -> Any:
    """A graph of two named columns."""
    left = helper.make_tensor_value_info("left", TensorProto.FLOAT, [None, 1])
    right = helper.make_tensor_value_info("right", TensorProto.FLOAT, [None, 1])
    given = helper.make_tensor_value_info("product", TensorProto.FLOAT, [None, 1])
    node = helper.make_node("Mul", ["left", "right"], ["product"])
    graph = helper.make_graph([node], "product", [left, right], [given])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def check(graph: Any) -> Any:
    """The graph, if ONNX holds it to be one."""
    onnx.checker.check_model(graph)
    return graph
