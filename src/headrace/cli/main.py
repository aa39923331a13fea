"""The terminal door: each command calls the SDK and shows what came back.

Command modules import what they need inside their functions, so that `headrace --help` answers at once.
"""

import sys
from typing import Annotated

import typer

from headrace.cli import (
    access,
    approvals,
    audit,
    delivery,
    demo,
    evidence,
    explain,
    exporting,
    feedback,
    importing,
    lineage,
    maintenance,
    models,
    overview,
    policy,
    predictions,
    project,
    retention,
    score,
    serve,
    tracking,
    up,
)
from headrace.cli.screen import show_problem
from headrace.errors import HeadraceError

HELP = "The channel from notebook to production: tracking, registry, features, delivery, serving, monitoring."
EPILOG = (
    "A command speaks to the platform at HEADRACE_URL, otherwise to the one that runs on the folder HEADRACE_HOME, "
    "otherwise on .headrace here. HEADRACE_TOKEN is the login, where one is asked for."
)

app = typer.Typer(
    name="headrace",
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(asked: bool) -> None:
    """Say which version this is, and end."""
    from importlib.metadata import version

    if asked:
        print(f"headrace {version('headrace')}")
        raise typer.Exit


@app.callback()
def chosen(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Nothing is done before a command is named."""


app.command("up", rich_help_panel="Platform")(up.up)
app.command("demo", rich_help_panel="Platform")(demo.demo)
app.command("status", rich_help_panel="Platform")(overview.status)
app.command("clock", rich_help_panel="Platform")(overview.clock)
app.command("apply", rich_help_panel="Project")(project.apply)
app.command("train", rich_help_panel="Project")(project.train)
app.command("release", rich_help_panel="Delivery")(delivery.release)
app.command("approve", rich_help_panel="Delivery")(delivery.approve)
app.command("score", rich_help_panel="Platform")(score.score)
app.command("explain", rich_help_panel="Look")(explain.explain)
app.add_typer(serve.app, name="serve", rich_help_panel="Platform")
app.command("rollback", rich_help_panel="Delivery")(delivery.rollback)
app.command("runs", rich_help_panel="Tracking")(tracking.runs)
app.command("sync", rich_help_panel="Tracking")(tracking.sync)
app.command("gc", rich_help_panel="Platform")(maintenance.gc)
app.add_typer(models.app, name="models", rich_help_panel="Look")
app.command("lineage", rich_help_panel="Govern")(lineage.lineage)
app.command("features", rich_help_panel="Look")(overview.features)
app.command("alerts", rich_help_panel="Look")(overview.alerts)
app.add_typer(feedback.app, name="feedback", rich_help_panel="Look")
app.add_typer(predictions.app, name="predictions", rich_help_panel="Look")
app.add_typer(importing.app, name="import", rich_help_panel="Tracking")
app.add_typer(exporting.app, name="export", rich_help_panel="Tracking")
app.add_typer(policy.app, name="policy", rich_help_panel="Govern")
app.add_typer(approvals.app, name="approvals", rich_help_panel="Govern")
app.add_typer(evidence.app, name="evidence", rich_help_panel="Delivery")
app.add_typer(retention.app, name="retention", rich_help_panel="Govern")
app.add_typer(audit.app, name="audit", rich_help_panel="Govern")
app.add_typer(access.app, name="access", rich_help_panel="Govern")


def run() -> None:
    """Run the command line; one of our errors becomes one message and exit code 1."""
    try:
        app()
    except HeadraceError as problem:
        show_problem(problem)
        sys.exit(1)
