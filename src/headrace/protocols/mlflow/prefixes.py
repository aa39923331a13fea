"""Where MLflow's endpoints lie: each at two places, since its own UI calls the second."""

PREFIXES = ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/3.0/mlflow")
"""What every path of the protocol begins with; `mlflow-artifacts` begins with it too."""

AJAX = "/ajax-api/2.0/mlflow"
PAGE_PATHS = ("/get-artifact", "/model-versions/get-artifact")
"""Paths of MLflow's own pages that lie outside the prefixes."""


def both(path: str, *, version: str = "2.0") -> list[str]:
    """The two full paths of an endpoint such as `mlflow/runs/get`."""
    return [f"/api/{version}/{path}", f"/ajax-api/{version}/{path}"]
