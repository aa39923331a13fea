"""What the terminal shows, and what it leaves out where there is no room."""

import io

from rich.console import Console

from headrace.cli.screen import console, fitted, plain, show_rows, table

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
    assert len({line.index(value) + len(value) for line, value in ((head, "loss"), (first, "0.25"), (second, "10.5"))}) == 1


def test_rows_that_are_too_wide_for_a_terminal_stand_below_one_another() -> None:
    names, rows = ["prediction_id", "note"], [["prd_1", "a" * 50], ["prd_2", "[b]"]]
    for width, beside in ((80, True), (50, False)):
        screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
        with screen.capture() as captured:
            show_rows(screen, names, rows)
        text = captured.get()
        assert ("row 1" not in text) == beside
        assert all(value in text for row in rows for value in row)
        assert any(line.split() == ["prediction_id", "prd_2"] for line in text.splitlines()) != beside


def test_what_somebody_typed_is_neither_markup_nor_an_order_to_the_terminal() -> None:
    screen = Console(file=io.StringIO(), width=80)
    with screen.capture() as captured:
        screen.print(plain("[bold]a[/] \x1b[2J[/x]"))
    assert captured.get() == "[bold]a[/] \N{REPLACEMENT CHARACTER}[2J[/x]\n"
