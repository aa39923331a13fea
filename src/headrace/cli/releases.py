"""What `headrace release MODEL` shows: where a release stands, what its steps can show and have shown."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.delivery.nouns import Comparison, Detectable, Release, StepEvidence

NAMES = {
    "faults": "faults",
    "invalid_outputs": "invalid outputs",
    "slow": "slow answers",
    "fallbacks": "fallbacks",
}
STEPS_SHOWN = 6
"""The last ones; a bandit has many."""


def show_release(screen: "Console", release: "Release") -> None:
    """Print a release."""
    from headrace.cli.experiments import show_experiment
    from headrace.cli.screen import plain

    phase = release.phase.replace("_", " ")
    weight = f" at {release.state.weight_percent} %" if release.phase == "rolling_out" else ""
    weight = " as a shadow" if release.in_shadow else weight
    paused = ", paused" if release.state.paused else ""
    screen.print(f"[bold]{plain(release.model)}@{release.number}[/]  {release.id}: {phase}{weight}{paused}")
    if release.reason:
        screen.print(f"  {plain(release.reason)}")
    if release.state.asked and not release.state.final:
        screen.print(
            f"  [yellow]the evidence tells neither way.[/] It goes on by itself once it does. Or decide:\n"
            f"  headrace release {plain(release.model)} --do promote    (or abort, pause)",
            highlight=False,
        )
    show_experiment(screen, release)
    _show_foresight(screen, release)
    for seen in release.canary[-STEPS_SHOWN:]:
        _show_step(screen, release, seen)


def _show_foresight(screen: "Console", release: "Release") -> None:
    from headrace.cli.screen import table

    if not release.foresight:
        return
    rate = release.foresight[-1].units_per_s
    traffic = f"at {rate:,.1f} units/s" if rate else "no traffic was measured yet"
    shown = table(
        ">step", ">goes on after", ">soonest", "signal", ">finds from", ">until asked", ">one that always gives it",
        title=f"what the steps can show, {traffic}",
    )  # fmt: skip
    for step in release.foresight[-STEPS_SHOWN:]:
        first = (
            f"{step.weight_percent} %" if step.weight_percent else "shadow",
            f"{step.to_go_on_units:,} units",
            "" if step.to_go_on_s is None else lasting(step.to_go_on_s),
        )
        for place, (signal, found) in enumerate(step.signals.items()):
            shown.add_row(*(first if place == 0 else ("", "", "")), NAMES[signal], *_found(found))
    screen.print(shown)


def _found(found: "Detectable") -> tuple[str, str, str]:
    always = "never" if found.always_units is None else f"{found.always_units:,} units"
    return _percent(found.rate), _percent(found.rate_until_asked), always


def _show_step(screen: "Console", release: "Release", seen: "StepEvidence") -> None:
    from headrace.cli.experiments import e_value
    from headrace.cli.screen import plain, table

    limit = "" if seen.slow_us is None else f", slow is beyond {seen.slow_us / 1000:,.2f} ms"
    where = (
        (f"{seen.weight_percent} %" if seen.weight_percent else "shadow")
        if seen.step < len(release.state.plan.steps)
        else "cooling"
    )
    shown = table(
        "signal", f">@{release.number}", ">champion", ">e-value of harm", ">needed", ">of none", ">needed",
        "verdict",
        title=f"{where}: {seen.challenger.units:,} and {seen.champion.units:,} units{limit}",
    )  # fmt: skip
    for signal, found in seen.signals.items():
        harm = max(found.worse_than_champion, found.above_tolerance)
        shown.add_row(
            NAMES[signal],
            f"{seen.challenger.signalled(signal):,}",
            f"{seen.champion.signalled(signal):,}",
            e_value(harm),
            f"{found.harm_needed:,.0f}",
            e_value(found.within_tolerance),
            f"{found.needed:,.0f}",
            found.verdict.replace("_", " ").lower(),
        )
    screen.print(shown)
    if seen.comparison is not None:
        screen.print(f"  {_comparison(seen.comparison)}", highlight=False)
    screen.print(f"  {plain(seen.verdict.replace('_', ' ').lower())}: {plain(seen.reason)}", style="dim")


def _comparison(found: "Comparison") -> str:
    said = (
        f"{found.units:,} units compared: {found.flips:.2%} decided otherwise "
        f"({found.flips_low:.2%} to {found.flips_high:.2%})"
    )
    if found.difference is None:
        return said
    high = "" if found.difference_high is None else f" (at most {found.difference_high:.4g})"
    related = "" if found.correlation is None else f", correlation {found.correlation:.4f}"
    return f"{said}; {found.difference:.4g} apart on average{high}{related}"


def lasting(seconds: float) -> str:
    """A duration in the unit that fits."""
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:,.0f} s"


def _percent(rate: float | None) -> str:
    return "none" if rate is None else f"{100 * rate:.3g} %"
