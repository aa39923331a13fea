"""Reading a running MLflow server, as its own clients do: the way to files that it keeps in an object store."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import stamina

from headrace.client.addresses import without_login
from headrace.errors import InvalidInput, Unavailable
from headrace.kernel.roots import normalized
from headrace.protocols.mlflow.importing import values
from headrace.protocols.mlflow.importing.server_records import (
    experiment_of,
    logged_model_of,
    model_of,
    run_of,
    version_of,
)
from headrace.protocols.mlflow.importing.source import (
    FoundFile,
    FoundLoggedModel,
    FoundModel,
    FoundRun,
    Holder,
)
from headrace.protocols.mlflow.importing.stored_files import PROXIED
from headrace.protocols.mlflow.importing.values import Point
from headrace.tracking.imported import ImportExperiment, ImportPoints

API = "/api/2.0/mlflow"
PAGE = 200
HISTORY_PAGE = 25_000
TRIES = 5
TIMEOUT_S = 60.0
_NOT_THERE = 404


class ServerSource:
    """A running MLflow server of 2.x or 3.x.

    Args:
        url: its address.
        token: bearer token; empty for none.
    """

    def __init__(self, url: str, *, token: str = "") -> None:
        self.problems: list[str] = []
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._where = without_login(url)
        self._http = httpx.Client(
            base_url=url.rstrip("/"), headers=headers, timeout=TIMEOUT_S, follow_redirects=True
        )
        try:
            self._call("POST", "experiments/search", {"max_results": 1})
        except InvalidInput as problem:
            raise InvalidInput(f"no MLflow server answers there: {problem.message}", where=self._where) from problem

    def experiments(self) -> Iterator[ImportExperiment]:
        """See `Source`."""
        found = self._pages("POST", "experiments/search", "experiments", {"view_type": "ALL"}, at_once=1000)
        yield from sorted((experiment_of(each) for each in found), key=lambda each: (len(each.id), each.id))

    def run_count(self) -> int | None:
        """See `Source`."""
        return None

    def runs(self, experiment: ImportExperiment) -> Iterator[FoundRun]:
        """See `Source`."""
        asked = {
            "experiment_ids": [experiment.id],
            "run_view_type": "ALL",
            "order_by": ["attributes.start_time ASC"],
        }
        for each in self._pages("POST", "runs/search", "runs", asked):
            try:
                yield run_of(each, experiment)
            except InvalidInput as problem:
                self.problems.append(f"run {each.get('info', {}).get('run_id')}: {problem.message}")

    def series(self, found: FoundRun) -> Iterator[ImportPoints]:
        """See `Source`."""
        for key in found.metrics:
            asked = {"run_id": found.run.id, "metric_key": key}
            page = self._pages("GET", "metrics/get-history", "metrics", asked, at_once=HISTORY_PAGE)
            yield from values.columns(found.run.id, values.distinct(map(_point, page)))

    def logged_models(self, experiment: ImportExperiment) -> Iterator[FoundLoggedModel]:
        """See `Source`."""
        asked = {
            "experiment_ids": [experiment.id],
            "order_by": [{"field_name": "creation_timestamp", "ascending": True}],
        }
        for each in self._pages("POST", "logged-models/search", "models", asked, at_once=50, may_lack=True):
            yield logged_model_of(each, experiment)

    def models(self) -> Iterator[FoundModel]:
        """See `Source`."""
        for model in self._pages("GET", "registered-models/search", "registered_models", {}, at_once=100):
            name = model["name"]
            mark = '"' if "'" in name else "'"
            asked = {"filter": f"name={mark}{name}{mark}"}
            found = self._pages("GET", "model-versions/search", "model_versions", asked, at_once=1000)
            versions = []
            locations = {}
            for each in found:
                version = version_of(each)
                versions.append(version)
                where = {"name": name, "version": str(version.number)}
                answer = self._call("GET", "model-versions/get-download-uri", where)
                locations[version.number] = answer.get("artifact_uri") or version.source
            yield FoundModel(model=model_of(model, versions), locations=locations)

    def address(self, holder: Holder) -> str:
        """See `Source`: what the server proxies is nowhere else."""
        scheme = urlsplit(holder.uri).scheme
        if scheme in {"", "file", PROXIED, "http", "https"}:
            raise InvalidInput(f"its files at {holder.uri[:200]} are with that server", where=holder.owner)
        return normalized(holder.uri)

    def files(self, holder: Holder) -> list[FoundFile]:
        """See `Source`."""
        try:
            return sorted(self._below(holder, ""), key=lambda file: file.path)
        except InvalidInput as problem:
            self.problems.append(f"{holder.owner}: its files cannot be listed: {problem.message}")
            return []

    def fetch(self, holder: Holder, path: str, to: Path) -> None:
        """See `Source`."""
        kind, _, name = holder.owner.partition("/")
        if kind == "run":
            url, query = "/get-artifact", {"run_id": name, "path": path}
        else:
            url = f"/ajax-api/2.0/mlflow/logged-models/{quote(name)}/artifacts/files"
            query = {"artifact_file_path": path}
        try:
            with self._http.stream("GET", url, params=query) as answer, to.open("xb") as file:
                if answer.is_error:
                    raise InvalidInput(f"the server answers {answer.status_code} for {path}", where=holder.owner)
                for chunk in answer.iter_bytes(1 << 20):
                    file.write(chunk)
        except httpx.TransportError as error:
            raise self._away(error) from error

    def left_behind(self) -> dict[str, int]:
        """See `Source`: of traces a server tells no number."""
        return {}

    def close(self) -> None:
        """See `Source`."""
        self._http.close()

    def _below(self, holder: Holder, folder: str) -> Iterator[FoundFile]:
        kind, _, name = holder.owner.partition("/")
        if kind == "run":
            found = self._pages("GET", "artifacts/list", "files", {"run_id": name, "path": folder})
        elif kind == "logged-model":
            path = f"logged-models/{quote(name)}/artifacts/directories"
            found = self._pages("GET", path, "files", {"artifact_directory_path": folder})
        else:
            raise InvalidInput("they belong to no run and no logged model", where=holder.uri)
        for each in found:
            if each.get("is_dir"):
                yield from self._below(holder, each["path"])
            else:
                yield FoundFile(path=each["path"], size_bytes=int(each.get("file_size") or 0))

    def _pages(
        self,
        method: str,
        path: str,
        field: str,
        asked: Mapping[str, Any],
        *,
        at_once: int = PAGE,
        may_lack: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Every record of a listing, page by page; `may_lack` for what older servers do not have."""
        token = ""
        while True:
            page = {**{key: value for key, value in asked.items() if value != ""}, "max_results": at_once}
            if path.startswith(("artifacts/", "logged-models/")) and method == "GET":
                del page["max_results"]
            if token:
                page["page_token"] = token
            answer = self._call(method, path, page, may_lack=may_lack)
            yield from answer.get(field, ())
            token = answer.get("next_page_token") or ""
            if not token:
                return

    def _call(self, method: str, path: str, fields: Mapping[str, Any], *, may_lack: bool = False) -> dict[str, Any]:
        """One answer; a server that does not answer, or has too much to do, is asked again."""
        body: dict[str, Any] = {"params": fields} if method == "GET" else {"json": fields}
        answer = None
        for attempt in stamina.retry_context(on=_Again, attempts=TRIES, wait_initial=0.2, wait_max=5.0):
            with attempt:
                try:
                    answer = self._http.request(method, f"{API}/{path}", **body)
                except httpx.TransportError as error:
                    raise _Again(self._away(error).message, where=self._where) from error
                if answer.status_code in {429, 502, 503, 504}:
                    raise _Again(f"it answers {answer.status_code}", where=self._where)
        assert answer is not None
        if answer.status_code == _NOT_THERE and may_lack:
            return {}
        if answer.is_error:
            raise InvalidInput(f"{path} answers {answer.status_code}: {answer.text[:200]}", where=path)
        try:
            found: dict[str, Any] = answer.json()
        except ValueError as error:
            raise InvalidInput(f"{path} answers something else than JSON", where=path) from error
        return found

    def _away(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"the MLflow server does not answer: {str(error) or type(error).__name__}",
            where=self._where,
            fix="Start it, or give the address at which it runs.",
        )


class _Again(Unavailable):
    """Worth another try."""


def _point(found: Mapping[str, Any]) -> Point:
    """A point of a history, whose whole numbers may be texts, as protobuf writes them."""
    return (found["key"], int(found.get("step") or 0), int(found["timestamp"]), float(found.get("value") or 0.0))
