"""``microipa eim …``: an eIM as a server of its own, without a lab."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from microipa.errors import MicroipaError
from microipa.outside_text import visible

eim_server_app = typer.Typer(no_args_is_help=True, help="An eIM as a server of its own, without a lab.")


@eim_server_app.callback()
def _group() -> None:
    """Keeps `serve` a command of its own while it is the only one."""


@eim_server_app.command()
def serve(
    config: Annotated[
        list[Path], typer.Option(help="eim.toml; once more for another eIM beside it.", dir_okay=False)
    ],
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that serve the same ports.")] = 1,
) -> None:
    """Serve ESipa over CoAPS and HTTPS in the foreground until SIGTERM; SIGHUP reads the certificates anew.

    With several workers SIGUSR2 replaces one after the other. Exit status 2 when it cannot start.
    """
    from microipa.eim.server import serve
    from microipa.json_log import log_json_lines

    log_json_lines()
    try:
        serve(config, workers)
    except MicroipaError as error:
        print(f"microipa: {visible(error)}", file=sys.stderr)
        raise typer.Exit(2) from None
