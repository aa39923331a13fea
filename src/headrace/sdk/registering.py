"""Registering from Python what a run logged: a folder of its files becomes the next version of a model."""

from collections.abc import Iterator, Mapping
from urllib.parse import quote

from headrace.client.transport import Transport
from headrace.errors import InvalidInput
from headrace.registry.nouns import Estimate, ModelFile, RegisterVersion, Version
from headrace.sdk.runs import Runs

Measured = float | tuple[float, float, float]
"""A value, or a value with the ends of its confidence interval."""


def register(
    transport: Transport,
    model: str,
    *,
    run_id: str,
    folder: str,
    metrics: Mapping[str, Measured],
    tags: Mapping[str, str],
    description: str,
    owner: str,
) -> Version:
    """Register a folder of a run's files; see `Platform.register`."""
    files = tuple(_files(Runs(transport), run_id, folder, folder))
    if not files:
        raise InvalidInput(
            "the run has no files there", where=f"run/{run_id}/{folder}", fix='Log them: run.log_artifact("model").'
        )
    body = RegisterVersion(
        model=model,
        files=files,
        run_id=run_id,
        artifact_prefix=folder,
        metrics={name: _estimate(measured) for name, measured in metrics.items()},
        tags=dict(tags),
        description=description,
        owner=owner,
    )
    path = f"/api/v1/models/{quote(model, safe='')}/versions"
    return transport.call("POST", path, body, returns=Version, repeatable=True)


def _files(runs: Runs, run_id: str, top: str, folder: str) -> Iterator[ModelFile]:
    for entry in runs.artifacts(run_id, folder):
        if entry.is_folder:
            yield from _files(runs, run_id, top, entry.path)
        elif entry.digest is None or entry.size_bytes is None:
            raise InvalidInput(
                "the run's files are not kept in the platform",
                where=f"run/{run_id}/{entry.path}",
                fix="Register the model with an MLflow client, which has the platform take them in.",
            )
        else:
            path = entry.path.removeprefix(f"{top}/")
            yield ModelFile(path=path, digest=entry.digest, size_bytes=entry.size_bytes)


def _estimate(measured: Measured) -> Estimate:
    if isinstance(measured, tuple):
        value, low, high = measured
        return Estimate(value=value, low=low, high=high)
    return Estimate(value=measured)
