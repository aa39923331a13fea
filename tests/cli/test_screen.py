"""What the terminal shows, and what it leaves out where there is no room."""

import io

from rich.console import Console

from headrace.cli.screen import console, fitted, plain, table

COLUMNS = {"run": ["0" * 32], "name": ["first"], ">auc": ["0.5"], ">loss": ["0.25"]}


def shown(width: int) -> str:
    file = io.StringIO()
    screen = Console(file=file, width=width)
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


def test_a_pipe_is_wide() -> None:
    made = console()
    assert not made.is_terminal
    assert made.width >= 1_000


def test_what_somebody_typed_is_neither_markup_nor_an_order_to_the_terminal() -> None:
    screen = Console(file=io.StringIO(), width=80)
    with screen.capture() as captured:
        screen.print(plain("[bold]a[/] \x1b[2J[/x]"))
    assert captured.get() == "[bold]a[/] \N{REPLACEMENT CHARACTER}[2J[/x]\n"
