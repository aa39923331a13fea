"""What `headrace release MODEL` shows of an A/B test or a bandit: both arms, the difference, and what to expect."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.delivery.experiment_nouns import ExperimentEvidence, RewardOutlook
    from headrace.delivery.nouns import Release
    from headrace.project.experiments import ABTest, Bandit

BASES = {
    "seen": "as rewards spread so far",
    "champion": "as the champion's rewards spread before",
    "assumed": "if rewards spread as far as they can",
}
HALF = 24
"""Characters on either side of zero."""


def show_experiment(screen: "Console", release: "Release") -> None:
    """Print what the rewards show; nothing for a release that they do not decide."""
    from headrace.cli.screen import plain
    from headrace.project.experiments import Bandit, Experiment

    rollout, seen = release.policy.rollout, release.experiment
    if not isinstance(rollout, Experiment):
        return
    kind = "bandit" if isinstance(rollout, Bandit) else "A/B test"
    told = next((step.reward for step in release.foresight if step.reward is not None), None)
    if seen is None:
        if told is not None:
            screen.print(f"[bold]{kind} on {plain(rollout.reward)}[/]  nothing was counted yet")
            _show_outlook(screen, told)
        return
    screen.print(_arms(release, seen, f"{kind} on {plain(rollout.reward)}"))
    interval = f"{seen.difference:+.4g}  ({seen.difference_low:+.4g} to {seen.difference_high:+.4g})"
    line = drawn(seen.difference_low, seen.difference, seen.difference_high)
    screen.print(f"  difference     {interval}   {line}")
    screen.print(f"  the better one {seen.better_probability:.1%} probable{_share(release)}")
    screen.print(
        f"  shown to be    better {e_value(seen.better)}, worse {e_value(seen.worse)} of {seen.needed:,.0f} needed"
        f"{_margin(rollout)}"
    )
    screen.print(f"  {_split(seen)}")
    if seen.arrival is not None:
        screen.print(f"  rewards come   {_state(seen.arrival, seen.split_needed, 'as often on both')}")
    if seen.beyond:
        low, high = rollout.range
        screen.print(f"  [yellow]{seen.beyond:,} rewards are beyond {low:g} to {high:g} and count as the end[/]")
    if seen.outlook is not None and not release.state.final:
        _show_outlook(screen, seen.outlook)


def drawn(low: float, middle: float, high: float) -> str:
    """An interval as a line about zero."""
    far = max(abs(low), abs(high)) or 1.0
    places = [round(HALF * value / far) + HALF for value in (low, middle, high)]
    signs = ["─"] * (2 * HALF + 1)
    for place in range(places[0], places[2] + 1):
        signs[place] = "━"
    signs[HALF] = "┿" if places[0] <= HALF <= places[2] else "┼"
    signs[places[1]] = "●"
    return "".join(signs)


def in_a_line(release: "Release", seen: "ExperimentEvidence") -> str:
    """The same for the overview."""
    return (
        f"{release.policy.rollout.reward} {seen.difference:+.4g} "  # type: ignore[union-attr]
        f"({seen.difference_low:+.4g} to {seen.difference_high:+.4g}), "
        f"{seen.challenger_units:,} and {seen.champion_units:,} units, "
        f"the better one with {seen.better_probability:.0%}"
        + ("; units or rewards do not come as they should" if seen.problem else "")
    )


def e_value(value: float) -> str:
    """An e-value, to three digits or so."""
    if value >= 1e300:
        return "∞"
    return f"{value:,.2f}" if value < 1000 else f"{value:.1e}"


def _arms(release: "Release", seen: "ExperimentEvidence", title: str) -> object:
    from headrace.cli.screen import table

    shown = table("version", ">units", ">mature", ">rewards", ">mean", title=title)
    for number, what, units, mature, rewards, mean in (
        (
            release.number, "challenger", seen.challenger_units, seen.challenger_mature, seen.challenger_rewards,
            seen.challenger_mean,
        ),
        (
            release.champion, "champion", seen.champion_units, seen.champion_mature, seen.champion_rewards,
            seen.champion_mean,
        ),
    ):  # fmt: skip
        average = "" if mean is None else f"{mean:.5g}"
        shown.add_row(f"@{number} {what}", f"{units:,}", f"{mature:,}", f"{rewards:,}", average)
    return shown


def _share(release: "Release") -> str:
    from headrace.project.experiments import Bandit

    if not isinstance(release.policy.rollout, Bandit):
        return ""
    state = release.state
    past = [f"{weight} %" for weight in state.plan.steps[: (state.step or 0) + 1]]
    return f"; its share: {' → '.join(past[-8:])}"


def _margin(rollout: "ABTest | Bandit") -> str:
    return f"; beyond a margin of {rollout.margin:g}" if rollout.margin else ""


def _split(seen: "ExperimentEvidence") -> str:
    whole = seen.challenger_units + seen.champion_units
    words = f"as declared: {seen.challenger_units:,} of {whole:,} for {seen.challenger_expected:,.0f}"
    return f"units are split {_state(seen.split, seen.split_needed, words)}"


def _state(value: float, needed: float, words: str) -> str:
    said = f"{words} (e-value {e_value(value)} of {needed:,.0f})"
    return f"[red]{said}: they are not[/]" if value >= needed else said


def _show_outlook(screen: "Console", outlook: "RewardOutlook") -> None:
    from headrace.project.durations import lasting

    screen.print(f"  what it finds, {BASES[outlook.basis]}, in nine of ten cases:", style="dim")
    for found in outlook.differences:
        units = "never" if found.units is None else f"after {found.units:,} units"
        takes = "" if found.seconds is None else f", {lasting(found.seconds)}"
        screen.print(f"    a difference of {found.difference:.4g} {units}{takes}", style="dim")
    if outlook.until_asked is not None:
        screen.print(f"    until a person is asked: {outlook.until_asked:.3g}", style="dim")
