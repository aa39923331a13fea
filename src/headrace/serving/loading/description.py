"""What an MLflow model directory says of itself, and what follows for loading it.

A directory is what a stranger wrote: nothing in it is believed but names of files, and those must lie inside.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec
import yaml
from packaging.version import InvalidVersion, Version

from headrace.errors import InternalError, NotServed, TooLarge
from headrace.serving.forms.signature import Signature
from headrace.serving.runtimes import frames, xgboost_models
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.recipe import ANSWERS, PREDICT, Recipe
from headrace.serving.runtimes.torch_models import is_torchscript
from headrace.training.answers import ANSWER_MARK, POSITIVE_PROBABILITY

MLMODEL = "MLmodel"
MLMODEL_LIMIT_BYTES = 4 << 20
PYTHON_MODEL_LOADERS = "mlflow.pyfunc."
_NATIVE = {
    "mlflow.sklearn": "sklearn",
    "mlflow.xgboost": "xgboost",
    "mlflow.lightgbm": "lightgbm",
    "mlflow.onnx": "onnx",
    "mlflow.pytorch": "pytorch",
}
"""The flavor that a loader of MLflow's reads."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_METADATA = frozenset(
    {
        MLMODEL,
        "requirements.txt",
        "conda.yaml",
        "python_env.yaml",
        "input_example.json",
        "serving_input_example.json",
    }
)


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an MLmodel file that loading reads."""

    flavors: dict[str, dict[str, Any]] = {}
    signature: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    saved_input_example_info: dict[str, Any] | None = None


class Need(NamedTuple):
    """A package that decides whether an environment will do for a model.

    Attributes:
        package: its name.
        versions: a specifier, such as `==1.9.*` or `>=3.2`; empty for any.
    """

    package: str
    versions: str = ""


@dataclass(frozen=True)
class Plan:
    """How a model is to be loaded, wherever that is.

    Attributes:
        recipe: what the loader is told.
        runs_code: why loading it runs code of its author's; empty when it does not.
        hosted: whether it belongs in a process of its own, though it runs no code of its author's.
        native: whether a library written in C reads its file, which a damaged file may crash.
        needs: what its environment must have.
        whole: whether all that its requirements name must be there, since nobody knows what it uses.
        code: folders inside the directory that hold modules of its author's.
        advice: how to log it so that loading runs no code.
    """

    recipe: Recipe
    runs_code: str = ""
    hosted: bool = False
    native: bool = False
    needs: tuple[Need, ...] = ()
    whole: bool = False
    code: tuple[str, ...] = ()
    advice: str = ""


def describe(files: ModelFiles) -> Description:
    """What the MLmodel file says.

    Raises:
        NotFound: there is none.
        InternalError: it is not one.
        TooLarge: it is far longer than one.
    """
    content = files.read(MLMODEL)
    if len(content) > MLMODEL_LIMIT_BYTES:
        raise TooLarge(f"a model's description has at most {MLMODEL_LIMIT_BYTES} bytes", where=MLMODEL)
    try:
        return msgspec.convert(yaml.load(content, Loader=_LOADER), Description)  # noqa: S506 - the safe one
    except msgspec.ValidationError as error:
        raise InternalError(f"the model's description is not one: {error}"[:300], where=MLMODEL) from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, AttributeError, TypeError) as error:
        raise InternalError("the model's description is not YAML", where=MLMODEL) from error


def plan(description: Description, files: ModelFiles, signature: Signature, types: tuple[str, ...] = ()) -> Plan:
    """How to load a model.

    Args:
        description: of the directory.
        files: its files.
        signature: its inputs.
        types: names of types that a skops file may build besides the reviewed ones.

    Raises:
        NotServed: there is nothing in it that can be served.
        InternalError: it contradicts itself.
    """
    function = description.flavors.get("python_function", {})
    loader = _text(function, "loader_module", "")
    flavor = _NATIVE.get(loader)
    if flavor is None and not function:
        flavor = next((name for name in _NATIVE.values() if name in description.flavors), None)
    if flavor is not None and flavor in description.flavors:
        asked = _Asked(description.flavors[flavor], _answer(description, function), signature, types, files)
        return _PLANS[flavor](asked)
    if not loader:
        raise NotServed(
            "the model directory has no model that can be served",
            where="MLmodel.flavors",
            fix="Log it with one of MLflow's flavors, such as mlflow.sklearn or mlflow.onnx.",
        )
    kind = "a Python model" if loader.startswith(PYTHON_MODEL_LOADERS) else f"of the flavor {loader[:80]}"
    return Plan(
        recipe=Recipe("pyfunc", columns=_columns(signature)),
        runs_code=f"the model is {kind}, which runs code when loaded",
        needs=(Need("mlflow"),),
        whole=True,
        advice="Log it as one of scikit-learn (serialization_format='skops'), XGBoost, LightGBM or ONNX.",
    )


class _Asked(NamedTuple):
    """What each flavor's plan is made of."""

    flavor: dict[str, Any]
    answer: str
    signature: Signature
    types: tuple[str, ...]
    files: ModelFiles

    def recipe(self, runtime: str, file: str, **options: Any) -> Recipe:
        return Recipe(
            runtime,
            file=file,
            answer=self.answer,
            columns=_columns(self.signature),
            types=self.types,
            options=options,
        )


