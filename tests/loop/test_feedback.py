"""What was predicted on a whole platform, what became of it, and what a batch adds: asked in SQL at the end."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io

from headrace.errors import InvalidInput, PermissionRefused
from headrace.testing.platform import TemporaryPlatform, temporary_platform

from .test_loading import MODEL, NAMES, ROWS, directory, held, register

pytestmark = pytest.mark.loop


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryPlatform]:
    with temporary_platform(tmp_path_factory.mktemp("feedback") / "home") as running:
        yield running


def headrace(platform: TemporaryPlatform, *arguments: str) -> str:
    """What the command line prints."""
    here = {"HEADRACE_URL": platform.url, "HEADRACE_HOME": str(platform.launched.home), "COLUMNS": "200"}
    command = [sys.executable, "-m", "headrace", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | here, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def predict(platform: TemporaryPlatform, rows: list[list[float]]) -> list[str]:
    body = {"dataframe_records": [dict(zip(NAMES, row, strict=True)) for row in rows]}
    answer = httpx.post(f"{platform.gateway_url}/models/forest/versions/1/invocations", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    ids: list[str] = answer.json()["prediction_ids"]
    return ids


def say(platform: TemporaryPlatform, body: Any) -> httpx.Response:
    return httpx.post(f"{platform.gateway_url}/feedback", json=body, timeout=30)


def test_predictions_meet_what_became_of_them_in_sql(platform: TemporaryPlatform, tmp_path: Path) -> None:
    folder = directory(tmp_path / "forest", pickled_model="model.skops", serialization_format="skops")
    skops.io.dump(MODEL, folder / "model.skops")
    local = platform.local
    register(local, "forest", folder)
    local.open_release("forest", 1)
    local.wait_for(lambda: held(local, "forest"), lambda each: each is not None and not each.error, "the model")
    first, second, third = predict(platform, ROWS[:3].tolist())
    items = [{"prediction_id": first, "value": 1}, {"prediction_id": second, "value": 0}]
    assert say(platform, items).json()["accepted"] == 2
    assert say(platform, items).status_code == 202
    assert say(platform, {"prediction_id": "prd_never", "value": 1}).status_code == 202
    assert say(platform, {"prediction_id": first}).status_code == 400
    local.wait_for(local.feedback.state, lambda state: (state.joined, state.waiting) == (2, 1), "the join")
    assert local.feedback.say(second, 1).corrections == 1
    assert [one.effective for one in local.feedback.of(second)] == [False, True]
    local.wait_for(local.feedback.state, lambda state: state.joined == 3, "the correction")
    (tally,) = local.feedback.tallies("forest")
    assert (tally.version, tally.count, tally.total) == (1, 2, 2.0)
    assert "label" in headrace(platform, "feedback", "show", "forest")
    sql = (
        "SELECT p.prediction_id, f.number FROM predictions p LEFT JOIN feedback f"
        " ON f.prediction_id = p.prediction_id AND f.effective ORDER BY 1"
    )
    found = local.predictions.query(sql).to_pylist()
    assert {row["prediction_id"]: row["number"] for row in found} == {first: 1.0, second: 1.0, third: None}
    with pytest.raises(InvalidInput):
        local.predictions.query("SELECT * FROM read_csv('/etc/passwd')")

    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table(dict(zip(NAMES, ROWS.T, strict=True))), rows)
    out = tmp_path / "scored"
    told = headrace(platform, "score", "models:/forest/1", "-i", str(rows), "-o", str(out), "--part-rows", "100")
    assert "300 of 300 rows answered" in told
    scored = pa.concat_tables([pq.read_table(path) for path in sorted(out.glob("part-*.parquet"))])
    np.testing.assert_allclose(np.array(scored["prediction"].to_pylist()), MODEL.predict_proba(ROWS), atol=1e-12)
    by_purpose = "SELECT purpose, count(*) FROM predictions.forest GROUP BY 1 ORDER BY 1"
    lines = headrace(platform, "predictions", "query", by_purpose).split()
    assert lines[-4:] == ["batch", "300", "live", "3"]

    dana = platform.person("dana", "developer")
    with pytest.raises(PermissionRefused):
        dana.retention.keep("predictions", "90d")
    assert "predictions: 90d" in headrace(platform, "retention", "set", "predictions", "90d")
    assert "90d" in headrace(platform, "retention", "show")
    headrace(platform, "retention", "set", "predictions", "never")
    assert local.retention.rules() == []
