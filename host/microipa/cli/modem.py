"""`microipa modem …`: what people do with modems at their desk."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microipa.common.console import host_and_port, out, require_writable, run_async, write

if TYPE_CHECKING:
    from microipa.modem.record import Tour

app = typer.Typer(no_args_is_help=True, help="Record the dialogue of a modem and its driver.")


@app.callback()
def modem() -> None:
    """Record the dialogue of a modem and its driver."""


@app.command("record")
def record_command(
    output: Annotated[Path, typer.Argument(help="File for the transcript.", dir_okay=False)],
    family: Annotated[str, typer.Option("--modem", help="Name of the driver: bg95, gm02s, nrf91, …")],
    port: Annotated[str, typer.Option(help="Serial port or URL of the modem; virtual: the lab's modem.")] = "virtual",
    baud: Annotated[int, typer.Option(min=300, help="Bits per second on the port.")] = 115200,
    apn: Annotated[str, typer.Option(help="Access point name (APN) of the card's network.")] = "iot",
    echo: Annotated[str | None, typer.Option(help="HOST:PORT of a UDP echo service.")] = None,
) -> None:
    """Run a driver through everything that the assistant does with a modem, and record every byte.

    The driver runs in MicroPython on this machine. It registers, sends one datagram and resets the card; it changes no
    profile. The file contains the EID, the IMEI and the network.
    """
    from microipa.modem import FAMILIES, UnknownFamily
    from microipa.modem.record import record

    if family not in FAMILIES:
        raise UnknownFamily(f"no modem family {family!r}: choose one of {', '.join(FAMILIES)}")
    require_writable(output)  # a tour takes minutes
    if port == "virtual":
        tour, source = run_async(_virtual(family)), "the lab's modem"
    else:
        there = None if echo is None else host_and_port("--echo", echo)
        tour, source = run_async(record(port, baud, family, apn, there)), f"a modem at {baud} baud"
    out.print(*tour.lines, sep="\n")
    tour.transcript.title = [
        f"{family}: tools/modem_tour.py on {source}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        *(f"= {line}" for line in tour.lines),
    ]
    write(output, tour.transcript.text().encode())
    out.print(f"{output}: {len(tour.transcript.turns)} turns")
    raise typer.Exit(tour.status)


async def _virtual(family: str) -> Tour:
    from microipa.modem.bench import ECHO, bench
    from microipa.modem.record import record

    async with bench(family) as modem:
        return await record(modem.path, 115200, family, "iot", ECHO)
