"""`headrace policy`: what a change of a stage or an alias asks for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from headrace.registry.rules import Policy
    from headrace.sdk.platform import Platform

app = typer.Typer(help="What a change of a stage or an alias asks for.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="Name of the model, or '*' for all models.")]
OnStage = Annotated[str | None, typer.Option("--stage", help="Staging, Production or Archived.")]
OnAlias = Annotated[str | None, typer.Option("--alias", help="An alias, or a pattern such as 'champ*'.")]


@app.command("show")
def show(
    model: Annotated[
        str | None, typer.Argument(help="One model: what binds it, and where that comes from.")
    ] = None,
) -> None:
    """What governs a model, or every policy that is set."""
    from headrace.cli.screen import console, moment, plain, table, warn_unless_known
    from headrace.sdk.connect import connect

    platform = connect()
    screen = console()
    if model is None:
        shown = table("model", "governs", "asks for", "set by", "set")
        for policy in platform.policies.all():
            cells = (policy.model, policy.governs, policy.says, policy.set_by)
            shown.add_row(*map(plain, cells), moment(policy.set_at))
        screen.print(shown if shown.row_count else "no policy is set: every change is open to developers")
        return
    found = platform.policies.of(model)
    if model != "*":
        warn_unless_known(platform, screen, model)
    screen.print(f"[bold]{plain(model)}[/] is {plain(found.says)}")
    shown = table("governs", "asks for", "from", "set by", "set", "note")
    for each in found.policies:
        policy = each.policy
        says = f"[dim]{plain(each.says)}[/]" if each.source == "default" else plain(each.says)
        source, by, note = plain(each.source), plain(policy.set_by), plain(policy.note)
        shown.add_row(plain(each.governs), says, source, by, moment(policy.set_at), note)
    screen.print(shown)


@app.command("set")
def set_(
    model: Annotated[str | None, typer.Argument(help="Name of the model, or '*' for all models.")] = None,
    stage: OnStage = None,
    alias: OnAlias = None,
    evidence: Annotated[
        list[str] | None,
        typer.Option(
            help="GATE, GATE:METRIC, GATE:METRIC:AGE or GATE:METRIC:AGE:BOUNDS, such as fair::30d or"
            " at_least:roc_auc::value=0.75,alpha=0.05,rows=2000; may be repeated."
        ),
    ] = None,
    rollout: Annotated[
        str, typer.Option(help="How careful a release's rollout must be, such as first_share=5,minimum_time=1h.")
    ] = "",
    approvals: Annotated[int, typer.Option(min=0, help="How many must approve.")] = 0,
    role: Annotated[str, typer.Option(help="Who may approve.")] = "approver",
    four_eyes: Annotated[bool, typer.Option(help="Refuse the author and whoever asks as approvers.")] = True,
    expires: Annotated[str, typer.Option(help="How long a request stands.")] = "7d",
    valid_for: Annotated[str, typer.Option(help="How long a grant counts.")] = "30d",
    mover: Annotated[
        list[str] | None, typer.Option(help="A role that may make the change; may be repeated \\[developer].")
    ] = None,
    notify: Annotated[
        list[str] | None,
        typer.Option(help="A channel of HEADRACE_ALERT_CHANNELS that is told of requests; may be repeated."),
    ] = None,
    note: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    file: Annotated[Path | None, typer.Option(help="Policies in YAML or JSON, instead of all this.")] = None,
) -> None:
    """Set a policy, in the place of the one on the same stage or alias."""
    from headrace.errors import InvalidInput
    from headrace.sdk.connect import connect

    platform = connect()
    if file is not None:
        for fields in read(file):
            _set(platform, fields)
        return
    if model is None:
        raise InvalidInput("say which model", where="MODEL", fix="Write its name, '*' for all, or use --file.")
    _set(
        platform,
        {
            "model": model,
            "stage": stage and stage.capitalize(),
            "alias": alias,
            "evidence": [evidence_of(text) for text in evidence or []],
            "approvals": approvals,
            "role": role,
            "four_eyes": four_eyes,
            "expires": expires,
            "valid_for": valid_for,
            "movers": mover or [],
            "notify": notify or [],
            "rollout": bounds_of(rollout, "--rollout") or None,
            "note": note,
        },
    )


@app.command("remove")
def remove(model: Model, stage: OnStage = None, alias: OnAlias = None) -> None:
    """Remove a policy; what it governed is then under the next less specific one, or open."""
    from headrace.cli.screen import console, plain
    from headrace.sdk.connect import connect

    platform = connect()
    gone = platform.policies.remove(model, stage=stage and stage.capitalize(), alias=alias)
    screen = console()
    screen.print(f"[green]✓[/] {plain(gone.named)} is removed")
    if gone.model != "*":
        left = next((e for e in platform.policies.of(gone.model).policies if e.governs == gone.governs), None)
        if left is not None:
            screen.print(plain(f"  now from {left.source}: {left.says}"))


@app.command("history")
def history(model: Model) -> None:
    """Every change of a model's policies, and what it loosened."""
    from headrace.cli.screen import console, moment, plain, table, warn_unless_known
    from headrace.sdk.connect import connect

    platform, screen = connect(), console()
    shown = table(">seq", "time", "by", "what", "governs", "asks for", "loosened")
    for event in platform.policies.history(model):
        told = event.payload
        what = event.type.removeprefix("registry.policy_")
        loosened = f"[yellow]{plain('; '.join(told.get('loosened', [])))}[/]" if told.get("loosened") else ""
        governs, says = plain(str(told.get("governs", ""))), plain(str(told.get("says", "")))
        shown.add_row(str(event.seq), moment(event.at), plain(event.actor), what, governs, says, loosened)
    if shown.row_count:
        screen.print(shown)
        return
    screen.print(plain(f"no policy of {model} was ever set"))
    if model != "*":
        warn_unless_known(platform, screen, model)


