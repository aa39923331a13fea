"""`headrace serve`: one model alone, at the paths of MLflow's scoring server and of the Open Inference Protocol."""

from typing import Annotated

import typer


def serve(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model directory, models:/NAME/NUMBER, models:/NAME@ALIAS or runs:/ID/PATH."
        ),
    ],
    port: Annotated[int, typer.Option(help="Where to listen; 0 picks a free one.")] = 5001,
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
) -> None:
    """Serve one model, without a platform, until Ctrl-C."""
    import tempfile
    from pathlib import Path
    from urllib.parse import quote

    from headrace.cli.screen import console
    from headrace.kernel.settings import http_address, load_settings
    from headrace.sdk.connect import connect
    from headrace.sdk.model_uris import fetch_model
    from headrace.server.alone import run
    from headrace.server.processes import choose_port
    from headrace.serving.model_files import ModelFiles
    from headrace.serving.predictor import Predictor

    screen = console()
    chosen = choose_port(host, port)
    address = http_address(host, chosen)
    with tempfile.TemporaryDirectory(prefix="headrace-model-") as folder:
        fetched = fetch_model(model, Path(folder), connect)

        def began(predictor: Predictor) -> None:
            link = f"[link={address}]{address}[/link]"
            screen.print(f"[bold]{fetched.name}[/] version {fetched.number} answers at {link}")
            screen.print(f"  MLflow's scoring   POST {address}/invocations")
            screen.print(f"  Open Inference     POST {address}/v2/models/{quote(fetched.name)}/infer")
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
            token=load_settings().token,
            began=began,
        )
