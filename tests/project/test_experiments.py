"""Declared A/B tests and bandits: what cannot be meant is refused, what is meant travels as JSON."""

from typing import Any

import msgspec
import pytest

import headrace as hr
from headrace.errors import ProjectError
from headrace.project.experiments import Rollout
from headrace.project.policy import DeliveryPolicy


@pytest.mark.parametrize(
    "wrong",
    [
        {"reward": ""},
        {"reward": 3},
        {"share": 0},
        {"share": 100},
        {"share": 50.5},
        {"ramp": [50]},
        {"ramp": [20, 10]},
        {"range": (1, 1)},
        {"range": (0, 1, 2)},
        {"range": 1},
        {"range": (0, float("nan"))},
        {"margin": -0.1},
        {"margin": 1.0},
        {"missing": 2.0},
        {"find": 0.0},
        {"matures_after": "soon"},
        {"split_alpha": 0.0},
        {"alpha": 1.0},
        {"tolerance": 0.0},
        {"minimum_time": ""},
        {"ask_after": "1"},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    for kind in (hr.ABTest, hr.Bandit):
        with pytest.raises(ProjectError):
            kind(**{"reward": "purchase"} | wrong)


@pytest.mark.parametrize(
    "wrong", [{"floor": 0}, {"floor": 50}, {"share": 3}, {"every": "0s"}, {"change": 0}, {"change": 0.5}]
)
def test_what_a_bandit_cannot_mean_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProjectError):
        hr.Bandit(**{"reward": "purchase"} | wrong)


@pytest.mark.parametrize(
    "rollout",
    [
        hr.Canary([5, 100]),
        hr.ABTest(reward="purchase", ramp=[5], missing=0.0),
        hr.Bandit(reward="minutes", lower_is_better=True, range=(0, 60), floor=10, find=2.0),
    ],
)
def test_each_travels_as_json(rollout: Rollout) -> None:
    policy = DeliveryPolicy(rollout=rollout)
    assert msgspec.json.decode(msgspec.json.encode(policy), type=DeliveryPolicy).rollout == rollout


def test_the_steps_lead_over_the_ramp_to_the_share_and_to_all() -> None:
    assert hr.ABTest(reward="purchase", ramp=[1, 10], share=40).steps == (1, 10, 40, 100)
    assert hr.Bandit(reward="purchase").steps == (50, 100)


def test_a_policy_takes_no_other_rollout() -> None:
    with pytest.raises(ProjectError, match=r"rollout must be a hr\.Canary or hr\.ABTest or hr\.Bandit"):
        DeliveryPolicy(rollout=hr.Shadow())  # type: ignore[arg-type]
