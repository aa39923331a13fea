"""A real MLflow client that calls what it is told: runs in an environment that has mlflow, old or new.

    python mlflow_calls.py TRACKING_URI

Reads JSON lines from its standard input, such as `["set_registered_model_alias", "churn", "champion", "1"]`, calls
the method of `MlflowClient`, and writes a JSON line: what came back, or the code and the message that it raised.
"""

import json
import sys
import warnings
from typing import Any

import mlflow  # type: ignore[import-not-found]
from mlflow.exceptions import MlflowException  # type: ignore[import-not-found]

FIELDS = ("version", "current_stage", "description", "aliases", "name", "tags")


def told(found: Any) -> Any:
    """What is worth telling of an answer."""
    if hasattr(found, "info"):
        return {"run_id": found.info.run_id}
    return {name: getattr(found, name) for name in FIELDS if hasattr(found, name)}


def call(client: Any, method: str, *args: Any) -> dict[str, Any]:
    """One call, and what came of it."""
    options = args[-1] if args and isinstance(args[-1], dict) else {}
    try:
        return {"answer": told(getattr(client, method)(*args[: len(args) - bool(options)], **options))}
    except MlflowException as error:
        return {"code": error.error_code, "message": str(error)}


def main(tracking_uri: str) -> None:
    """Call until there is nothing more to call."""
    warnings.simplefilter("ignore")
    mlflow.set_tracking_uri(tracking_uri)
    client = mlflow.MlflowClient()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(call(client, *json.loads(line)), default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
