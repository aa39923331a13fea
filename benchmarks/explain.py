"""What an explanation costs, beside the `shap` library on the same model, and what it does to predictions.

    pip install shap        # nothing here needs it but the comparison, which is left out without it
    python benchmarks/explain.py [--rows 30] [--seconds 6]

First each method explains single rows, and 100 at once, in this process: median milliseconds of the processor, and
shap's on the same model, rows and background as a ratio. Ours predict too, and compare the sum with the prediction;
shap is told not to. Then `headrace serve` answers predictions alone, and again while other connections ask for
explanations as fast as they get them, by turns: latency of the predictions, and what the explanations make of it.
"""

import argparse
import asyncio
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headrace.project.environment import capture_environment
from headrace.server.capacity import served
from headrace.serving.loading.environments import Environments
from headrace.serving.loading.loader import arrange
from headrace.serving.nouns import Loading
from headrace.serving.runtimes.explained import subject_of
from headrace.serving.runtimes.explaining import Explainer
from headrace.serving.runtimes.files import ModelFiles
from headrace.training.model_directory import export_model

COLUMNS = 20
NAMES = tuple(f"f{place}" for place in range(COLUMNS))
DATA = np.random.default_rng(0).normal(size=(5_000, COLUMNS))
LABELS = (DATA[:, 0] * DATA[:, 1] + DATA[:, 2] + np.random.default_rng(1).normal(size=5_000) > 0).astype(int)
BACKGROUND = DATA[:100]


def median_ms(explain: Callable[[Any], object], rows: int, *, at_once: int = 1) -> float:
    explain(DATA[-1:])  # what is compiled or set up once is no part of it
    took_s = []
    for place in range(rows):
        began_s = time.process_time()
        explain(DATA[1_000 + place : 1_000 + place + at_once])
        took_s.append(time.process_time() - began_s)
    return 1e3 * statistics.median(took_s)


def ours(estimator: Any, folder: Path, *, background: bool = True) -> tuple[Callable[[Any], object], str]:
    export_model(
        estimator,
        names=NAMES,
        sample=DATA[:100],
        directory=folder,
        environment=capture_environment(),
        background=BACKGROUND,
    )
    order = arrange(
        ModelFiles(folder), signature=None, loading=Loading(), environments=Environments(folder / "none")
    ).order
    explainer = Explainer(subject_of(order.files, order.recipe), order.recipe)
    if background:
        explainer.compare_with(BACKGROUND)
    method = explainer.explain(DATA[:1], None, output=None, within_s=60.0)[0]["method"]["name"]
    return lambda rows: explainer.explain(rows, None, output=None, within_s=60.0), method


def theirs(name: str, estimator: Any) -> Callable[[Any], object] | None:
    """The same game by shap; for what is asked from outside, one pair of permutations for each background row."""
    if importlib.util.find_spec("shap") is None:
        return None
    import shap

    if name == "tree_shap":
        return shap.TreeExplainer(estimator).shap_values
    if name == "tree_shap_path_dependent":
        of_training = shap.TreeExplainer(estimator)
        return lambda rows: of_training.shap_values(rows, check_additivity=False)
    if name == "tree_shap_interventional":
        output = "probability" if hasattr(estimator, "estimators_") else "raw"
        explainer = shap.TreeExplainer(
            estimator, BACKGROUND, feature_perturbation="interventional", model_output=output
        )
        return lambda rows: explainer.shap_values(rows, check_additivity=False)
    if name == "linear":
        scaler, model = (step for _, step in estimator.steps)
        linear = shap.LinearExplainer(model, scaler.transform(BACKGROUND))
        return lambda rows: linear.shap_values(scaler.transform(rows))
    masker = shap.maskers.Independent(BACKGROUND, max_samples=len(BACKGROUND))
    sampler = shap.PermutationExplainer(lambda rows: estimator.predict_proba(rows)[:, 1], masker)
    return lambda rows: sampler(rows, max_evals=2 * COLUMNS + 1, silent=True)


