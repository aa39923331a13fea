import pytest

from headrace.errors import ProjectError
from headrace.project.fallback import Fallback
from headrace.project.policy import DeliveryPolicy


def test_without_a_word_there_is_no_declared_answer() -> None:
    policy = DeliveryPolicy()
    assert (policy.fallback.default, policy.fallback.keep_previous) == (None, False)


def test_one_and_one_point_zero_are_the_same_answer() -> None:
    assert Fallback(default=1).default == 1.0


@pytest.mark.parametrize("default", [float("nan"), float("inf"), "0.5", True, [0.5]])
def test_an_answer_is_a_finite_number(default: object) -> None:
    with pytest.raises(ProjectError, match="default cannot be"):
        Fallback(default=default)  # type: ignore[arg-type]


def test_other_things_are_refused_where_they_are_written() -> None:
    with pytest.raises(ProjectError, match="keep_previous"):
        Fallback(keep_previous="yes")  # type: ignore[arg-type]
    with pytest.raises(ProjectError, match="fallback"):
        DeliveryPolicy(fallback=0.5)  # type: ignore[arg-type]
    with pytest.raises(ProjectError, match="needs a fallback"):
        DeliveryPolicy(fallback=None)  # type: ignore[arg-type]
