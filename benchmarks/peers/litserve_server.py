"""Runs in the peers' environment: a saved model behind LitServe, set up as its documentation advises for speed."""

import sys
from typing import Any

import litserve
import numpy as np
from loading import load_model
from pydantic import BaseModel, Field

FEATURES = 30


class Request(BaseModel):
    """What a caller sends, checked before it is scored."""

    row: list[float] = Field(min_length=FEATURES, max_length=FEATURES)


class Served(litserve.LitAPI):
    """The model between LitServe's steps."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load it, in the worker."""
        self.model = load_model(sys.argv[1])

    def decode_request(self, request: Request) -> Any:
        """One row."""
        return np.array(request.row)

    def predict(self, rows: Any) -> Any:
        """Answer a batch, or a row alone."""
        return self.model(np.atleast_2d(rows))

    def encode_response(self, output: Any) -> dict[str, Any]:
        """As JSON."""
        return {"prediction": np.asarray(output).tolist()}


if __name__ == "__main__":
    api = Served(max_batch_size=64, batch_timeout=0.001)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60).run(
        port=int(sys.argv[2]), host="127.0.0.1", num_api_servers=1, generate_client_file=False, log_level="warning"
    )
