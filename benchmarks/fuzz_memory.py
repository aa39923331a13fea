"""What hostile bodies leave in the memory of a gateway.

    python benchmarks/fuzz_memory.py [--requests 100000] [--seed 0]

A whole platform with one gateway gets bodies that are damaged in every way that its parsers know: the JSON forms,
CSV, Parquet, the Open Inference Protocol in JSON and in binary, feedback, and entities; cut, nested, long, wrongly
announced, or never ended. Resident memory is read after each tenth. The first tenth is warm-up; the slope of the
rest is what grows. No answer may be a 5xx.
"""

import argparse
import asyncio
import hashlib
import io
import json
import random
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import skops.io
import yaml
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LinearRegression

from headrace.registry.nouns import ModelFile, RegisterVersion, Version
from headrace.sdk.platform import Platform
from headrace.testing.platform import TemporaryPlatform, temporary_platform

CONNECTIONS = 16
NAMES = ("amount", "visits", "age")
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
PARTS = 10
HASTE = 0.3
"""Share of bodies that are sent whole and as they are: else nothing behind the parsers is reached."""


class Sent(NamedTuple):
    """A request."""

    path: str
    content_type: str
    body: bytes
    headers: str = ""


# -- what is sent -----------------------------------------------------------------------------------------------


def value(dice: random.Random) -> object:
    """Something that may stand for a number.

    No sum of three overflows: a model whose answer is no number is at fault for it, and that is a 500 by rule.
    """
    odd: list[object] = [None, True, "", "x" * dice.randrange(2_000), 1e300, 10**400, -0.0, [], {}, [[1]], {"a": 1}]
    return dice.random() if dice.random() < 0.8 else dice.choice(odd)


def names(dice: random.Random) -> list[str]:
    """The model's columns, or nearly."""
    if dice.random() < 0.7:
        return list(NAMES)
    return [
        dice.choice([*NAMES, f"c{dice.randrange(10**9)}", "\u0000", "é" * 300]) for _ in range(dice.randrange(6))
    ]


def json_form(dice: random.Random) -> Sent:
    """A body of MLflow's protocol."""
    columns, rows = names(dice), dice.choice([0, 1, 1, 3, 50, 2_000])
    data = [[value(dice) for _ in columns] for _ in range(rows)]
    forms: dict[str, object] = {
        "dataframe_split": {"columns": columns, "data": data},
        "dataframe_records": [dict(zip(columns, row, strict=True)) for row in data],
        "instances": data,
        "inputs": {name: [row[place] for row in data] for place, name in enumerate(columns)},
        "entities": {dice.choice([*NAMES, "customer_id"]): [value(dice) for _ in range(rows)]},
    }
    body = {name: forms[name] for name in dice.sample(sorted(forms), dice.choice([1, 1, 1, 2]))}
    return Sent("/models/fuzzed/invocations", JSON, json.dumps(body).encode())


def csv_form(dice: random.Random) -> Sent:
    """Lines of text."""
    lines = [",".join(names(dice))] + [",".join(str(value(dice)) for _ in NAMES) for _ in range(dice.randrange(60))]
    return Sent("/models/fuzzed/invocations", CSV, "\n".join(lines).encode())


