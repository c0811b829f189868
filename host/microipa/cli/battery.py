"""`microipa battery`: how many years a cell lasts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from microipa.common.console import out, print_json, write

Network = Literal["nbiot", "ltem"]


def battery(
    board: Annotated[str, typer.Option(help="A board of boards/, or the path of your own board's folder.")],
    cell: Annotated[str, typer.Option(help="Capacity: 19Ah or 3000mAh; with a voltage: 3Ah@3V; 3.6 V by default.")],
    poll: Annotated[str, typer.Option(help="Time between two polls: 15m, 24h, 7d.")],
    modem: Annotated[str | None, typer.Option(help="bg95, nrf91, …; by default the one in board.toml.")] = None,
    download: Annotated[str, typer.Option(help="How often a profile is downloaded: 1/year, 2/month, …")] = "0/year",
    switch: Annotated[str, typer.Option(help="How often the device switches to another profile: 1/year, …")] = "0/year",
    network: Annotated[Network, typer.Option(help="Radio network.")] = "nbiot",
    sleep: Annotated[
        Literal["none", "light", "deep"], typer.Option(help="What the microcontroller does between polls.")
    ] = "deep",
    between: Annotated[
        Literal["psm", "edrx", "drx"], typer.Option(help="What the registered modem does between polls.")
    ] = "psm",
    rai: Annotated[bool, typer.Option(
        help="Release assistance: the last datagram of a poll ends the connection.")] = True,
    figures: Annotated[
        Path | None, typer.Option(help="TOML file with your own measurements: tables modem, chip, network, device.")
    ] = None,
    bill: Annotated[
        Path | None, typer.Option(
            help="traffic.json of `microipa bill`; by default the traffic measured on 2026-11-29.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the current of one day into this SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the source of every figure.")] = False,
) -> None:
    """Forecast how long a battery lasts, where its charge goes, and what one more setting would gain.

    A model from published figures (Sørensen et al. 2021). This project measured nothing on hardware. --sleep is
    the setting of ipa.json; PSM is its psm_periodic_s. The rows "today" show the firmware before it had sleep modes.
    Self-discharge takes 1 % of the cell a year.
    """
    from microipa.energy import inputs, report
    from microipa.energy.battery import Plan
    from microipa.energy.model import Settings

    forecast = report.Forecast(
        inputs.device(board, modem, network, figures),
        Settings(sleep, between, rai),
        inputs.work(bill),
        Plan(inputs.interval("--poll", poll), inputs.times_a_year("--download", download),
             inputs.times_a_year("--switch", switch)),
        inputs.cell(cell),
    )
    if as_json:
        print_json(report.for_programs(forecast), indent=2)
    else:
        report.words(forecast, out)
    if plot:
        write(plot, forecast.picture().encode())
