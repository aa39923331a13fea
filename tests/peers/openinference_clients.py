"""Run by the Python that has the real clients: asks a gateway as they do by default, and prints what they got."""

import asyncio
import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from tritonclient.utils import InferenceServerException

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def with_triton(address: str) -> dict[str, Any]:
    """Whatever `tritonclient` calls, tensors as bytes (its default) and as JSON."""
    client = triton.InferenceServerClient(address)
    found: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready("churn"),
        "version_ready": client.is_model_ready("churn", "1"),
        "other_ready": client.is_model_ready("other"),
        "server": client.get_server_metadata()["name"],
        "inputs": [given["name"] for given in client.get_model_metadata("churn")["inputs"]],
        "index": client.get_model_repository_index(),
    }
    client.load_model("churn")
    for name, binary in (("bytes", True), ("json", False)):
        rows = triton.InferInput("rows", [3, 2], "FP64")
        rows.set_data_from_numpy(ROWS, binary_data=binary)
        found[name] = client.infer("churn", [rows]).as_numpy("output-0").tolist()
    columns = []
    for place, column in enumerate(("purchases", "spend")):
        given = triton.InferInput(column, [3, 1], "FP32")
        given.set_data_from_numpy(ROWS[:, place : place + 1].astype(np.float32))
        columns.append(given)
    wanted = [triton.InferRequestedOutput("output-0", binary_data=False)]
    answer = client.infer("churn", columns, model_version="1", request_id="call-7", outputs=wanted)
    found["columns"] = answer.as_numpy("output-0").tolist()
    found["id"] = answer.get_response()["id"]
    rows = triton.InferInput("rows", [3, 2], "FP64")
    rows.set_data_from_numpy(ROWS)
    found["asynchronous"] = client.async_infer("churn", [rows]).get_result().as_numpy("output-0").tolist()
    try:
        client.infer("churn", columns[:1])
    except InferenceServerException as error:
        found["refused"] = [error.status(), error.message()]
    try:
        client.unload_model("churn")
    except InferenceServerException as error:
        found["unload"] = error.message()
    (stats,) = client.get_inference_statistics("churn")["model_stats"]
    found["counted"] = stats["inference_stats"]["success"]["count"]
    return found


async def with_kserve(url: str) -> dict[str, Any]:
    """Whatever the REST client of KServe calls."""
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    found: dict[str, Any] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model_ready": await client.is_model_ready(url, "churn"),
    }
    for name, binary in (("json", False), ("bytes", True)):
        rows = InferInput("rows", [3, 2], "FP64")
        rows.set_data_from_numpy(ROWS, binary_data=binary)
        request = InferRequest(model_name="churn", infer_inputs=[rows])
        answer = await client.infer(url, request, model_name="churn")
        found[name] = answer.outputs[0].as_numpy().tolist()
    return found


def main() -> None:
    """Ask and print."""
    port = sys.argv[1]
    found = {
        "triton": with_triton(f"127.0.0.1:{port}"),
        "kserve": asyncio.run(with_kserve(f"http://127.0.0.1:{port}")),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
