"""Calls of MLflow's protocol that something is wrong with, or odd: strange numbers, other alphabets, repetitions.

They follow those of `differential_cases`; `json.dumps` writes NaN and the infinities bare.
"""

import math
from typing import Any

from .differential_cases import NOW, Call, get, kept, metric, post

TAG = {"key": "k", "value": "v"}
DATASET = {"name": "d", "digest": "1", "source_type": "s", "source": "x"}
LOGGED = '{"artifact_path": "model", "flavors": {}, "utc_time_created": "x", "run_id": "{run}", "model_uuid": "u"}'


def twice(call: Call) -> list[Call]:
    """The same again, as after an answer that was lost."""
    return [call, call._replace(keep="", at=())]


def run(name: str, experiment_id: str = "0", **fields: Any) -> Call:
    begun = post("runs/create", experiment_id=experiment_id, run_name=name, start_time=NOW, **fields)
    return kept(begun, name, "run", "info", "run_id")


ODD = ["NaN", " 5 ", "1_000", -0.0, 1e-310, 2**70, "1e308"]
NUMBERS = [
    run("odd"),
    *(post("runs/log-metric", run_id="{odd}", **metric(f"m{number}", value)) for number, value in enumerate(ODD)),
    post("runs/log-batch", run_id="{odd}", metrics=[metric("b", "NaN"), metric("b", 0.5, step=1)]),
    *(
        post("runs/log-metric", run_id="{odd}", **metric("bad", value))
        for value in ("high", "", None, "0x10", "１e")
    ),
    post("runs/log-metric", run_id="{odd}", key="bad", value=1, timestamp=NOW, step="high"),
    get("runs/get", run_id="{odd}"),
    get("metrics/get-history", run_id="{odd}", metric_key="b"),
    *(
        post("runs/search", experiment_ids=["0"], filter=f"metrics.{found}")
        for found in ("m0 > 0", "m0 < 0", "m0 = 0", "m0 != 0", "m1 = 5", "b > 0", "m6 > 1e307")
    ),
    run("infinite"),
    *(
        post("runs/log-metric", run_id="{infinite}", **metric(f"i{number}", value))
        for number, value in enumerate(["Infinity", "-Infinity", "inf", "+Infinity"])
    ),
    get("runs/get", run_id="{infinite}"),
    *(
        post("runs/search", experiment_ids=["0"], filter=f"metrics.{found}")
        for found in ("i0 <= 1.7976931348623157e308", "i0 < 0", "i1 > 0")
    ),
    run("bare"),
    *(
        post("runs/log-metric", run_id="{bare}", **metric(f"n{number}", value))
        for number, value in enumerate([math.nan, math.inf, -math.inf, "nan"])
    ),
    get("runs/get", run_id="{bare}"),
]

KEYS = ["потеря", "損失", "خسارة", "ａ", "a²", " a ", ".a", "a:b", "a/b"]
NO_KEYS = ["🚀", "e\u0301", "हानि", "a\u200db", "a\u200fb", "a\u00a0b", "a\tb", "a%", "a'b", "a`b", ".", "/a"]
NAMES = ["потеря", "損失", "🚀", "e\u0301", "हानि", "a\u200cb", "a\u200fb", "a\u00a0b", "a'b", "100%", ".a", "a..b"]
NO_NAMES = ["", "a/b", "a:b", ".", "..", "..a"]

