"""`headrace demo`: the whole loop on real data, against a platform of its own."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform running at the end.")] = False,
    home: Annotated[Path | None, typer.Option(help="Folder for the platform's state \\[a fresh one].")] = None,
) -> None:
    """Play eight months of a shop through the platform: from purchases to a model that retrains itself."""
    from headrace.cli.demonstration.play import play

    play(keep=keep, home=home)
