"""`headrace up`: start the platform on a home and watch over it."""

from pathlib import Path
from typing import Annotated

import typer


def up(
    home: Annotated[Path | None, typer.Option(help="Folder with the platform's state [.headrace].")] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind to [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the API; 0 picks a free one [8470].")] = None,
    gateway_port: Annotated[
        int | None, typer.Option(help="Port of the first gateway; 0 picks free ones [8471].")
    ] = None,
    gateways: Annotated[int | None, typer.Option(min=1, help="How many gateways [1].")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many workers [1].")] = None,
    artifact_root: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Folder or object store that clients write files to themselves \\[through the platform].",
        ),
    ] = None,
) -> None:
    """Start the platform: control, gateways and workers, supervised, until Ctrl-C."""
    from headrace.cli.screen import console
    from headrace.kernel.roots import normalized
    from headrace.kernel.secrecy import keep_secrets
    from headrace.kernel.settings import inherited_environment, load_settings
    from headrace.server.supervisor import Supervisor

    keep_secrets()
    settings = load_settings(
        home=home,
        host=host,
        port=port,
        gateway_port=gateway_port,
        gateways=gateways,
        workers=workers,
        artifact_root=None if artifact_root is None else normalized(artifact_root),
    )
    screen = console()
    supervisor = Supervisor(
        settings,
        inherited_environment(),
        on_restart=lambda name: screen.print(f"[yellow]{name} died and is started again[/]"),
    )
    with supervisor.running() as endpoint:
        screen.print(f"[bold]Headrace[/] runs on {settings.home.resolve()}")
        link = f"[link={endpoint.url}]{endpoint.url}[/link]"
        screen.print(f"  platform    {link}   the page, the API, and what MLflow's clients are set to")
        for url in endpoint.gateways:
            screen.print(f"  predictions {url}")
        screen.print(
            f"  Elsewhere: export HEADRACE_URL={endpoint.url}. Ctrl-C stops it.", style="dim", soft_wrap=True
        )
        supervisor.watch()
        screen.print("stopping …", style="dim")
