"""Runs in the peers' environment: a saved model behind BentoML, with its adaptive batching."""

import os
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType, Shape
from loading import load_model

FEATURES = 30
Rows = Annotated[np.ndarray, Shape((-1, FEATURES)), DType("float64")]


@bentoml.service(workers=1, traffic={"timeout": 60, "concurrency": None}, logging={"access": {"enabled": False}})
class Model:
    """The model as a service."""

    def __init__(self) -> None:
        self.model = load_model(os.environ["MODEL_FOLDER"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, rows: Rows) -> np.ndarray:
        """Answer a batch."""
        return np.asarray(self.model(rows))
