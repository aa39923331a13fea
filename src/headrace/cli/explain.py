"""`headrace explain`: which features brought a prediction to its value, as bars."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.serving.explanation_nouns import Explanation, Explanations

WIDTH = 16
"""Characters of the longest bar."""


def explain(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The model's name, or NAME@NUMBER for one version.")
    ],
    row: Annotated[list[str] | None, typer.Option(help="Features as JSON, {'name': value}; repeat it.")] = None,
    entity: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, to look features up; repeat it.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many contributions to show.")] = 12,
    output: Annotated[str | None, typer.Option(help="The class or output to explain.")] = None,
    url: Annotated[str | None, typer.Option(help="A gateway's address, or that of `headrace serve`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which features brought a prediction to its value."""
    from contextlib import closing

    import msgspec

    from headrace.cli.screen import console
    from headrace.errors import InvalidInput
    from headrace.kernel.settings import load_settings
    from headrace.sdk.connect import connect
    from headrace.sdk.predictions import Predictor

    name, _, version = model.rpartition("@") if "@" in model else (model, "", "")
    if version and not version.isdigit():
        raise InvalidInput("a version is named by its number", where=model[:200], fix="Write NAME@NUMBER.")
    asked: dict[str, Any] = {"top": top, "output": output, "version": int(version) if version else None}
    if row and not entity:
        asked["rows"] = [_row(text) for text in row]
    elif entity and not row:
        asked["entities"] = _entities(entity)
    else:
        raise InvalidInput(
            "rows or entities are explained",
            where="--row, --entity",
            fix="Give --row '{...}' or --entity KEY=VALUE.",
        )
    if url is not None:
        with closing(Predictor(url, name, token=load_settings().token, timeout_s=60.0)) as predictor:
            found = predictor.explain(**asked)
    else:
        with closing(connect()) as platform, closing(platform.predictor(name)) as predictor:
            found = predictor.explain(**asked)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    show(found, console(), labels=entity_labels(asked["entities"]) if "entities" in asked else ())


def show(found: "Explanations", screen: Any, *, labels: "Sequence[str]" = ()) -> None:
    """Each row with its features, their values and their bars, the largest first, and what they mean.

    Args:
        found: what was answered.
        screen: the terminal.
        labels: what each row is about; without them rows have numbers, where there are several.
    """
    from headrace.cli.screen import plain, table

    for place, each in enumerate(found.explanations):
        if place:
            screen.print()
        of = "" if each.scale == "value" else f" of {plain(str(each.of))}"
        answer = plain(_short(each.prediction))
        which = labels[place] if labels else f"row {place + 1}" if len(found.explanations) > 1 else ""
        about = f"{plain(which)}: " if which else ""
        screen.print(f"{about}[bold]{plain(found.model)}[/] version {each.version} answers [bold]{answer}[/]")
        if each.registered_prediction is not None:
            said = plain(_short(each.registered_prediction))
            screen.print(f"[yellow]its registered form, which is explained, answers {said}[/]")
        errors = [">± error"] if each.standard_errors else []
        shown = table("feature", ">value", f">{each.scale.replace('_', ' ')}{of}", "", *errors)
        shown.add_row(
            "[dim]base[/]", "", f"{each.base:.4g}", "[dim]the mean answer[/]" if _is_mean(found, each) else ""
        )
        largest = max([abs(value) for value in each.contributions.values()] + [abs(each.others)]) or 1.0
        for name, value in each.contributions.items():
            error = [f"{each.standard_errors[name]:.2g}"] if each.standard_errors else []
            given = plain(_short(each.values[name])) if name in each.values else ""
            shown.add_row(plain(name), given, f"{value:+.4g}", bar(value / largest), *error)
        if each.others:
            shown.add_row("[dim]all others[/]", "", f"{each.others:+.4g}", bar(each.others / largest))
        shown.add_row("[bold]sum[/]", "", f"[bold]{each.sum:.4g}[/]", _meaning(each))
        screen.print(shown)
    for number, method in found.methods.items():
        orders = f", {method.permutations} orders of features" if method.permutations else ""
        against = f", against {method.background_rows} rows" if method.background_rows else ""
        words = f"version {number}: {method.name} by {method.by}{against}{orders}; {method.source}"
        screen.print(plain(words), style="dim")
    screen.print("Contributions say what the model did, not what causes the outcome.", style="dim")


def bar(share: float) -> str:
    """A bar to the right for what raises the answer, marked otherwise for what lowers it.

    Args:
        share: of the longest bar, from -1 to 1.
    """
    eighths = round(abs(share) * WIDTH * 8)
    whole, rest = divmod(eighths, 8)
    drawn = "█" * whole + ("" if not rest else " ▏▎▍▌▋▊▉"[rest])
    color = "green" if share > 0 else "red"
    return f"[{color}]{'+' if share > 0 else '−'} {drawn}[/]" if drawn else ""


def _meaning(each: "Explanation") -> str:
    """What the sum is as a probability, where it is one."""
    from math import exp

    if each.scale != "log_odds":
        return ""
    probability = 1 / (1 + exp(-each.sum)) if each.sum > -700 else 0.0
    return f"a probability of {probability:.3g}"


def entity_labels(entities: "Mapping[str, Sequence[Any]]") -> list[str]:
    """The entity that each row is about, as it was asked for."""
    return [
        ", ".join(f"{key}={value}" for key, value in zip(entities, values, strict=True))
        for values in zip(*entities.values(), strict=False)
    ]


def _is_mean(found: "Explanations", each: "Explanation") -> bool:
    """Whether the base is the mean over background rows, and not over what trees were grown on."""
    method = found.methods.get(str(each.version))
    return method is not None and method.background_rows > 0


def _short(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(_short(each) for each in value[:8])}{', …' if len(value) > 8 else ''}]"
    return str(value)[:80]


def _row(text: str) -> dict[str, Any]:
    import msgspec

    from headrace.errors import InvalidInput

    try:
        return msgspec.json.decode(text.encode(), type=dict[str, Any])
    except msgspec.DecodeError:
        raise InvalidInput("a row is a JSON object", where="--row", fix="""Write '{"age": 40}'.""") from None


def _entities(given: list[str]) -> dict[str, list[Any]]:
    from headrace.errors import InvalidInput

    found: dict[str, list[Any]] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals:
            raise InvalidInput("an entity is KEY=VALUE", where="--entity", fix="Write customer_id=17.")
        found.setdefault(key, []).append(int(value) if value.removeprefix("-").isdigit() else value)
    return found