def methods(rows: int, screen: Console) -> None:
    table = Table(
        "model", "method", "1 row: ms", "shap ms", "shap / ours", "100 rows: ms", "shap ms", "shap / ours"
    )
    models: dict[str, Any] = {
        "scaler, logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
        "XGBoost, 200 trees of depth 6": xgboost.XGBClassifier(n_estimators=200, max_depth=6, n_jobs=1),
        "HistGradientBoosting, 100 trees": HistGradientBoostingClassifier(max_iter=100),
        "forest, 100 trees of depth 8": RandomForestClassifier(100, max_depth=8),
        "forest, 100 trees, grown out": RandomForestClassifier(100),
        "naive Bayes, asked from outside": GaussianNB(),
    }
    for title, estimator in models.items():
        estimator.fit(DATA, LABELS)
        trees = hasattr(estimator, "estimators_") or isinstance(estimator, HistGradientBoostingClassifier)
        for background in (True, False) if trees else (True,):
            with tempfile.TemporaryDirectory() as folder:
                explain, method = ours(estimator, Path(folder) / "m", background=background)
                other = theirs(method, estimator)
                cells = []
                for at_once, times in ((1, rows), (100, 3)):
                    own_ms = median_ms(explain, times, at_once=at_once)
                    cells.append(f"{own_ms:.2f}" if at_once == 1 else f"{own_ms:.0f}")
                    if other is None:
                        cells += ["", ""]
                        continue
                    other_ms = median_ms(other, times, at_once=at_once)
                    cells += [f"{other_ms:.2f}" if at_once == 1 else f"{other_ms:.0f}", f"{other_ms / own_ms:.1f}"]
            table.add_row(title, method.removeprefix("tree_shap_"), *cells)
    screen.print(table)


async def explanations(port: int, end_s: float, connections: int) -> tuple[int, int]:
    """How many were given and turned away."""
    body = json.dumps({"dataframe_split": {"columns": NAMES, "data": DATA[:1].tolist()}}).encode()
    head = (
        f"POST /explain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    counts = {200: 0, 503: 0}

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end_s:
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            counts[int(answer[9:12])] += 1
            if answer[9:12] == b"503":
                await asyncio.sleep(0.2)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return counts[200], counts[503]


def predictions(port: int, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, str(Path(__file__).with_name("load.py")), str(port), "/invocations"]
    loader = subprocess.Popen(
        [*command, "--connections", "4", "--seconds", str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert loader.stdin is not None
    loader.stdin.write(json.dumps({"dataframe_split": {"columns": NAMES, "data": DATA[:1].tolist()}}))
    loader.stdin.close()
    return loader


def measured(loader: "subprocess.Popen[str]") -> dict[str, Any]:
    assert loader.stdout is not None
    found: dict[str, Any] = json.loads(loader.stdout.read())
    loader.wait()
    return found


TURNS = 4
ASKING = 32


def beside(seconds: float, screen: Console) -> None:
    table = Table("explained", "explanations", "predictions/s", "p50 ms", "p99 ms", "explained/s", "turned away/s")
    models = {
        "naive Bayes, asked from outside": GaussianNB(),
        "HistGradientBoosting, 100 trees": HistGradientBoostingClassifier(max_iter=100),
    }
    for title, estimator in models.items():
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / "model"
            ours(estimator.fit(DATA, LABELS), folder)
            with served(folder, allow_code=False, log=Path(root) / "log") as (port, _):
                asyncio.run(explanations(port, time.perf_counter() + 3, 1))  # starts the process
                found = [turn(port, seconds, connections) for _ in range(TURNS) for connections in (0, ASKING)]
        alone, both = found[::2], found[1::2]
        for name, turns in (("none", alone), (f"{ASKING} connections", both)):
            medians = [statistics.median(each[key] for each in turns) for key in KEYS]
            table.add_row(
                title, name, *(f"{value:,.{places}f}" for value, places in zip(medians, PLACES, strict=True))
            )
        ratios = [
            statistics.median(mine[key] / none[key] for mine, none in zip(both, alone, strict=True))
            for key in KEYS[:3]
        ]
        table.add_row(title, "with / without", *(f"{ratio:.2f}" for ratio in ratios), end_section=True)
    screen.print(table)


KEYS = ("requests_per_s", "p50_ms", "p99_ms", "given_per_s", "refused_per_s")
PLACES = (0, 2, 2, 1, 1)


def turn(port: int, seconds: float, connections: int) -> dict[str, float]:
    """What predictions and explanations came to in some seconds, by `KEYS`."""
    loader = predictions(port, seconds)
    end_s = time.perf_counter() + seconds
    given, refused = asyncio.run(explanations(port, end_s, connections)) if connections else (0, 0)
    return {**measured(loader), "given_per_s": given / seconds, "refused_per_s": refused / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    screen = Console(width=130)
    methods(given.rows, screen)
    beside(given.seconds, screen)


if __name__ == "__main__":
    main()
