"""What a worker does to make a version ready: it builds the environment, then looks for a faster form.

Loading and converting happen in hosts, so nothing that a version holds can harm the worker.
"""

import importlib.metadata

import msgspec

from headrace.errors import (
    EnvironmentMismatch,
    InternalError,
    ModelFault,
    NotFound,
    NotServed,
    PermissionRefused,
    TooLarge,
)
from headrace.kernel.work import WorkContext
from headrace.registry.nouns import ModelFile
from headrace.serving.loading.description import Need, describe
from headrace.serving.loading.environments import Environments
from headrace.serving.loading.host import HostOrder, ModelHost
from headrace.serving.loading.loader import Arrangement, arrange, open_cache, open_environments, requirements_of
from headrace.serving.loading.optimizing import Graph, optimize, untried
from headrace.serving.loading.real_rows import gather
from headrace.serving.loading.requirements import Requirements
from headrace.serving.loading_nouns import OptimizationReport, Prepared, PrepareRequest
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.frames import NUMBERS
from headrace.serving.runtimes.onnx_models import CONVERTED
from headrace.serving.runtimes.recipe import Recipe

GRAPH_FILE = "model.onnx"
CONVERTIBLE = frozenset({"skops", "pickle", "xgboost", "lightgbm"})
CONVERTERS = (Need("skl2onnx"), Need("onnxmltools"), Need("onnx"), Need("protobuf", "<7"))
RUNTIME = Requirements(needs=(Need("onnxruntime"),))
REPORTED = ("onnxruntime", "skl2onnx", "onnxmltools", "onnx", "scikit-learn", "xgboost", "xgboost-cpu", "lightgbm")
UNFIT = (NotServed, PermissionRefused, TooLarge, NotFound, InternalError, EnvironmentMismatch)
"""What is wrong with the version itself, so that another attempt would find the same."""


def run_preparation(ctx: WorkContext, request: PrepareRequest) -> Prepared:
    """The runner of the job PREPARE.

    Raises:
        Unavailable: packages could not be fetched now; the job is tried again.
    """
    version = request.version
    environments = open_environments(ctx.settings.home)
    try:
        files = open_cache(ctx.settings.home, ctx.blobs).obtain(version)
        wanted = requirements_of(files, signature=version.signature, loading=version.loading)
        ctx.progress(0.05, "builds the environment")
        built = environments.build(wanted)
        arrangement = arrange(
            files, signature=version.signature, loading=version.loading, environments=environments
        )
    except UNFIT as problem:
        return Prepared(refused=problem.message, fix=problem.fix or "")
    prepared = Prepared(environment=built.key if built else None, packages=built.packages if built else ())
    ctx.progress(0.2, "looks for a faster form")
    report, graph = _faster(ctx, request, arrangement, environments, wanted)
    return _stored(ctx, prepared, report, graph)


def _faster(
    ctx: WorkContext,
    request: PrepareRequest,
    arrangement: Arrangement,
    environments: Environments,
    wanted: Requirements,
) -> tuple[OptimizationReport, Graph | None]:
    """Look for a faster form, in the environment that has the model's libraries and the converters."""
    digest, recipe = request.version.digest, arrangement.order.recipe
    note = _not_tried(ctx, recipe, environments)
    if note:
        return untried(digest, recipe.runtime, note), None
    files = arrangement.order.files
    real, rows_from = gather(ctx, request, files, describe(files), recipe.names)
    if not len(real):
        note = "there are no rows to compare on: log the model with an input example, or serve it for a while"
        return untried(digest, recipe.runtime, note), None
    nulls = tuple(not column.required for column in arrangement.signature.columns)
    try:
        order = _with_converters(arrangement, environments, wanted)
        with ModelHost(order) as native:
            return optimize(
                native,
                lambda graph: _form(ctx, recipe, graph),
                digest=digest,
                runtime=recipe.runtime,
                real=real,
                nulls=nulls,
                rows_from=rows_from,
                libraries=_libraries(),
                progress=ctx.progress,
            )
    except (*UNFIT, ModelFault) as problem:
        return untried(digest, recipe.runtime, problem.message), None


def _not_tried(ctx: WorkContext, recipe: Recipe, environments: Environments) -> str:
    """Why nothing is tried; empty when something is."""
    if not ctx.settings.optimize:
        return "it is switched off by HEADRACE_OPTIMIZE"
    if recipe.runtime not in CONVERTIBLE:
        return f"there is no conversion of {recipe.runtime}"
    if not recipe.columns or any(kind not in NUMBERS for _, kind in recipe.columns):
        return "only models of columns of numbers are converted"
    if environments.lacking(RUNTIME):
        return "ONNX Runtime is not installed: pip install 'headrace[onnx]'"
    return ""


def _with_converters(arrangement: Arrangement, environments: Environments, wanted: Requirements) -> HostOrder:
    """The model in an environment that has the converters too: this one, or one that is built for it."""
    asked = msgspec.structs.replace(
        wanted,
        needs=(*wanted.needs, *CONVERTERS),
        lines=tuple(sorted({*wanted.lines, *(f"{need.package}{need.versions}" for need in CONVERTERS)})),
    )
    environments.build(asked)
    python = environments.interpreter(asked)
    order = arrangement.order
    return (
        HostOrder(order.files, order.recipe, python, order.code)
        if python
        else HostOrder(order.files, order.recipe, code=order.code)
    )


def _form(ctx: WorkContext, recipe: Recipe, graph: Graph) -> ModelHost:
    """A host for a graph, as gateways will load it."""
    content, known = graph
    folder = ctx.directory / "form"
    folder.mkdir(exist_ok=True)
    (folder / GRAPH_FILE).write_bytes(content)
    return ModelHost(
        HostOrder(
            ModelFiles(folder),
            Recipe("onnx", file=GRAPH_FILE, columns=recipe.columns, options={CONVERTED: known}),
        )
    )


def _stored(ctx: WorkContext, prepared: Prepared, report: OptimizationReport, graph: Graph | None) -> Prepared:
    """Keep the report, and the graph that was chosen, as blobs."""
    report_digest = ctx.blobs.put(msgspec.json.encode(report)).digest
    if graph is None:
        return msgspec.structs.replace(prepared, report=report, report_digest=report_digest)
    content, known = graph
    blob = ctx.blobs.put(content)
    return msgspec.structs.replace(
        prepared,
        report=report,
        report_digest=report_digest,
        converted=ModelFile(path=GRAPH_FILE, digest=blob.digest, size_bytes=blob.size_bytes),
        known=known,
    )


def _libraries() -> dict[str, str]:
    """The versions of what made and compared the forms."""
    found = {}
    for name in REPORTED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
