"""What `headrace release MODEL` shows: where a release stands, what its steps can show and have shown."""

from typing import TYPE_CHECKING

from headrace.project.durations import lasting

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.delivery.nouns import Comparison, Detectable, Release, StepEvidence
    from headrace.delivery.paired_nouns import QualityEvidence

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
    for line in waits_for(release):
        screen.print(f"  {line}", highlight=False, soft_wrap=True)
    if release.state.asked and not release.state.final:
        screen.print(
            f"  [yellow]the evidence tells neither way.[/] It goes on by itself once it does. Or decide:\n"
            f"  headrace release {plain(release.model)} --do promote    (or abort, pause)",
            highlight=False,
        )
    if not release.state.final:
        show_held(screen, release)
    show_experiment(screen, release)
    _show_foresight(screen, release)
    for seen in release.canary[-STEPS_SHOWN:]:
        _show_step(screen, release, seen)
    if release.quality is not None:
        _show_quality(screen, release, release.quality)


def waits_for(release: "Release") -> list[str]:
    """What has to happen before it goes on, who or what does it, and about when."""
    from headrace.cli.screen import plain
    from headrace.project.experiments import Experiment

    model = plain(release.model)
    if release.state.paused:
        return [f"waits until somebody resumes it: headrace release {model} --do resume"]
    match release.phase:
        case "gating":
            return ["a worker computes its gates; it goes on by itself"]
        case "staging":
            return ["a worker sends rows through a gateway; it goes on by itself"]
        case "awaiting_approval":
            role = release.policy.approval.role if release.policy.approval else "approver"
            return [
                f"waits for somebody with the role {role}: headrace approve {model}@{release.number}",
                f"what it rests on, and who may decide: headrace approvals show {model}@{release.number}",
            ]
    rollout = release.policy.rollout
    if release.waits is not None and release.waits.units is None and isinstance(rollout, Experiment):
        return [f"waits for feedback named {plain(rollout.reward)} that tells which version is better"]
    line = release.waits_in_words
    if not line or release.waits is None or release.phase == "cooling" or not release.waits.units:
        return [f"waits for {line}"] if line else []
    return [
        f"waits for {line}; traffic brings it on, {plain(_bound(release))}",
        f"to go on without that evidence: headrace release {model} --do promote",
    ]


def _bound(release: "Release") -> str:
    rollout = release.policy.rollout
    return f"to show that less than {100 * rollout.tolerance:g} % of units meet a fault"


def held(release: "Release") -> tuple[str, ...]:
    """What a release is held to beyond what its project declared, declared → what holds."""
    from headrace.delivery.differences import of_policies

    return () if release.declared is None else of_policies(release.declared, release.policy)


def show_held(screen: "Console", release: "Release") -> None:
    """Say it where a release is held to more than its project declared."""
    from headrace.cli.project import show_bound

    lines = held(release)
    if lines:
        show_bound(screen, lines, "this release", indent=2)


def _show_quality(screen: "Console", release: "Release", seen: "QualityEvidence") -> None:
    from headrace.cli.experiments import e_value
    from headrace.cli.screen import plain, table

    shown = table(
        f">@{release.number}", ">champion", ">difference", ">from", ">to", ">margin", ">e-value of harm",
        ">of none", "verdict",
        title=f"{seen.loss.replace('_', ' ')} by outcomes of the shadow's requests: {seen.units:,} units",
    )  # fmt: skip
    low, high = seen.difference_low, seen.difference_high
    shown.add_row(
        _loss(seen.challenger_loss),
        _loss(seen.champion_loss),
        "" if seen.difference is None else f"{seen.difference:+.4f}",
        "" if low is None else f"{low:+.4f}",
        "" if high is None else f"{high:+.4f}",
        f"{seen.margin:g}",
        f"{e_value(seen.worse)} of {seen.harm_needed:,.0f}",
        f"{e_value(seen.not_worse)} of {seen.needed:,.0f}",
        seen.verdict.replace("_", " ").lower(),
    )
    screen.print(shown)
    for line in quality_lines(seen):
        screen.print(f"  {plain(line)}", highlight=False)
    screen.print(f"  {plain(seen.verdict.replace('_', ' ').lower())}: {plain(seen.reason)}", style="dim")


def quality_lines(seen: "QualityEvidence") -> list[str]:
    """What waits, what is missing, how old the evidence is, and how much more of it will tell."""
    waits = (
        f"{seen.waiting:,} units wait for their outcome, final {lasting(seen.matures_after_s)} after the request"
    )
    if seen.next_at is not None:
        waits += f", the next {seen.next_at:%Y-%m-%d %H:%M}"
    lines = [waits]
    due = seen.units + seen.unlabelled
    if seen.unlabelled:
        lines.append(
            f"{seen.unlabelled:,} units ({seen.unlabelled / due:.1%}) should have an outcome and have none"
        )
    if seen.first_at is not None and seen.last_at is not None:
        lines.append(f"compared: requests from {seen.first_at:%Y-%m-%d %H:%M} to {seen.last_at:%Y-%m-%d %H:%M}")
    on = ", taking a usual spread since no difference was seen" if seen.assumed else ""
    lines.append(
        f"nine of ten times {_units(seen.to_go_on_units)} show that one as good is not worse, "
        f"{_units(seen.to_take_back_units)} that one is by twice the margin{on}"
    )
    if seen.before != "nothing":
        lines.append(f"it has to be shown before {seen.before.replace('_', ' ')}")
    if seen.problem:
        lines.append(f"the last comparison failed: {seen.problem}")
    return lines


def _units(number: int | None) -> str:
    return "no number of units" if number is None else f"{number:,} units"


def _loss(mean: float | None) -> str:
    return "" if mean is None else f"{mean:.4f}"


def _show_foresight(screen: "Console", release: "Release") -> None:
    from headrace.cli.screen import table

    if not release.foresight or release.state.final:
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
            repeated = first if place == 0 or not screen.is_terminal else ("", "", "")
            shown.add_row(*repeated, NAMES[signal], *_found(found))
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
    compared = release.champion is not None
    units = f"{seen.challenger.units:,} units"
    if compared:
        units = f"{units}, {seen.champion.units:,} of @{release.champion}"
    numbers = (f">@{release.number}", *([f">@{release.champion}"] if compared else []))
    shown = table(
        "signal", *numbers, ">e-value of harm", ">of no harm", "verdict", title=f"seen at {where}: {units}{limit}"
    )
    for signal, found in seen.signals.items():
        harm = max(found.worse_than_champion, found.above_tolerance)
        shown.add_row(
            NAMES[signal],
            f"{seen.challenger.signalled(signal):,}",
            *([f"{seen.champion.signalled(signal):,}"] if compared else []),
            f"{e_value(harm)} of {found.harm_needed:,.0f}",
            f"{e_value(found.within_tolerance)} of {found.needed:,.0f}",
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


def _percent(rate: float | None) -> str:
    return "none" if rate is None else f"{100 * rate:.3g} %"
