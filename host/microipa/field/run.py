"""The whole table: which cells, several labs at a time, printed as they end, kept as JSON lines."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.table import Table

from microipa.common.console import Terminal, print_json
from microipa.common.errors import MicroipaError
from microipa.field import cell
from microipa.field.cell import Cell
from microipa.field.trial import NONE, families, trial
from microipa.modem import FAMILIES, UnknownFamily
from microipa.quirks import QUIRKS

RESULTS = "field.jsonl"
TABLE_WIDTH = 120  # of a log file too


class NothingToTry(MicroipaError):
    """The quirks and modems asked for have no cell in common."""

    exit_status = 2


def cells(quirks: Sequence[str], modems: Sequence[str]) -> list[tuple[str, str, str]]:
    """Quirk, family and download path of each cell; everything for empty lists.

    Raises UnknownQuirk, UnknownFamily, NothingToTry.
    """
    list(QUIRKS.choose(quirk for quirk in quirks if quirk != NONE))
    for family in modems:
        if family not in FAMILIES:
            raise UnknownFamily(f"no modem family {family!r}: choose one of {', '.join(FAMILIES)}")
    chosen = list(_cells(quirks or [NONE, *QUIRKS], modems))
    if not chosen:
        raise NothingToTry(f"{', '.join(quirks)} makes no sense for {', '.join(modems)}: see `microipa lab quirks`")
    return chosen


def _cells(quirks: Sequence[str], modems: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    for quirk in quirks:
        name = quirk.partition(":")[0]
        for family in modems or families(quirk):
            if name == NONE or QUIRKS[name].suits(family):
                yield from ((quirk, family, download) for download in trial(quirk).downloads)


def run(
    folder: Path, quirks: Sequence[str], modems: Sequence[str], jobs: int, console: Terminal, as_json: bool = False
) -> int:
    """``microipa field``: try all cells, ``jobs`` at a time. Returns the exit status: 1 when a cell is red.

    With ``as_json`` each cell is a line of JSON as it ends, and nothing else is printed.
    """
    wanted = cells(quirks, modems)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    results: list[Cell] = []
    with (folder / RESULTS).open("w") as file:
        for number, result in enumerate(_results(folder, wanted, jobs), 1):
            results.append(result)
            row = {**asdict(result), "good": result.is_good}
            file.write(json.dumps(row) + "\n")
            file.flush()
            if as_json:
                print_json(row)
            else:
                console.print(f"{number}/{len(wanted)} {_words(result)}")
    red = sum(not one.is_good for one in results)
    if as_json:
        return 1 if red else 0
    place = {key: number for number, key in enumerate(wanted)}
    results.sort(key=lambda one: place[one.quirk, one.family, one.download])
    Terminal(width=TABLE_WIDTH, file=console.file).print(table(results))
    console.print(f"{len(results) - red} of {len(results)} cells are good, {time.monotonic() - began:.0f} s; "
                  f"each as a line of JSON in {folder / RESULTS}, its lab beside it")
    return 1 if red else 0


def _results(folder: Path, wanted: Sequence[tuple[str, str, str]], jobs: int) -> Iterator[Cell]:
    """Each cell as it ends, out of processes of their own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        running: list[Future[Cell]] = [
            pool.submit(cell.run, folder / "-".join(filter(None, one)).replace(":", "-"), *one)
            for one in sorted(wanted, key=lambda one: -trial(one[0]).limit_s)  # the longest first, they mostly wait
        ]
        for ended in as_completed(running):
            yield ended.result()


def jobs_here() -> int:
    """Labs at a time: most of them wait most of the time."""
    return 4 * (os.cpu_count() or 1)


def table(results: Sequence[Cell]) -> Table:
    """A row a quirk and family, red where the orders are not done or the device attached too often."""
    shown = Table("quirk", "modem", "", "orders", "seconds", "attaches", "AT commands", "failed polls",
                  title="Two orders, download and enable", box=box.SIMPLE)
    for one in results:
        shown.add_row(one.quirk, _modem(one), "good" if one.is_good else "RED", f"{one.done} of {one.orders}",
                      f"{one.seconds:.1f}", str(one.attaches), str(one.commands), str(one.failed_polls),
                      style=None if one.is_good else "red")
    return shown


def _words(result: Cell) -> str:
    state = "good" if result.is_good else f"RED: {result.reason}"
    return f"{result.quirk} {_modem(result)}: {result.seconds:.1f} s, {state}"


def _modem(result: Cell) -> str:
    return f"{result.family}, {result.download}" if result.download else result.family