def parquet_form(dice: random.Random) -> Sent:
    """A small file."""
    rows = dice.choice([0, 1, 20])
    kinds = [pa.float64(), pa.int8(), pa.string(), pa.bool_(), pa.timestamp("ns"), pa.list_(pa.int8())]
    columns = {
        name: pa.nulls(rows, dice.choice(kinds)) if dice.random() < 0.3 else pa.array([dice.random()] * rows)
        for name in names(dice)
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return Sent("/models/fuzzed/invocations", PARQUET, sink.getvalue())


def inference_form(dice: random.Random) -> Sent:
    """A body of the Open Inference Protocol."""
    rows = dice.choice([0, 1, 5])
    kinds = ["FP64", "INT8", "BYTES", "BOOL", "NONE"]
    inputs = [
        {"name": name, "shape": [rows], "datatype": dice.choice(kinds), "data": [value(dice) for _ in range(rows)]}
        for name in names(dice)
    ]
    return Sent("/v2/models/fuzzed/infer", JSON, json.dumps({"id": "x", "inputs": inputs}).encode())


def binary_form(dice: random.Random) -> Sent:
    """The same with tensors behind the JSON."""
    rows = dice.choice([1, 4])
    content = b"".join(struct.pack("<d", dice.random()) for _ in range(rows * len(NAMES)))
    size = dice.choice([8 * rows, 8 * rows, 0, -1, 10**12])
    inputs = [
        {"name": name, "shape": [rows], "datatype": "FP64", "parameters": {"binary_data_size": size}}
        for name in NAMES
    ]
    head = json.dumps({"inputs": inputs}).encode()
    length = dice.choice([len(head), len(head), 0, -5, 10**9])
    headers = f"Inference-Header-Content-Length: {length}\r\n"
    return Sent("/v2/models/fuzzed/infer", "application/octet-stream", head + content, headers)


def feedback_form(dice: random.Random) -> Sent:
    """Feedback on predictions, few of which were made."""
    item = {
        "prediction_id": f"prd_{dice.randrange(10**6)}",
        "name": dice.choice(names(dice) or [""]),
        "value": value(dice),
    }
    return Sent("/api/v1/feedback", JSON, json.dumps([item] if dice.random() < 0.5 else item).encode())


def deep_form(dice: random.Random) -> Sent:
    """Brackets without end."""
    depth = dice.choice([50, 1_000, 100_000])
    return Sent(
        "/models/fuzzed/invocations", JSON, b'{"instances":' + b"[" * depth + b"]" * dice.choice([0, depth])
    )


def path_form(dice: random.Random) -> Sent:
    """A body for nobody."""
    place = dice.choice(
        [f"/models/m{dice.randrange(10**9)}/invocations", f"/v2/models/m{dice.randrange(10**9)}/infer", "/%00"]
    )
    return Sent(place, f"text/{dice.randrange(10**6)}", b"{}")


FORMS: tuple[Callable[[random.Random], Sent], ...] = (
    json_form, csv_form, parquet_form, inference_form, binary_form, feedback_form, deep_form, path_form,
)  # fmt: skip


def damaged(dice: random.Random, body: bytes) -> bytes:
    """Bytes cut, doubled or changed."""
    if not body or dice.random() < HASTE:
        return body
    place = dice.randrange(len(body))
    return dice.choice(
        [
            body[:place],
            body[:place] + bytes([dice.randrange(256)]) + body[place + 1 :],
            body[place:] + body[:place],
            body * 2,
        ]
    )


# -- sending ----------------------------------------------------------------------------------------------------


async def ask(port: int, dice: random.Random, count: int, statuses: Counter[int]) -> None:
    """Send requests over one connection after another; some are left in the middle of their body."""
    reader = writer = None
    for _ in range(count):
        if writer is None or reader is None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        sent = dice.choice(FORMS)(dice)
        body = damaged(dice, sent.body)
        short = dice.random() < 0.02
        head = (
            f"POST {sent.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {sent.content_type}\r\n{sent.headers}"
        )
        writer.write(f"{head}Content-Length: {len(body) + (9 if short else 0)}\r\n\r\n".encode() + body)
        if short:  # the caller goes away
            writer.close()
            reader = writer = None
            statuses[0] += 1
            continue
        told = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        statuses[int(told[9:12])] += 1
        length = next((line for line in told.split("\r\n") if line.startswith("content-length:")), None)
        answer = await reader.readexactly(int(length.partition(":")[2]) if length else 0)
        if told[9:12] == "500":
            print(answer.decode(), sent.path, sent.content_type, body[:2_000])
        if "connection: close" in told or length is None:
            writer.close()
            reader = writer = None
    if writer is not None:
        writer.close()


async def send(port: int, dice: random.Random, count: int, statuses: Counter[int]) -> None:
    """Send so many from all connections together."""
    each = [random.Random(dice.random()) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(ask(port, one, count // CONNECTIONS, statuses) for one in each))


# -- measuring --------------------------------------------------------------------------------------------------


def serve(local: Platform, folder: Path) -> None:
    """Register a model and put it into production."""
    folder.mkdir()
    rows = np.random.default_rng(0).normal(size=(50, len(NAMES)))
    skops.io.dump(LinearRegression().fit(rows, rows.sum(axis=1)), folder / "model.skops")
    inputs = [{"name": name, "type": "double"} for name in NAMES]
    flavors = {
        "sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"},
        "python_function": {"loader_module": "mlflow.sklearn", "predict_fn": "predict"},
    }
    (folder / "MLmodel").write_text(
        yaml.safe_dump({"flavors": flavors, "signature": {"inputs": json.dumps(inputs)}})
    )
    files = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        local.transport.upload(f"/api/v1/blobs/{digest}", content, returns=dict)
        files.append(ModelFile(path=path.name, digest=digest, size_bytes=len(content)))
    asked = RegisterVersion(model="fuzzed", source="file://fuzzed", files=tuple(files))
    local.transport.call("POST", "/api/v1/models/fuzzed/versions", asked, returns=Version)
    local.open_release("fuzzed", 1)
    local.wait_for(
        local.gateways, lambda found: any(each.loaded for each in found), "it to be served", timeout_s=60
    )


def resident_mb(platform: TemporaryPlatform) -> float:
    """Of the gateway and what it started."""
    gateway = psutil.Process(platform.launched.processes()["gateway-1"].pid)
    every = [gateway, *gateway.children(recursive=True)]
    return float(sum(process.memory_info().rss for process in every)) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    dice, statuses = random.Random(options.seed), Counter[int]()
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as made,
        temporary_platform(Path(made) / "home", {"HEADRACE_OPTIMIZE": "0"}) as platform,
    ):
        serve(platform.local, Path(made) / "model")
        port = int(platform.gateway_url.rpartition(":")[2])
        seen = [(0, resident_mb(platform))]
        for _ in range(PARTS):
            asyncio.run(send(port, dice, options.requests // PARTS, statuses))
            seen.append((sum(statuses.values()), resident_mb(platform)))
            console.print(f"{seen[-1][0]:,} requests: {seen[-1][1]:.1f} MB", style="dim")
    show(seen, statuses, console)
    if any(status >= 500 and status != 503 for status in statuses):
        raise SystemExit("a caller's mistake was answered as the gateway's")


def show(seen: list[tuple[int, float]], statuses: Counter[int], console: Console) -> None:
    """What was answered, and the slope after the first tenth."""
    warm = seen[1:]
    slope = float(np.polyfit([count for count, _ in warm], [size for _, size in warm], 1)[0]) * 10_000
    late = seen[1 + PARTS // 2 :]
    last = float(np.polyfit([count for count, _ in late], [size for _, size in late], 1)[0]) * 10_000
    table = Table("requests", "before, MB", "warm, MB", "after, MB", "MB per 10,000", "of the second half")
    table.add_row(
        f"{seen[-1][0]:,}",
        *(f"{size:.1f}" for _, size in (seen[0], seen[1], seen[-1])),
        f"{slope:+.2f}",
        f"{last:+.2f}",
    )
    console.print(table)
    console.print("answers: " + ", ".join(f"{status or 'left'}: {n:,}" for status, n in sorted(statuses.items())))


if __name__ == "__main__":
    main()
