"""The demo's play: opens the stage, runs the acts in order, and says at the end where to look and what to try."""

import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from headrace.cli.demonstration import acts_delivery, acts_production, acts_start
from headrace.cli.demonstration.receiver import Receiver
from headrace.cli.demonstration.shop import copy_project, require_example_packages
from headrace.cli.demonstration.stage import Stage
from headrace.cli.demonstration.world import World
from headrace.cli.screen import console
from headrace.sdk.connect import connect
from headrace.server.launch import launched


def play(*, keep: bool, home: Path | None) -> None:
    """Play the whole story; returns only if every step was confirmed.

    Args:
        keep: leave the platform running.
        home: folder for its state; None makes a fresh one.

    Raises:
        HeadraceError: a step could not be confirmed.
    """
    require_example_packages()
    screen = console()
    folder = home or Path(tempfile.mkdtemp(prefix="headrace-demo-"))
    stage = Stage(screen)
    began = time.monotonic()
    finished = False
    screen.print("[bold]Headrace[/]: eight months of a shop, from raw purchases to a model that retrains itself")
    with Receiver() as receiver, ExitStack() as stack:
        with stage.act("A platform of its own"):
            project = folder / "churn"
            commit = copy_project(project)
            channels = {"HEADRACE_ALERT_CHANNELS": f"ops={receiver.url}", "HEADRACE_ALERTS_ALLOW_LOOPBACK": "true"}
            platform = stack.enter_context(
                launched(folder / "home", environment=channels, keep=(lambda: finished) if keep else None)
            )
            local = connect(platform.endpoint.url, home=platform.home)
            stage.confirm(
                f"{', '.join(platform.processes())} run; the platform answers on {local.url}",
                holds=local.access.whoami().is_local,
            )
        world = acts_start.people(stage, local, platform, project, commit, receiver)
        _tell(stage, world)
        finished = True
    _epilogue(screen, stage, world, keep=keep, seconds=time.monotonic() - began)
    if home is None and not keep:
        shutil.rmtree(folder, ignore_errors=True)


def _tell(stage: Stage, world: World) -> None:
    acts_start.apply(stage, world)
    acts_start.train(stage, world)
    acts_delivery.first_release(stage, world)
    acts_production.months(stage, world)
    acts_delivery.challenger(stage, world)
    acts_delivery.faulty_version(stage, world)
    acts_production.audit_trail(stage, world)


def _epilogue(screen: Console, stage: Stage, world: World, *, keep: bool, seconds: float) -> None:
    screen.print()
    stage.timings()
    screen.print(
        f"[green]All {stage.confirmed} facts were read back through the public API, in {seconds:.0f} s.[/]"
    )
    screen.print()
    if keep:
        url = world.local.url
        screen.print(
            f"  The platform still runs: [link={url}]{url}[/link]   (stop it: kill {world.platform.supervisor.pid})"
        )
        screen.print(f"  export HEADRACE_URL={url}")
    else:
        screen.print("  To look around in what was made: [bold]headrace demo --keep[/]")
    screen.print("  Then try  headrace status · headrace models · headrace runs · headrace audit log")
    screen.print(
        "  Your own: copy examples/churn, change the file, [bold]headrace up[/] and [bold]headrace apply[/]"
    )