def _set(platform: "Platform", fields: dict[str, Any]) -> None:
    """Set one policy and say what it asks for, and what it loosens."""
    from headrace.cli.screen import console, plain, warn_unless_known
    from headrace.registry.rules import loosened

    before = platform.policies.all()
    made = platform.policies.set(fields)
    screen = console()
    screen.print(f"[green]✓[/] {plain(f'{made.named}: {made.says}')}")
    if made.model != "*":
        warn_unless_known(platform, screen, made.model)
    for line in loosened(_same(before, made), made):
        screen.print(f"  [yellow]looser[/] {plain(line)}")


def _same(policies: list["Policy"], made: "Policy") -> "Policy | None":
    return next((each for each in policies if each.named == made.named), None)


def evidence_of(text: str) -> dict[str, Any]:
    """GATE, GATE:METRIC, GATE:METRIC:AGE or GATE:METRIC:AGE:BOUNDS; a part may be empty."""
    gate, _, rest = text.partition(":")
    metric, _, rest = rest.partition(":")
    age, _, bounds = rest.partition(":")
    found: dict[str, Any] = {"gate": gate, "metric": metric or None, "max_age": age}
    return {**found, "bounds": bounds_of(bounds, "--evidence")} if bounds else found


def bounds_of(text: str, option: str) -> dict[str, Any]:
    """`name=value` pairs, separated by commas, as a policy file would have them; `by` takes several with `+`.

    Where numbers are cut, `by=people.age at 30, 60`, is written as the evidence shows it.

    Raises:
        InvalidInput: a part is no such pair.
    """
    import msgspec

    from headrace.errors import InvalidInput

    found: dict[str, Any] = {}
    for pair in _pairs(text):
        name, separator, value = (part.strip() for part in pair.partition("="))
        if not separator or not name or not value:
            raise InvalidInput(f"{pair!r} is not name=value", where=option, fix="Write value=0.75,alpha=0.05.")
        if name == "by":
            found[name] = _columns(value)
            continue
        try:
            found[name] = msgspec.json.decode(value, type=int | float | bool)
        except msgspec.MsgspecError:
            found[name] = value
    return found


def _pairs(text: str) -> list[str]:
    """What commas separate; a number behind one is another edge of the column that `by` named last."""
    found: list[str] = []
    for part in filter(None, text.split(",")):
        name, _, value = found[-1].partition("=") if found else ("", "", "")
        if name.strip() == "by" and " at " in _columns(value)[-1] and _is_number(_columns(part)[0]):
            found[-1] += f", {part.strip()}"
        else:
            found.append(part)
    return found


def _columns(text: str) -> list[str]:
    """What `+` separates, other than the digits of 1e+06."""
    import re

    return [column.strip() for column in re.split(r"\+(?!\d)|(?<!\de)\+", text)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read(file: Path) -> list[dict[str, Any]]:
    """The policies of a file: a list, or a list under `policies`.

    Raises:
        InvalidInput: it cannot be read, or holds something else.
    """
    import yaml

    from headrace.errors import InvalidInput

    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))  # JSON is YAML too
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"the file cannot be read: {error}", where=str(file)) from error
    listed = found.get("policies") if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise InvalidInput("the file holds no list of policies", where=str(file), fix="Begin it with `policies:`.")
    return listed
