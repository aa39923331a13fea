"""A comparison by outcomes says what it needs to, or is refused where it is written."""

import math
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from headrace.errors import ProjectError
from headrace.project.paired import PairedLoss
from headrace.project.shadow import Shadow

TOLD = {"feedback": "kind", "matures_after": "2d"}


def test_losses_have_their_bounds() -> None:
    assert PairedLoss("error", 0.01).bound == PairedLoss("brier", 0.01).bound == 1.0
    assert PairedLoss("log_loss", 0.01).bound == pytest.approx(math.log(100))
    assert PairedLoss("log_loss", 0.01, at_most=9).bound == 9.0
    assert PairedLoss("absolute_error", 5, at_most=100).bound == 100.0


def test_it_waits_for_the_model_s_label_unless_it_names_feedback() -> None:
    assert (PairedLoss("error", 0.01).feedback, PairedLoss("error", 0.01).maturity) == (None, None)
    told = PairedLoss("error", 0.01, feedback="paid", matures_after="2d")
    assert told.maturity == timedelta(days=2)
    assert PairedLoss("error", 0.01).before == "canary"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"loss": "auc"}, "no loss"),
        ({"margin": 0}, "margin cannot be"),
        ({"margin": 1.0}, "margin cannot be"),
        ({"loss": "log_loss", "margin": 5}, "margin cannot be"),
        ({"before": "ever"}, "before cannot be"),
        ({"at_most": 2}, "never above 1"),
        ({"loss": "log_loss", "at_most": 0}, "at_most cannot be"),
        ({"loss": "squared_error"}, "has no bound"),
        ({"feedback": "paid"}, "does not say when it is final"),
        ({"feedback": "paid", "matures_after": "soon"}, "not a duration"),
        ({"feedback": ""}, "feedback cannot be"),
        ({"matures_after": "2d"}, "says itself"),
        ({"classes": ["a", "b", "c"]}, "0 or 1, and not one of several"),
        ({"classes": ["a"], **TOLD}, "classes cannot be"),
        ({"classes": "abc", **TOLD}, "classes cannot be"),
        ({"classes": ["a", 1], **TOLD}, "all texts, or all whole"),
        ({"classes": [True, False], **TOLD}, "all texts, or all whole"),
        ({"classes": [0.5, 1.5], **TOLD}, "all texts, or all whole"),
        ({"classes": [[1], [2]], **TOLD}, "all texts, or all whole"),
        ({"classes": ["a", "b", "a"], **TOLD}, "named twice"),
        ({"loss": "absolute_error", "at_most": 9, "classes": [1, 2], **TOLD}, "of numbers and not of classes"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ProjectError, match=why):
        PairedLoss(**{"loss": "error", "margin": 0.01, **wrong})


def test_it_belongs_to_a_shadow_and_travels_with_it() -> None:
    declared = Shadow(quality=PairedLoss("log_loss", margin=0.02, before="full_traffic"))
    assert msgspec.json.decode(msgspec.json.encode(declared), type=Shadow) == declared
    several = Shadow(quality=PairedLoss("brier", 0.01, classes=["cat", "dog"], feedback="kind", matures_after="2d"))
    assert several.quality is not None
    assert several.quality.classes == ("cat", "dog")
    assert msgspec.json.decode(msgspec.json.encode(several), type=Shadow) == several
    with pytest.raises(ProjectError, match=r"quality must be hr\.PairedLoss"):
        Shadow(quality="log_loss")  # type: ignore[arg-type]
