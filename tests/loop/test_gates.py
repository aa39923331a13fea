"""Every gate on a real platform: groups by what is no feature, evidence on the terminal, computed again."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.loop import small_shop

from headrace.delivery.machine import Phase
from headrace.delivery.nouns import ReleaseAction
from headrace.registry.nouns import Evidence
from headrace.sdk.platform import Platform
from headrace.testing.platform import TemporaryPlatform, temporary_platform

pytestmark = pytest.mark.loop

GATES = """
people = hr.Source("people", "people.parquet", time="since")

small.delivered_by(
    gates=[
        hr.at_least("roc_auc", 0.6),
        hr.not_worse_than_production("average_precision", margin=0.2),
        hr.not_worse_than_production("f1", margin=0.2),
        hr.fair([hr.column("region", source=people)], at_most=0.4, margin=0.2),
        hr.slices("brier", [hr.column("spend_60d", quantiles=2)], bound=0.4),
        hr.calibrated(at_most=0.3),
        hr.latency(p95_ms=1_000, slower_at_most=20),
        hr.size(at_most_bytes=10_000_000),
    ],
    rollout=hr.Canary([100], minimum_time="1s", cooling="1s"),
    holdout_uses=1,
)
"""


def write(folder: Path) -> Path:
    project = small_shop.write(folder)
    declared, _ = small_shop.PROJECT.split("small.delivered_by(")
    project.write_text(declared + GATES)
    customers = np.arange(1, small_shop.CUSTOMERS + 1)
    people = {
        "customer_id": pa.array(customers, pa.int64()),
        "region": pa.array(["north" if customer % 2 else "south" for customer in customers.tolist()]),
        "since": pa.array([date(2025, 1, 1)] * len(customers), pa.date32()),
    }
    pq.write_table(pa.table(people), folder / "people.parquet")
    return project


def judged(dana: Platform, number: int) -> list[Evidence]:
    release = dana.open_release(small_shop.MODEL, number)
    dana.wait_for(lambda: dana.release(release.id), lambda now: now.phase is not Phase.GATING, "gates")
    found = [one for one in dana.evidence(small_shop.MODEL, number) if one.release_id == release.id]
    assert len(found) == 8, dana.release(release.id).reason
    return found


def headrace(platform: TemporaryPlatform, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"HEADRACE_URL": platform.url, "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments], capture_output=True, text=True, env=environment
    )


def test_all_gates_judge_two_versions_and_can_be_computed_again(tmp_path: Path) -> None:
    with temporary_platform(tmp_path / "home") as platform:
        dana = small_shop.open_shop(platform, write(tmp_path / "shop"))
        first = judged(dana, small_shop.train(dana, 1.0))
        assert all(one.verdict.passes for one in first), [one.summary for one in first]
        (fair,) = [one for one in first if one.gate == "fair"]
        assert {row["group"] for row in fair.details["groups"]} == {"north", "south"}
        assert {one.details.get("holdout_uses") for one in first} == {1, None}
        shown = headrace(platform, "evidence", "show", f"{small_shop.MODEL}@1", "--details")
        assert shown.returncode == 0, shown.stderr
        assert "demographic_parity_difference by people.region" in shown.stdout
        again = headrace(platform, "evidence", "recompute", f"{small_shop.MODEL}@1")
        assert again.returncode == 0, again.stdout + again.stderr
        assert again.stdout.count("✓ PASS") == 16
        one = headrace(platform, "evidence", "recompute", fair.id)
        assert one.returncode == 0, one.stdout + one.stderr
        nothing = headrace(platform, "evidence", "recompute", "evd_nothing")
        assert (nothing.returncode, "no such evidence" in nothing.stderr) == (1, True)

        rollout = dana.releases(small_shop.MODEL)[0].id
        dana.wait_for(lambda: dana.release(rollout), lambda now: now.phase is Phase.ROLLING_OUT, "the rollout")
        platform.local.command_release(rollout, ReleaseAction.PROMOTE)
        dana.wait_for(lambda: dana.release(rollout), lambda now: now.state.final, "production")
        second = judged(dana, small_shop.train(dana, 0.1))
        assert {one.production_number for one in second} == {1}
        warned = [one for one in second if "these rows have judged 2 releases" in one.summary]
        assert len(warned) == 6
        latency = next(one for one in second if one.gate == "latency")
        assert {part["name"] for part in latency.details["parts"]} == {"p95, ms", "against production"}
        again = headrace(platform, "evidence", "recompute", f"{small_shop.MODEL}@2")
        assert again.returncode == 0, again.stdout + again.stderr
