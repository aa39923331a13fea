"""An A/B test or a bandit on the terminal: both arms, the difference, the split, and what to expect."""

from io import StringIO
from typing import Any

import msgspec
from rich.console import Console
from tests.cli.test_releases import NOW, RELEASE

from headrace.cli.experiments import drawn, in_a_line
from headrace.cli.releases import show_release
from headrace.delivery.experiment_nouns import ExperimentEvidence, RewardForesight, RewardOutlook
from headrace.delivery.machine import ReleasePlan
from headrace.delivery.nouns import Release
from headrace.project.experiments import ABTest, Bandit
from headrace.project.policy import DeliveryPolicy

OUTLOOK = RewardOutlook(
    basis="seen",
    differences=(
        RewardForesight(difference=0.005, units=48_000, seconds=345_600.0),
        RewardForesight(difference=0.0001, units=None, seconds=None),
    ),
    until_asked=0.0021,
)
SEEN = ExperimentEvidence(
    verdict="HOLD",
    reason="neither is shown to bring more",
    measured_at=NOW,
    until=NOW,
    challenger_units=5123,
    champion_units=5001,
    challenger_expected=5062.0,
    challenger_mature=4000,
    champion_mature=3990,
    challenger_rewards=4000,
    champion_rewards=3990,
    challenger_mean=0.061,
    champion_mean=0.05,
    difference=0.011,
    difference_low=-0.004,
    difference_high=0.026,
    better=6.25,
    worse=0.04,
    needed=40.0,
    split=0.5,
    arrival=None,
    split_needed=1000.0,
    better_probability=0.954,
    outlook=OUTLOOK,
)


def experiment(
    kind: type[ABTest] | type[Bandit] = ABTest, seen: ExperimentEvidence | None = SEEN, **changes: Any
) -> Release:
    steps = (50, 71, 88, 100) if kind is Bandit else (50, 100)
    plan = ReleasePlan(gates=False, staging=False, approval=False, steps=steps)
    state = msgspec.structs.replace(RELEASE.state, plan=plan, step=len(steps) - 2)
    policy = DeliveryPolicy(rollout=kind(reward="purchase"))
    return msgspec.structs.replace(RELEASE, state=state, policy=policy, experiment=seen, **changes)


def shown(release: Release) -> str:
    screen = Console(file=StringIO(), width=160, no_color=True)
    show_release(screen, release)
    return screen.file.getvalue()  # type: ignore[attr-defined]


def test_both_arms_the_difference_and_the_split_are_there() -> None:
    said = shown(experiment())
    for part in (
        "A/B test on purchase", "@3 challenger", "@2 champion", "5,123", "4,000", "0.061",
        "+0.011  (-0.004 to +0.026)",
        "95.4% probable", "better 6.25, worse 0.04 of 40 needed", "as declared: 5,123 of 10,124 for 5,062",
        "a difference of 0.005 after 48,000 units, 4 d", "a difference of 0.0001 never",
        "until a person is asked: 0.0021",
    ):  # fmt: skip
        assert part in said
    assert "rewards come" not in said
    assert "are not" not in said


def test_a_bandit_shows_where_its_share_went() -> None:
    said = shown(experiment(Bandit))
    assert "bandit on purchase" in said
    assert "its share: 50 % → 71 % → 88 %" in said


def test_what_cannot_be_trusted_is_told() -> None:
    wrong = msgspec.structs.replace(SEEN, split=2e9, arrival=1e300, beyond=12, problem="split")
    said = shown(experiment(seen=wrong))
    assert "(e-value 2.0e+09 of 1,000): they are not" in said
    assert "as often on both (e-value ∞ of 1,000): they are not" in said
    assert "12 rewards are beyond 0 to 1" in said
    assert "do not come as they should" in in_a_line(experiment(), wrong)


def test_before_anything_is_counted_it_says_what_it_will_find() -> None:
    step = msgspec.structs.replace(RELEASE.foresight[0], reward=msgspec.structs.replace(OUTLOOK, basis="assumed"))
    said = shown(experiment(seen=None, foresight=(step,)))
    assert "nothing was counted yet" in said
    assert "if rewards spread as far as they can" in said
    assert "a difference of 0.005 after 48,000 units" in said


def test_an_interval_is_drawn_about_zero() -> None:
    assert drawn(-1.0, 0.0, 1.0) == "━" * 24 + "●" + "━" * 24
    above = drawn(0.5, 0.75, 1.0)
    assert (above[24], above[36], above[48], above[0]) == ("┼", "━", "━", "─")
    assert above[42] == "●"
    assert len(drawn(0.0, 0.0, 0.0)) == 49


def test_a_line_for_the_overview() -> None:
    assert in_a_line(experiment(), SEEN) == (
        "purchase +0.011 (-0.004 to +0.026), 5,123 and 5,001 units, the better one with 95%"
    )
