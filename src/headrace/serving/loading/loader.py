"""From an MLflow model directory to something that predicts: here when it is safe, in its own process when not.

Safe are formats that hold numbers and no code: they are read in the gateway, when its own libraries are those that
the model needs. A model with other libraries gets a process with an environment of its own. A model that runs code
of its author's when it is loaded does so only there, and only where somebody has allowed it for this very version.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from headrace.errors import HeadraceError, InternalError, ModelFault, NotServed, PolicyRefused
from headrace.kernel.blobs import BlobStore
from headrace.kernel.ids import new_hex
from headrace.serving.forms.inputs import Outputs
from headrace.serving.forms.signature import Signature, read_signature
from headrace.serving.loading.description import Plan, describe, plan
from headrace.serving.loading.environments import Environments
from headrace.serving.loading.host import HostOrder, ModelHost
from headrace.serving.loading.hosted import HostedModel
from headrace.serving.loading.model_files import ModelCache
from headrace.serving.loading.requirements import Requirements, read_requirements
from headrace.serving.nouns import Loading, ServedVersion
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.loaders import load_here
from headrace.serving.runtimes.onnx_models import CONVERTED
from headrace.serving.runtimes.recipe import Predict, Recipe

log = structlog.get_logger()

PLAIN = Loading()


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, or in a process of its own.

    Attributes:
        signature: its inputs.
        predict: rows, and the params of a request, to an answer for each row. Raises whatever the model raises.
        runtime: what answers, such as `skops`, or `onnx` for a graph that was made of the model.
        hosted: whether it answers from a process of its own, so that asking it waits.
        await_ready: waits so many seconds at most for a process of its own that is being started again.
    """

    signature: Signature
    predict: Callable[..., Outputs]
    runtime: str = ""
    hosted: bool = False
    await_ready: Callable[[float], bool] = lambda _: True


@dataclass(frozen=True)
class Arrangement:
    """How a model will be loaded, and where."""

    signature: Signature
    plan: Plan
    order: HostOrder
    here: bool
    """Whether this process may load it, having the libraries that it needs."""


class Loader:
    """Loads versions; used by one thread at a time.

    Args:
        cache: where their files are.
        environments: where their libraries are.
    """

    def __init__(self, cache: ModelCache, environments: Environments) -> None:
        self._cache = cache
        self._environments = environments

    def load(self, version: ServedVersion) -> LoadedModel:
        """Fetch, verify and load a version; a directory that was damaged on this machine is fetched once more.

        Raises:
            HeadraceError: it cannot be served; the message says why.
        """
        if version.loading.converted is not None:
            try:
                return self._load_converted(version)
            except HeadraceError as problem:
                log.warning(
                    "conversion could not be loaded; the model itself is",
                    model=version.model,
                    version=version.number,
                    problem=str(problem),
                )
        try:
            return self._load(version)
        except InternalError:
            self._cache.evict(version.digest)
            return self._load(version)

    def host(self, version: ServedVersion) -> ModelHost:
        """A host for a version, as gates, checks and conversions need it.

        Raises:
            HeadraceError: it cannot be loaded; the message says why.
        """
        return ModelHost(self.arrange(version).order)

    def arrange(self, version: ServedVersion) -> Arrangement:
        """Fetch a version's files and decide how it is loaded."""
        files = self._cache.obtain(version)
        return arrange(files, signature=version.signature, loading=version.loading, environments=self._environments)

    def host_converted(self, version: ServedVersion) -> ModelHost:
        """A host for the graph that was made of a version."""
        _, files, recipe = self._converted(version)
        return ModelHost(HostOrder(files, recipe))

    def _load(self, version: ServedVersion) -> LoadedModel:
        arrangement = self.arrange(version)
        if arrangement.here and arrangement.plan.native:
            self._rehearse(arrangement, version.digest)
        return open_model(arrangement)

    def _load_converted(self, version: ServedVersion) -> LoadedModel:
        signature, files, recipe = self._converted(version)
        return LoadedModel(signature, _with_params(load_here(files, recipe)), "onnx")

    def _converted(self, version: ServedVersion) -> tuple[Signature, ModelFiles, Recipe]:
        converted = version.loading.converted
        assert converted is not None
        stored = version.signature
        if stored is None:
            stored = describe(self._cache.obtain(version)).signature
        signature = read_signature(stored)
        recipe = Recipe(
            "onnx",
            file=converted.file.path,
            columns=tuple((column.name, column.type) for column in signature.columns),
            options={CONVERTED: converted.known},
        )
        return signature, self._cache.obtain_file(converted.file), recipe

    def _rehearse(self, arrangement: Arrangement, digest: str) -> None:
        """Load what a library in C reads once in a process of its own: a damaged file may crash whoever reads it.

        Raises:
            NotServed: it did.
        """
        done = self._cache.folder / f"{digest.removeprefix('sha256:')}.rehearsed"
        if done.exists():
            return
        try:
            with ModelHost(arrangement.order) as host:
                _ask_once(host, arrangement.signature)
        except ModelFault as fault:
            raise NotServed(
                f"loading the model ended the process that tried it: {fault.message}",
                where=fault.where,
                fix="Its file is damaged, or its library cannot read it; log the model again.",
            ) from fault
        done.parent.mkdir(parents=True, exist_ok=True)
        unfinished = done.with_name(f".{new_hex()}")
        unfinished.touch()
        unfinished.rename(done)


