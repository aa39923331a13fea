"""`headrace serve`: one model alone, at the paths of MLflow's scoring server and of the Open Inference Protocol."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from headrace.server.capacity import Advice, Step

SERVING = "model"


class _Models(TyperGroup):
    """What is no command is a model: `headrace serve MODEL` serves it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the command that is left out."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [SERVING, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Models,
    no_args_is_help=True,
    help="Serve one model, without a platform (headrace serve MODEL), or measure how much it answers.",
)


@app.command(SERVING)
def serve(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model directory, models:/NAME/NUMBER, models:/NAME@ALIAS or runs:/ID/PATH."
        ),
    ],
    port: Annotated[int, typer.Option(help="Where to listen; 0 picks a free one.")] = 5001,
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Let it run code when it is loaded; you trust who made it.")
    ] = False,
) -> None:
    """Serve one model, without a platform, until Ctrl-C."""
    import tempfile
    from pathlib import Path
    from urllib.parse import quote

    from headrace.cli.screen import console
    from headrace.kernel.secrecy import keep_secrets
    from headrace.kernel.settings import http_address, load_settings
    from headrace.sdk.connect import connect
    from headrace.sdk.model_uris import fetch_model
    from headrace.server.alone import run
    from headrace.server.processes import choose_port
    from headrace.serving.loading.loader import open_environments
    from headrace.serving.loading.predictor import Predictor
    from headrace.serving.runtimes.files import ModelFiles

    keep_secrets()
    screen = console()
    settings = load_settings()
    chosen = choose_port(host, port)
    address = http_address(host, chosen)
    with tempfile.TemporaryDirectory(prefix="headrace-model-") as folder:
        fetched = fetch_model(model, Path(folder), connect)

        def began(predictor: Predictor) -> None:
            link = f"[link={address}]{address}[/link]"
            screen.print(f"[bold]{fetched.name}[/] version {fetched.number} answers at {link}")
            screen.print(f"  MLflow's scoring   POST {address}/invocations")
            screen.print(f"  Open Inference     POST {address}/v2/models/{quote(fetched.name)}/infer")
            screen.print(f"  Explanations       POST {address}/explain")
            columns = ", ".join(predictor.names[:8]) + (" …" if len(predictor.names) > 8 else "")
            took = f"one row takes {predictor.row_s * 1e3:.3g} ms"
            screen.print(f"  {len(predictor.names)} inputs: {columns}; {took}")
            screen.print("  Ctrl-C stops it", style="dim")

        run(
            ModelFiles(fetched.directory, fetched.digests),
            model=fetched.name,
            number=fetched.number,
            host=host,
            port=chosen,
            settings=settings,
            environments=open_environments(settings.home),
            allow_code=allow_pickle,
            began=began,
        )


@app.command("bench")
def bench(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As for serving.")],
    rate: Annotated[
        float | None, typer.Option(help="Requests in a second that all gateways together shall answer.")
    ] = None,
    p99_ms: Annotated[float | None, typer.Option(help="The slowest hundredth may take so long, at most.")] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="For each number of connections.")] = 3.0,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Let it run code when it is loaded; you trust who made it.")
    ] = False,
) -> None:
    """Measure how much one gateway answers for a model, and advise how many a rate takes."""
    import tempfile
    from pathlib import Path

    from headrace.cli.screen import console, table
    from headrace.sdk.connect import connect
    from headrace.sdk.model_uris import fetch_model
    from headrace.server import capacity
    from headrace.serving.runtimes.files import ModelFiles

    screen = console()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        (Path(folder) / "model").mkdir()
        fetched = fetch_model(model, Path(folder) / "model", connect)
        bodies, told = capacity.bodies(ModelFiles(fetched.directory, fetched.digests))
        screen.print(f"[bold]{fetched.name}[/] version {fetched.number}, one row a request, rows: {told}")
        with screen.status("measuring"):
            steps = capacity.measure(
                fetched.directory,
                bodies,
                allow_code=allow_pickle,
                seconds=seconds,
                log=Path(folder) / "served.log",
            )
    shown = table(">connections", ">requests/s", ">p50 ms", ">p99 ms", ">CPU cores", ">failed")
    for step in steps:
        shown.add_row(*_cells(step))
    screen.print(shown)
    for line in _words(capacity.advise(steps, p99_ms=p99_ms, rate_per_s=rate), rate):
        screen.print(line)
    screen.print(
        f"Measured from this machine, whose {capacity.cores()} cores the client shared: take it for a lower bound.",
        style="dim",
    )


def _cells(step: "Step") -> list[str]:
    load = step.load
    figures = (f"{load.requests_per_s:,.0f}", f"{load.p50_ms:.2f}", f"{load.p99_ms:.2f}", f"{step.cpu_cores:.2f}")
    return [str(load.connections), *figures, str(load.failed)]


def _words(advice: "Advice", rate: float | None) -> list[str]:
    lines = [
        f"One gateway answers {advice.capacity_per_s:,.0f} requests/s, with {advice.connections} at once.",
        f"Plan for {advice.planned_per_s:,.0f} requests/s each: a line that is always full has no room for bursts.",
        f"Kubernetes: requests.cpu {advice.cpu_millicores}m, HPA averageUtilization {advice.utilization_percent}.",
    ]
    if advice.gateways is not None:
        lines.append(f"For {rate:,.0f} requests/s: {advice.gateways} gateways.")
    return lines