def _sklearn(asked: _Asked) -> Plan:
    version = _text(asked.flavor, "sklearn_version", "")
    needs = (Need("scikit-learn", _same_minor(version)),)
    file = _text(asked.flavor, "pickled_model", "model.pkl")
    return _estimator(asked, file, needs)


def _estimator(asked: _Asked, file: str, needs: tuple[Need, ...]) -> Plan:
    """A scikit-learn estimator, in skops or in a pickle."""
    stored = _text(asked.flavor, "serialization_format", "pickle")
    frame = () if _is_matrix(asked.signature) else (Need("pandas"),)
    if stored == "skops":
        return Plan(recipe=asked.recipe("skops", file), needs=(*needs, Need("skops"), *frame))
    code = _text(asked.flavor, "code", "")
    return Plan(
        recipe=asked.recipe("pickle", file, serialization=stored),
        runs_code=f"the model is stored as {stored[:40]}, which runs code when loaded",
        needs=(*needs, *([Need("cloudpickle")] if stored == "cloudpickle" else []), *frame),
        whole=True,
        code=(code,) if code else (),
        advice="Log it with mlflow.sklearn.log_model(..., serialization_format='skops').",
    )


def _xgboost(asked: _Asked) -> Plan:
    return Plan(
        recipe=asked.recipe(
            "xgboost",
            _text(asked.flavor, "data", "model.ubj"),
            model_class=_text(asked.flavor, "model_class", xgboost_models.BOOSTER),
        ),
        native=True,
        needs=(Need("xgboost", _at_least(_text(asked.flavor, "xgb_version", ""))),),
    )


def _lightgbm(asked: _Asked) -> Plan:
    needs = (Need("lightgbm", _at_least(_text(asked.flavor, "lgb_version", ""))),)
    file = _text(asked.flavor, "data", "model.lgb")
    if _text(asked.flavor, "model_class", "lightgbm.basic.Booster") == "lightgbm.basic.Booster":
        return Plan(recipe=asked.recipe("lightgbm", file), native=True, needs=needs)
    made = _estimator(asked, file, (*needs, Need("scikit-learn")))
    return replace(made, native=not made.runs_code, advice=made.advice.replace("sklearn", "lightgbm"))


def _onnx(asked: _Asked) -> Plan:
    providers = asked.flavor.get("providers")
    listed = [name for name in providers if isinstance(name, str)] if isinstance(providers, list) else []
    file = _text(asked.flavor, "data", "model.onnx")
    beside = set(asked.files.paths()) - _METADATA - {file}
    tensors = [tensor.name for tensor in getattr(asked.signature, "tensors", ())]
    return Plan(
        recipe=asked.recipe("onnx", file, providers=listed, external=bool(beside), tensors=tensors),
        native=True,
        needs=(Need("onnxruntime"),),
    )


def _pytorch(asked: _Asked) -> Plan:
    folder = _text(asked.flavor, "model_data", "data")
    file = f"{folder}/model.pth"
    needs = (Need("torch", _at_least(_text(asked.flavor, "pytorch_version", "").partition("+")[0])),)
    if asked.files.has(file) and is_torchscript(asked.files.read(file)):
        return Plan(recipe=asked.recipe("torchscript", file), hosted=True, native=True, needs=needs)
    return Plan(
        recipe=Recipe("pyfunc", columns=_columns(asked.signature)),
        runs_code="the model is a pickled PyTorch module, which runs code when loaded",
        needs=(*needs, Need("mlflow")),
        whole=True,
        advice="Log torch.jit.script(model), or export it to ONNX and use mlflow.onnx.log_model.",
    )


_PLANS = {
    "sklearn": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    "pytorch": _pytorch,
}


def _answer(description: Description, function: dict[str, Any]) -> str:
    """What the model answers with: as ours do when it bears our mark, else as MLflow's scoring server would."""
    if (description.metadata or {}).get(ANSWER_MARK) == POSITIVE_PROBABILITY:
        return POSITIVE_PROBABILITY
    answer = _text(function, "predict_fn", PREDICT)
    if answer not in ANSWERS:
        raise NotServed(
            f"there is no way to answer by {answer[:40]!r}",
            where="MLmodel.flavors.python_function.predict_fn",
            fix=f"Log it with one of: {', '.join(ANSWERS[:-1])}.",
        )
    return answer


def _text(flavor: dict[str, Any], name: str, default: str) -> str:
    value = flavor.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise InternalError("the model's description is not one", where=f"MLmodel.flavors.{name}")
    return value


def _columns(signature: Signature) -> tuple[tuple[str, str], ...]:
    return tuple((column.name, column.type) for column in signature.columns)


def _is_matrix(signature: Signature) -> bool:
    return all(column.type in frames.NUMBERS for column in signature.columns)


def _same_minor(version: str) -> str:
    """What scikit-learn promises for its objects: the version that wrote them reads them."""
    parts = version.split(".")[:2]
    return f"=={'.'.join(parts)}.*" if len(parts) == 2 and all(part.isdigit() for part in parts) else ""


def _at_least(version: str) -> str:
    """What the makers of trees promise for their files: later versions read them."""
    try:
        return f">={Version(version).public}"
    except InvalidVersion:
        return ""
