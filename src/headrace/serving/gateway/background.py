"""The rows that an explanation compares with: those that a version brings along, and never what callers sent.

Our own training leaves a sample of its training rows in the model directory. Other models have the input example
that they were logged with. The rows stay in the gateway and its hosts: no answer shows them.
"""

import msgspec
import numpy as np

from headrace.errors import HeadraceError
from headrace.serving.forms.inputs import Inputs, rows_of, take
from headrace.serving.forms.json_forms import Entities, Forms
from headrace.serving.forms.signature import Kind, Signature
from headrace.serving.loading.description import MLMODEL, describe
from headrace.serving.nouns import FieldPolicy
from headrace.serving.runtimes.files import ModelFiles
from headrace.training.answers import BACKGROUND_FILE

ROWS = 100
EXAMPLE_LIMIT_BYTES = 16 << 20
NO_BACKGROUND = (
    "Log the model with some dozens of its training rows as input_example, or train it with headrace, which keeps"
    " a sample of them."
)
SERVED_EXAMPLE = "serving_input_example.json"
_LENIENT = FieldPolicy(unknown="ignore", missing="refuse")


def background_of(files: ModelFiles, signature: Signature) -> Inputs | None:
    """At most `ROWS` rows as the model takes them; None where it has brought none that fit."""
    for path in (BACKGROUND_FILE, SERVED_EXAMPLE, _example(files)):
        found = _read(files, path, signature) if path is not None and files.has(path) else None
        if found is not None:
            count = rows_of(found)
            return found if count <= ROWS else take(found, np.linspace(0, count - 1, ROWS).astype(np.intp))
    return None


def _example(files: ModelFiles) -> str | None:
    """Where MLflow put the rows that a model was logged with."""
    if not files.has(MLMODEL):
        return None
    path = (describe(files).saved_input_example_info or {}).get("artifact_path")
    return path if isinstance(path, str) else None


def _read(files: ModelFiles, path: str, signature: Signature) -> Inputs | None:
    try:
        content = files.read(path)
        if len(content) > EXAMPLE_LIMIT_BYTES:
            return None
        found = Forms(signature, _LENIENT).decode(_body(content, signature))
    except (HeadraceError, msgspec.MsgspecError, ValueError, TypeError):
        return None  # an example is for people; one that cannot be read as rows is none
    return None if isinstance(found.rows, Entities) else found.rows


def _body(content: bytes, signature: Signature) -> bytes:
    """The rows as the body of a request; what MLflow's older versions kept is a part of one."""
    known = msgspec.json.decode(content)
    if isinstance(known, dict) and {"columns", "data"} <= set(known) and signature.kind is not Kind.TENSORS:
        known = {"dataframe_split": {"columns": known["columns"], "data": known["data"]}}
    elif isinstance(known, list):
        known = {"instances": known}
    return msgspec.json.encode(known)