def open_loader(home: Path, blobs: BlobStore) -> Loader:
    """The loader of a platform's home, as gateways and workers share it."""
    return Loader(open_cache(home, blobs), open_environments(home))


def open_cache(home: Path, blobs: BlobStore) -> ModelCache:
    """The model directories of a platform's home."""
    return ModelCache(home / "cache" / "models", blobs)


def open_environments(home: Path) -> Environments:
    """The environments of a platform's home."""
    return Environments(home / "cache" / "environments")


def arrange(
    files: ModelFiles,
    *,
    signature: dict[str, Any] | None,
    loading: Loading,
    environments: Environments,
) -> Arrangement:
    """Decide how a model is loaded: by what, in which environment, and whether that is allowed.

    Args:
        files: of the model directory.
        signature: the registered signature; None takes the one in the directory.
        loading: what was decided for this version.
        environments: where libraries are looked for; nothing is built here.

    Raises:
        PolicyRefused: it runs code when loaded, and nobody has allowed that.
        NotServed: its kind or its schema is not served.
        Unavailable: its environment is not built yet.
        InternalError: a file is damaged.
    """
    compiled, made = _planned(files, signature, loading)
    wanted = read_requirements(files, made)
    python = environments.interpreter(wanted)
    code = made.code if made.runs_code else ()
    order = HostOrder(files, made.recipe, python, code) if python else HostOrder(files, made.recipe, code=code)
    here = python is None and not made.runs_code and not made.hosted
    return Arrangement(compiled, made, order, here)


def open_model(arrangement: Arrangement) -> LoadedModel:
    """Load a model where it was decided to be loaded.

    Raises:
        HeadraceError: it cannot be; the message says why.
    """
    recipe = arrangement.order.recipe
    if arrangement.here:
        return LoadedModel(
            arrangement.signature, _with_params(load_here(arrangement.order.files, recipe)), recipe.runtime
        )
    hosted = HostedModel(arrangement.order)
    return LoadedModel(
        arrangement.signature, hosted.predict, recipe.runtime, hosted=True, await_ready=hosted.await_process
    )


def load_alone(files: ModelFiles, environments: Environments, *, allow_code: bool = False) -> LoadedModel:
    """Load a model for who serves it alone and answers for it; its environment is built when it is missing.

    Args:
        files: of the model.
        environments: where its libraries are, or are put.
        allow_code: whether it may run code when it is loaded, as pickles do.

    Raises:
        PolicyRefused: it runs code, and that is not allowed.
        HeadraceError: it cannot be served; the message says why.
    """
    loading = Loading(code=allow_code)
    try:
        environments.build(requirements_of(files, loading=loading))
        return open_model(arrange(files, signature=None, loading=loading, environments=environments))
    except PolicyRefused as problem:
        raise PolicyRefused(
            problem.message,
            where=problem.where,
            fix="Serve it with --allow-pickle if you trust who made it, or log it in a safe format.",
        ) from problem


def requirements_of(
    files: ModelFiles, *, signature: dict[str, Any] | None = None, loading: Loading = PLAIN
) -> Requirements:
    """What a model's environment has to have.

    Raises:
        PolicyRefused: it runs code when loaded, and nobody has allowed that.
        NotServed: its kind or its schema is not served.
        InternalError: a file is damaged.
    """
    _, made = _planned(files, signature, loading)
    return read_requirements(files, made)


def _planned(files: ModelFiles, signature: dict[str, Any] | None, loading: Loading) -> tuple[Signature, Plan]:
    description = describe(files)
    compiled = read_signature(signature if signature is not None else description.signature)
    made = plan(description, files, compiled, loading.types)
    if made.runs_code and not loading.code:
        raise refused(made)
    return compiled, made


def _with_params(predict: Predict) -> Callable[..., Outputs]:
    return lambda inputs, params=None: predict(inputs, params)


def _ask_once(host: ModelHost, signature: Signature) -> None:
    """One row of zeros, to be refused or answered: only what ends the process matters."""
    if signature.columns:
        with suppress(ModelFault):
            host.predict(np.zeros((1, len(signature.columns))))
            return
        host.require_alive()


def refused(made: Plan) -> PolicyRefused:
    """Why a model that runs code is not loaded, and the two ways out."""
    return PolicyRefused(
        made.runs_code,
        where="MLmodel.flavors",
        fix=f"{made.advice} Or have an approver allow it for this version:"
        " headrace models allow MODEL@N --pickle --reason WHY",
    )
