"""Two versions whose libraries exclude one another answer side by side behind one endpoint."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.processes import children
from tests.serving import models
from tests.serving.conftest import Bench, route

from headrace.errors import Unavailable
from headrace.serving.loading.environments import Environments
from headrace.serving.loading.loader import requirements_of
from headrace.serving.nouns import ServedVersion
from headrace.serving.runtimes.files import ModelFiles

VERSIONS = {1: "1.7.2", 2: "1.8.0"}
"""Of scikit-learn, by the number of the model's version; the gateway has a later one than both."""
PATIENCE_S = 120
TRAIN = """
import sys
import numpy, skops.io, sklearn
from sklearn.linear_model import LinearRegression

rows = numpy.random.default_rng(0).normal(size=(200, 2))
skops.io.dump(LinearRegression().fit(rows, rows @ [float(sys.argv[2]), 0.0]), sys.argv[1])
assert sklearn.__version__ == sys.argv[3], sklearn.__version__
"""


def test_conflicting_libraries_behind_one_endpoint(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.log.start()
    environments = Environments(tmp_path / "cache" / "environments")
    versions = [make(bench, environments, number) for number in VERSIONS]

    async def scenario() -> None:
        bench.residency.replace([route(*versions, champion=1, challenger=2, weight_percent=50.0)], 1)
        for _ in range(PATIENCE_S * 10):
            if bench.residency.settled():
                break
            await asyncio.sleep(0.1)
        assert [loaded.error for loaded in bench.residency.loaded()] == [None, None]
        rows = [{"purchases": 1.0, "spend": 9.0}]
        for number in VERSIONS:
            path = f"/models/churn/versions/{number}/invocations"
            answer = await bench.post(path, {"dataframe_records": rows})
            np.testing.assert_allclose(answer.body["predictions"], [float(number)], atol=1e-9)
        answers = [await bench.post("/models/churn/invocations", {"dataframe_records": rows}) for _ in range(40)]
        assert {version for answer in answers for version in answer.body["versions"]} == {1, 2}
        for answer in answers:
            np.testing.assert_allclose(answer.body["predictions"], answer.body["versions"], atol=1e-9)
        assert len({child.cmdline()[0] for child in children("environments")}) == 2

    try:
        asyncio.run(scenario())
    finally:
        bench.log.close()
        bench.loaders.shutdown()


def make(bench: Bench, environments: Environments, number: int) -> ServedVersion:
    """A version of its own scikit-learn: its environment is built, and trains it too."""
    directory = bench.root / f"version-{number}"
    directory.mkdir()
    (directory / "requirements.txt").write_text(f"mlflow==3.17.2\nscikit-learn=={VERSIONS[number]}\nskops\n")
    sklearn = {"pickled_model": "model.skops", "serialization_format": "skops", "sklearn_version": VERSIONS[number]}
    inputs = [{"name": name, "type": "double"} for name in models.NAMES]
    description: dict[str, Any] = {
        "flavors": {"sklearn": sklearn, "python_function": {"loader_module": "mlflow.sklearn"}},
        "signature": {"inputs": json.dumps(inputs)},
    }
    (directory / "MLmodel").write_text(yaml.safe_dump(description))
    wanted = requirements_of(ModelFiles(directory))
    with pytest.raises(Unavailable, match=r"lacks scikit-learn==1\.[78]\.\*"):
        environments.interpreter(wanted)
    environments.build(wanted)
    python = environments.interpreter(wanted)
    assert python is not None
    command: list[str | Path] = [python, "-c", TRAIN, directory / "model.skops", str(number), VERSIONS[number]]
    subprocess.run(command, check=True, capture_output=True)
    return models.store_version(bench.blobs, directory, number)
