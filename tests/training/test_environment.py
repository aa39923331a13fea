"""A lock is compared package by package, and the error names what differs."""

import pytest

from headrace.errors import EnvironmentMismatch
from headrace.project.environment import EnvironmentLock, capture_environment
from headrace.training.environment import differences, require_same

LOCKED = EnvironmentLock(python="3.11.7", packages={"numpy": "2.4.6", "scipy": "1.17.1", "xgboost": "3.0"})


def test_the_same_environment_is_taken() -> None:
    require_same(capture_environment(), capture_environment())


def test_each_difference_is_named() -> None:
    installed = EnvironmentLock(python="3.12.1", packages={"numpy": "2.4.6", "scipy": "1.16.0", "torch": "2.9"})
    assert differences(LOCKED, installed) == (
        "python 3.11.7 is locked, 3.12.1 runs",
        "scipy 1.17.1 is locked, 1.16.0 is installed",
        "torch 2.9 is installed and not locked",
        "xgboost 3.0 is locked and not installed",
    )


def test_the_error_stays_short_and_says_what_to_do() -> None:
    installed = EnvironmentLock(python="3.11.7", packages={f"package-{number}": "1" for number in range(20)})
    with pytest.raises(EnvironmentMismatch, match="and 15 more") as raised:
        require_same(LOCKED, installed)
    assert raised.value.fix is not None
    assert "headrace apply" in raised.value.fix
