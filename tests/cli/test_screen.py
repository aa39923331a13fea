"""What the terminal shows, and what it leaves out where there is no room."""

import io

from rich.console import Console

from headrace.cli.screen import console, fitted, plain, table

COLUMNS = {"run": ["0" * 32], "name": ["first"], ">auc": ["0.5"], ">loss": ["0.25"]}


def shown(width: int) -> str:
    file = io.StringIO()
    screen = Console(file=file, width=width, force_terminal=True, color_system=None)
    screen.print(fitted(screen, COLUMNS, (">loss", "name")))
    return file.getvalue()


def test_columns_go_before_a_cell_is_cut() -> None:
    assert all(word in shown(80) for word in ("0" * 32, "first", "auc", "loss"))
    assert "loss" not in shown(55)
    assert "first" in shown(55)
    narrow = shown(46)
    assert "0" * 32 in narrow
    assert "auc" in narrow
    assert "first" not in narrow


def test_what_does_not_fit_goes_on_in_the_next_line() -> None:
    made = table("run")
    made.add_row("0123456789" * 3)
    screen = Console(file=io.StringIO(), width=20)
    with screen.capture() as captured:
        screen.print(made)
    assert "".join(captured.get().split()).endswith("0123456789" * 3)


def test_a_pipe_gets_every_value_whole_a_line_a_row_and_nothing_else() -> None:
    made = console()
    assert not made.is_terminal
    shown = table("run", ">loss", "note", title="runs")
    shown.add_row("0" * 3_000, "[red]0.25[/]", plain("x" * 2_000))
    shown.add_row("1", "[red]10.5[/]", "")
    with made.capture() as captured:
        made.print(shown)
    title, head, first, second = captured.get().splitlines()
    assert title.strip() == "runs"
    assert head.split() == ["run", "loss", "note"]
    assert first.split() == ["0" * 3_000, "0.25", "x" * 2_000]
    assert second.split() == ["1", "10.5"]
    assert (
        len({line.index(value) + len(value) for line, value in ((head, "loss"), (first, "0.25"), (second, "10.5"))})
        == 1
    )


def laid_out(width: int) -> str:
    shown = table("id", "why", ">size", "note", piped=False, title="what was found")
    shown.add_row("prd_0123456789", "it was [red]asked[/] for by somebody who is gone", "12,345", "")
    shown.add_row("prd_1", "", "1", "")
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with screen.capture() as captured:
        screen.print(shown)
    return captured.get()


def test_prose_gives_way_before_a_word_or_a_number_is_cut() -> None:
    wide, narrow = laid_out(100), laid_out(50)
    assert "it was asked for by somebody who is gone" in wide
    assert "it was asked for by somebody who is gone" not in narrow
    for word in ("prd_0123456789", "somebody", "12,345", "what was found"):
        assert word in narrow
    assert max(map(len, narrow.splitlines())) <= 50
    assert ("note" in wide, "note" in narrow) == (True, False), "what is empty goes first"


def test_where_words_have_no_room_beside_one_another_rows_stand_below_one_another() -> None:
    lines = [line.split() for line in laid_out(34).splitlines()]
    assert ["id", "prd_0123456789"] in lines
    assert ["size", "12,345"] in lines
    assert not any(line == ["why"] for line in lines), "what is empty is left out"
    assert max(map(len, laid_out(12).splitlines())) <= 12, "what does not fit goes on in the next line"


def test_what_somebody_typed_is_neither_markup_nor_an_order_to_the_terminal() -> None:
    screen = Console(file=io.StringIO(), width=80)
    with screen.capture() as captured:
        screen.print(plain("[bold]a[/] \x1b[2J[/x]"))
    assert captured.get() == "[bold]a[/] \N{REPLACEMENT CHARACTER}[2J[/x]\n"
