"""``python -m microipa.load``: print what operations cost an eIM server, by size of its fleet."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from microipa.console import out
from microipa.load.run import Figures, run


def main(
    devices: Annotated[str, typer.Option(help="Devices registered, several sizes by commas.")] = "10,10000",
    orders: Annotated[str, typer.Option(help="Orders queued for other devices, the same.")] = "0,10000",
    operations: Annotated[int, typer.Option(help="Operations of each scenario.", min=32)] = 640,
    associations: Annotated[int, typer.Option(help="Associations whose memory is measured.", min=1)] = 500,
) -> None:
    """CPU time of all server processes per operation, rate and latency of each scenario."""
    out.print(f"{'devices':>9} {'orders':>9}  {'scenario':<26} {'CPU ms':>7} {'rate/s':>8} {'p50 ms':>8} {'p99 ms':>8}")
    for fleet in map(int, devices.split(",")):
        for queued in map(int, orders.split(",")):

            def tell(figures: Figures, fleet: int = fleet, queued: int = queued) -> None:
                failed = f"  {figures.failures} failed" if figures.failures else ""
                out.print(
                    f"{fleet:>9} {queued:>9}  {figures.name:<26} {figures.cpu_each * 1e3:>7.2f} {figures.rate:>8.0f} "
                    f"{figures.median * 1e3:>8.1f} {figures.percentile(0.99) * 1e3:>8.1f}{failed}",
                    highlight=False,
                )

            memory = asyncio.run(run(fleet, queued, "", operations, associations, tell))
            name = "memory per association"
            out.print(f"{fleet:>9} {queued:>9}  {name:<26} {memory / 1000:>7.1f} kB", highlight=False)


if __name__ == "__main__":
    typer.run(main)
