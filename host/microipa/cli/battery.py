"""`microipa battery`: how many years a cell lasts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from microipa.common.console import out, print_json, write

Network = Literal["nbiot", "ltem"]


def battery(
    board: Annotated[str, typer.Option(help="A board of boards/, or the path of your own.")],
    cell: Annotated[str, typer.Option(help="19Ah, 3000mAh, or with its voltage 3Ah@3V; 3.6 V by default.")],
    poll: Annotated[str, typer.Option(help="From one poll to the next: 15m, 24h, 7d.")],
    modem: Annotated[str | None, typer.Option(help="bg95, nrf91, …; the board's own by default.")] = None,
    download: Annotated[str, typer.Option(help="How often a profile is downloaded: 1/year, 2/month, …")] = "0/year",
    switch: Annotated[str, typer.Option(help="How often another profile is enabled: 1/year, …")] = "0/year",
    network: Annotated[Network, typer.Option(help="What the modem uses.")] = "nbiot",
    sleep: Annotated[
        Literal["none", "light", "deep"], typer.Option(help="Of the microcontroller between polls.")
    ] = "deep",
    between: Annotated[
        Literal["psm", "edrx", "drx"], typer.Option(help="What the modem does between polls, always registered.")
    ] = "psm",
    rai: Annotated[bool, typer.Option(help="The last datagram of a poll ends the connection.")] = True,
    figures: Annotated[
        Path | None, typer.Option(help="TOML of own measurements, tables modem, chip, network and device.")
    ] = None,
    bill: Annotated[
        Path | None, typer.Option(help="traffic.json of `microipa bill`; without: as measured on 2026-11-29.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw one day's current into this SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the source of every figure.")] = False,
) -> None:
    """Forecast how long a battery lasts, where its charge goes, and what one setting more would bring.

    A model from published figures, after Sørensen et al. 2021: nothing of it was measured on hardware by this
    project. --sleep is the setting of ipa.json, and PSM its psm_periodic_s. The rows "today" are the firmware before it
    slept. 1 % of the cell a year goes by self-discharge.
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
