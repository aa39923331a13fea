"""What differs between two declarations: old → new of each field that is another one, and nothing else."""

import msgspec
import pytest
from tests.delivery.conftest import ACTIVITY, CHURNED, declaration

from headrace.delivery.differences import of_models, of_policies
from headrace.project.approval import Approval
from headrace.project.experiments import ABTest
from headrace.project.feature import count
from headrace.project.gates import at_least, at_most, not_worse_than_production
from headrace.project.policy import DeliveryPolicy
from headrace.project.rollout import Canary
from headrace.project.search import Search, integers

GATES = [at_least("roc_auc", 0.7), not_worse_than_production("roc_auc", margin=0.005)]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({}, {}, ()),
        (
            {"rollout": Canary([5, 100], tolerance=0.01)},
            {"rollout": Canary([10, 100], tolerance=0.02)},
            ("rollout.steps: [5, 100] → [10, 100]", "rollout.tolerance: 0.01 → 0.02"),
        ),
        (
            {"rollout": Canary([5, 100])},
            {"rollout": ABTest(reward="bought", ramp=[5])},
            ("rollout: canary 5, 100 % → A/B test on bought, 5, 50, 100 %",),
        ),
        ({"approval": Approval()}, {}, ("approval: role approver, four_eyes yes, expires 7d → none",)),
        (
            {"gates": GATES},
            {"gates": [at_least("roc_auc", 0.6), at_most("brier", 0.2)]},
            (
                "gates.at_least(roc_auc).value: 0.7 → 0.6",
                "gates: no longer not_worse_than_production(roc_auc) margin 0.005, alpha 0.05, threshold 0.5",
                "gates: also at_most(brier) value 0.2, alpha 0.05",
            ),
        ),
        ({"gates": GATES}, {"gates": GATES[::-1]}, ("gates: in another order",)),
        ({"alerts": ["ops"]}, {"alerts": ["ops", "mail"]}, ("alerts: [ops] → [ops, mail]",)),
        (
            {"search": Search(trials=8, maximize="roc_auc", space={"depth": integers(1, 3)})},
            {"search": Search(trials=9, maximize="roc_auc", space={"depth": integers(1, 4)})},
            ("search.trials: 8 → 9", "search.space.depth.high: 3 → 4"),
        ),
    ],
)
def test_a_line_for_each_field_of_a_delivery(
    before: dict[str, object], after: dict[str, object], lines: tuple[str, ...]
) -> None:
    policies = [DeliveryPolicy(**said) for said in (before, after)]  # type: ignore[arg-type]
    assert of_policies(*policies) == lines


def test_a_model_names_its_parameters_and_refers_to_what_has_a_line_of_its_own() -> None:
    replace = msgspec.structs.replace
    known = declaration()
    assert of_models(known, known) == ()
    other = replace(ACTIVITY, features={"count_30d": count(window="30d")})
    assert of_models(known, replace(known, features=[other])) == ("features: activity is another one",)
    assert of_models(known, replace(known, features=[replace(other, name="recent")])) == (
        "features: activity → recent",
    )
    assert of_models(known, replace(known, label=replace(CHURNED, matures_after="100d"))) == (
        "label: churned is another one",
    )
    deep = replace(known, params={"depth": 5})
    assert of_models(known, deep) == ("params.depth: none → 5",)
    assert of_models(deep, replace(deep, params={"depth": 6})) == ("params.depth: 5 → 6",)
