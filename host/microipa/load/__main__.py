"""``python -m microipa.load``: print what operations cost an eIM server, by size of its fleet."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import Annotated

import typer

from microipa.common.console import out
from microipa.common.errors import MicroipaError
from microipa.load.run import SCENARIOS, Figures, Size, run

HEAD = f"{'database':<10} {'workers':>7} {'devices':>8} {'orders':>8}  {'scenario':<26}"


def main(
    database: Annotated[str, typer.Option(help="sqlite, postgresql, or both by a comma.")] = "sqlite",
    workers: Annotated[str, typer.Option(help="Processes of the server, the same.")] = "1",
    devices: Annotated[str, typer.Option(help="Devices registered, the same.")] = "10,10000",
    orders: Annotated[str, typer.Option(help="Orders queued for other devices, the same.")] = "0,100000",
    operations: Annotated[int, typer.Option(help="Operations of each scenario.", min=32)] = 1920,
    associations: Annotated[int, typer.Option(help="Living associations beside the first polls.", min=1)] = 1000,
    scenarios: Annotated[str, typer.Option(help=f"By commas: {', '.join(SCENARIOS)}.")] = ",".join(SCENARIOS[:2]),
) -> None:
    """CPU time of all server processes, the database's too, per operation; rate and latency of each scenario."""
    out.print(f"{HEAD} {'CPU ms':>7} {'rate/s':>8} {'p50 ms':>8} {'p99 ms':>8}", highlight=False)
    if unknown := set(scenarios.split(",")) - set(SCENARIOS):
        raise typer.BadParameter(f"there is no scenario {min(unknown)}: {', '.join(SCENARIOS)}")
    choices = database.split(","), *(map(int, text.split(",")) for text in (workers, devices, orders))
    for size in itertools.starmap(Size, itertools.product(*choices)):
        try:
            _print(size, operations, associations, scenarios.split(","))
        except MicroipaError as error:
            print(f"microipa.load: {error}", file=sys.stderr)
            raise typer.Exit(1) from None


def _print(size: Size, operations: int, associations: int, scenarios: list[str]) -> None:
    row = f"{size.database:<10} {size.workers:>7} {size.devices:>8} {size.orders:>8}  "

    def tell(figures: Figures) -> None:
        failed = f"  {figures.failures} failed" if figures.failures else ""
        out.print(
            f"{row}{figures.name:<26} {figures.cpu_each * 1e3:>7.2f} {figures.rate:>8.0f} "
            f"{figures.median * 1e3:>8.1f} {figures.percentile(0.99) * 1e3:>8.1f}{failed}",
            highlight=False,
        )

    memory = asyncio.run(run(size, operations, associations, tell, scenarios))
    out.print(f"{row}{'memory per association':<26} {memory / 1000:>7.1f} kB", highlight=False)


if __name__ == "__main__":
    typer.run(main)
