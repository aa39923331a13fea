"""Each of our errors has a code and a status that MLflow's clients act on."""

import pytest

from headrace import errors
from headrace.protocols.mlflow import faults

RETRIED = {408, 429, 500, 502, 503, 504}


@pytest.mark.parametrize(
    ("problem", "code", "status"),
    [
        (errors.InvalidInput("x"), "INVALID_PARAMETER_VALUE", 400),
        (errors.SchemaMismatch("x"), "INVALID_PARAMETER_VALUE", 400),
        (errors.TooLarge("x"), "INVALID_PARAMETER_VALUE", 400),
        (errors.AlreadyExists("x"), "RESOURCE_ALREADY_EXISTS", 400),
        (errors.NotFound("x"), "RESOURCE_DOES_NOT_EXIST", 404),
        (errors.NotAuthenticated("x"), "UNAUTHENTICATED", 401),
        (errors.PolicyRefused("x"), "PERMISSION_DENIED", 403),
        (errors.Pinned("x"), "RESOURCE_CONFLICT", 409),
        (errors.NotServed("x"), "NOT_IMPLEMENTED", 501),
        (errors.Unavailable("x"), "TEMPORARILY_UNAVAILABLE", 503),
        (errors.InternalError("x"), "INTERNAL_ERROR", 500),
    ],
)
def test_codes(problem: errors.HeadraceError, code: str, status: int) -> None:
    fault, found = faults.fault(problem)
    assert (fault.error_code, fault.message, found) == (code, "x", status)


def test_what_fails_again_is_not_retried() -> None:
    for kind in errors.every_error().values():
        late = errors.DeadlineExceeded | errors.BodyTimeout
        passing = errors.InternalError | errors.Unavailable | late | errors.StartError
        if not issubclass(kind, passing) and kind is not errors.HeadraceError:
            assert faults.fault(kind("x"))[1] not in RETRIED


def test_the_remedy_is_told() -> None:
    for message in ("No run.", "No run"):
        assert faults.fault(errors.NotFound(message, fix="Make one."))[0].message == "No run. Make one."


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/2.0/mlflow/runs/get", True),
        ("/ajax-api/2.0/mlflow-artifacts/artifacts/x", True),
        ("/api/3.0/mlflow/traces", True),
        ("/api/v1/runs", False),
        ("/version", False),
    ],
)
def test_paths(path: str, expected: bool) -> None:
    assert faults.speaks(path) is expected
