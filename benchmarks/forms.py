"""One row and a hundred through a model as it was registered, through each form that was made of it, and a host.

    python benchmarks/forms.py

Thirty features, a hundred trees. What passes is what the platform would serve; times are medians of one thread,
taken inside the process that answers. The last column is a call from another process, as a hosted model is asked.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import skops.io
import xgboost
import yaml
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headrace.serving.loading.environments import Environments
from headrace.serving.loading.host import HostOrder, ModelHost
from headrace.serving.loading.loader import arrange
from headrace.serving.loading.optimizing import Graph, optimize
from headrace.serving.loading_nouns import OptimizationReport
from headrace.serving.nouns import Loading
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.onnx_models import CONVERTED
from headrace.serving.runtimes.recipe import Recipe

FEATURES, TREES, ROWS = 30, 100, 2_000
CALLS = 300


def data() -> tuple[Any, Any]:
    """Rows of unlike magnitudes, and labels that depend on all of them."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(ROWS, FEATURES)) * 10.0 ** generator.integers(-2, 5, size=FEATURES)
    score = (rows / rows.std(axis=0)).sum(axis=1) + generator.normal(size=ROWS)
    return rows, (score > 0).astype(int)


def models(rows: Any, labels: Any) -> dict[str, Callable[[Path], dict[str, Any]]]:
    """What writes each model's file and gives its flavor, by name."""

    def in_skops(estimator: Any) -> Callable[[Path], dict[str, Any]]:
        def write(folder: Path) -> dict[str, Any]:
            skops.io.dump(estimator.fit(rows, labels), folder / "model.skops")
            flavor = {"pickled_model": "model.skops", "serialization_format": "skops"}
            return {"sklearn": flavor, "python_function": _function("sklearn", "predict_proba")}

        return write

    def in_lightgbm(folder: Path) -> dict[str, Any]:
        options = {"objective": "binary", "verbose": -1, "num_threads": 1}
        lightgbm.train(options, lightgbm.Dataset(rows, labels), TREES).save_model(folder / "model.lgb")
        return {"lightgbm": {"data": "model.lgb"}, "python_function": _function("lightgbm")}

    def in_xgboost(folder: Path) -> dict[str, Any]:
        model = xgboost.XGBClassifier(n_estimators=TREES, n_jobs=1).fit(rows, labels)
        model.save_model(folder / "model.ubj")
        kind = {"data": "model.ubj", "model_class": "xgboost.core.Booster"}
        return {"xgboost": kind, "python_function": _function("xgboost")}

    return {
        "scaler and logistic regression": in_skops(make_pipeline(StandardScaler(), LogisticRegression())),
        "scaler and random forest": in_skops(
            make_pipeline(StandardScaler(), RandomForestClassifier(TREES, random_state=0))
        ),
        "HistGradientBoosting": in_skops(HistGradientBoostingClassifier(max_iter=TREES, random_state=0)),
        "LightGBM": in_lightgbm,
        "XGBoost": in_xgboost,
    }


def _function(flavor: str, answer: str = "predict") -> dict[str, str]:
    return {"loader_module": f"mlflow.{flavor}", "predict_fn": answer}


def measure(folder: Path, write: Callable[[Path], dict[str, Any]], rows: Any) -> tuple[OptimizationReport, float]:
    """The report on a model, and microseconds of a call from here into its host."""
    folder.mkdir()
    inputs = [{"name": f"c{place}", "type": "double"} for place in range(FEATURES)]
    description = {"flavors": write(folder), "signature": {"inputs": json.dumps(inputs)}}
    (folder / "MLmodel").write_text(yaml.safe_dump(description))
    environments = Environments(folder / "environments")
    arrangement = arrange(ModelFiles(folder), signature=None, loading=Loading(), environments=environments)
    recipe = arrangement.order.recipe

    def form(graph: Graph) -> ModelHost:
        content, known = graph
        (folder / "form.onnx").write_bytes(content)
        options = {CONVERTED: known}
        return ModelHost(
            HostOrder(ModelFiles(folder), Recipe("onnx", file="form.onnx", columns=recipe.columns, options=options))
        )

    with ModelHost(arrangement.order) as native:
        report, graph = optimize(
            native,
            form,
            digest="",
            runtime=recipe.runtime,
            real=rows,
            nulls=(False,) * FEATURES,
            rows_from={"rows": len(rows)},
            libraries={},
            progress=lambda _fraction, _note: None,
        )
    return report, call_us(arrangement.order if graph is None else None, form, graph, rows)


def call_us(order: HostOrder | None, form: Callable[[Graph], ModelHost], graph: Graph | None, rows: Any) -> float:
    """Median microseconds of asking a host for one row."""
    host = form(graph) if graph is not None else ModelHost(order) if order is not None else None
    assert host is not None
    durations = []
    with host:
        for _ in range(CALLS):
            started = time.perf_counter()
            host.predict(rows[:1])
            durations.append(time.perf_counter() - started)
    return 1e6 * float(np.median(durations))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows, labels = data()
    print("| model | form | 1 row, µs | 100 rows, µs | largest difference | served | asked in a host, µs |")
    print("|---|---|---:|---:|---:|---|---:|")
    with tempfile.TemporaryDirectory() as scratch:
        for place, (name, write) in enumerate(models(rows, labels).items()):
            report, host_us = measure(Path(scratch) / str(place), write, rows)
            native = f"{report.one_row_us:.0f} | {report.hundred_rows_us:.0f}"
            print(f"| {name} | native | {native} | | {'yes' if report.chosen == 'native' else ''} | |")
            for each in report.candidates:
                largest = max((found.largest or 0.0 for found in each.agreements.values()), default=0.0)
                times = (
                    f"{each.one_row_us:.1f} | {each.hundred_rows_us:.0f}" if each.one_row_us is not None else " | "
                )
                served = "yes" if each.name == report.chosen else "" if each.passed else "refused"
                asked = f"{host_us:.0f}" if each.name == report.chosen else ""
                print(f"| | {each.name} | {times} | {largest:.1g} | {served} | {asked} |")


if __name__ == "__main__":
    main()
