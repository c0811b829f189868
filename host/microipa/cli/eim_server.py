"""``microipa eim …``: an eIM as a server of its own, without a lab."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from microipa.common.console import out
from microipa.common.errors import MicroipaError
from microipa.common.outside_text import visible

eim_server_app = typer.Typer(no_args_is_help=True, help="Run an eIM as a server of its own, without a lab.")


@eim_server_app.command()
def serve(
    config: Annotated[
        list[Path], typer.Option(help="eim.toml; repeat it to serve several eIMs.", dir_okay=False)
    ],
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of processes that serve the same ports.")] = 1,
) -> None:
    """Serve ESipa over CoAPS and HTTPS in the foreground until SIGTERM; SIGHUP reloads the certificates.

    With several workers, SIGUSR2 replaces them one after the other. Exit status 2 if the server cannot start.
    """
    from microipa.common.json_log import log_json_lines
    from microipa.eim.server import serve

    log_json_lines()
    try:
        serve(config, workers)
    except MicroipaError as error:
        print(f"microipa: {visible(error)}", file=sys.stderr)
        raise typer.Exit(2) from None


@eim_server_app.command("add-devices")
def add_devices(
    file: Annotated[Path, typer.Argument(help="CSV with a header line, or one JSON object a line.", dir_okay=False)],
    config: Annotated[Path, typer.Option(help="eim.toml of the eIM that will manage them.", dir_okay=False)],
) -> None:
    """Add the devices of a file. Columns: eid, and if known label, maker, token, euicc_certificate, eum_certificate,
    device_key (DER in base64).

    Adding the same file again changes nothing. A line that is refused is reported and the others are added; then the
    exit status is 1. It is 2 if the file cannot be read at all.
    """
    from microipa.eim import onboarding
    from microipa.eim.config import Config

    try:
        read = Config.read(config)

        def tell(line: int, why: str) -> None:
            print(visible(f"{file}:{line}: {why}"), file=sys.stderr)

        taken, refused = onboarding.add_devices(read.store(), file, read.identity().issuer, tell)
    except MicroipaError as error:
        print(f"microipa: {visible(error)}", file=sys.stderr)
        raise typer.Exit(2) from None
    out.print(f"{taken} lines accepted, {refused} refused")
    raise typer.Exit(1 if refused else 0)