ALPHABETS = [
    run("прогон 🚀"),
    *(
        call
        for key in [*KEYS, *NO_KEYS]
        for call in (
            post("runs/log-metric", run_id="{прогон 🚀}", **metric(key, 1)),
            post("runs/log-parameter", run_id="{прогон 🚀}", key=key, value=key),
            post("runs/set-tag", run_id="{прогон 🚀}", key=key, value=key),
            post("experiments/set-experiment-tag", experiment_id="0", key=key, value=key),
            post("runs/search", experiment_ids=["0"], filter=f"params.`{key}` LIKE '%' AND metrics.`{key}` = 1"),
        )
        if not ("`" in key and "filter" in call.fields)
    ),
    get("runs/get", run_id="{прогон 🚀}"),
    *(get("metrics/get-history", run_id="{прогон 🚀}", metric_key=key) for key in KEYS),
    *(post("experiments/create", name=f"{name}!") for name in NAMES),
    *(get("experiments/get-by-name", experiment_name=f"{name}!") for name in NAMES),
    *(post("experiments/search", max_results=10, filter=f'name = "{name}!"') for name in NAMES),
    *(post("registered-models/create", name=name, tags=[TAG]) for name in [*NAMES, *NO_NAMES]),
    *(get("registered-models/search", filter=f'name = "{name}"') for name in NAMES),
    *(post("registered-models/set-tag", name=NAMES[0], key=key, value="v") for key in [*KEYS, *NO_KEYS]),
    get("registered-models/get", name=NAMES[0]),
    *(Call("DELETE", "registered-models/delete", {"name": name}) for name in NAMES),
    *(post("logged-models", experiment_id="0", name=name) for name in ("a/b", "a:b", "a.b", "100%", "a'b", 'a"b')),
    *(
        kept(post("logged-models", experiment_id="0", name=name), f"model {name}", "model", "info", "model_id")
        for name in ("損失", "🚀")
    ),
]

AGAIN = [
    *twice(kept(post("experiments/create", name="again", tags=[TAG]), "again", "experiment_id")),
    *twice(post("experiments/set-experiment-tag", experiment_id="{again}", key="a", value="b")),
    *twice(post("experiments/delete-experiment-tag", experiment_id="{again}", key="k")),
    *twice(post("experiments/update", experiment_id="{again}", new_name="and again")),
    *twice(post("experiments/delete", experiment_id="{again}")),
    *twice(post("experiments/restore", experiment_id="{again}")),
    get("experiments/get", experiment_id="{again}"),
    run("retried", "{again}", tags=[TAG]),
    *twice(post("runs/log-metric", run_id="{retried}", **metric("m", 1))),
    *twice(post("runs/log-parameter", run_id="{retried}", **TAG)),
    *twice(post("runs/set-tag", run_id="{retried}", key="a", value="b")),
    *twice(post("runs/delete-tag", run_id="{retried}", key="k")),
    *twice(post("runs/log-batch", run_id="{retried}", metrics=[metric("m", 2)], params=[TAG], tags=[TAG])),
    *twice(post("runs/log-inputs", run_id="{retried}", datasets=[{"dataset": DATASET, "tags": [TAG]}])),
    *twice(post("runs/update", run_id="{retried}", status="FINISHED", end_time=NOW, run_name="n")),
    *twice(post("runs/delete", run_id="{retried}")),
    *twice(post("runs/restore", run_id="{retried}")),
    get("runs/get", run_id="{retried}"),
    get("metrics/get-history", run_id="{retried}", metric_key="m"),
    run("logged", "{again}"),
    *twice(post("runs/log-model", run_id="{logged}", model_json=LOGGED)),
    get("runs/get", run_id="{logged}"),
    *twice(post("registered-models/create", name="again", tags=[TAG])),
    *twice(post("registered-models/set-tag", name="again", key="a", value="b")),
    *twice(Call("DELETE", "registered-models/delete-tag", {"name": "again", "key": "k"})),
    *twice(Call("PATCH", "registered-models/update", {"name": "again", "description": "about"})),
    *twice(post("registered-models/rename", name="again", new_name="once more")),
    get("registered-models/get", name="once more"),
    *twice(Call("DELETE", "registered-models/delete", {"name": "once more"})),
    kept(post("logged-models", experiment_id="{again}", name="m"), "clf", "model", "info", "model_id"),
    *twice(post("runs/outputs", run_id="{retried}", models=[{"model_id": "{clf}", "step": 0}])),
    *twice(Call("PATCH", "logged-models/{clf}", {"model_id": "{clf}", "status": "LOGGED_MODEL_READY"})),
    *twice(post("logged-models/{clf}/params", model_id="{clf}", params=[TAG])),
    get("logged-models/{clf}"),
    *twice(Call("DELETE", "logged-models/{clf}", {})),
]

CALLS = [*NUMBERS, *ALPHABETS, *AGAIN]
