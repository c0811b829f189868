"""One cell of the table: a whole lab with one quirk and one modem family, and what became of two orders."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from microipa.demo import queue_orders
from microipa.errors import MicroipaError
from microipa.field.trial import SETTINGS, Trial, trial
from microipa.lab import Lab
from microipa.quirks import QUIRKS
from microipa.trace import Event, Trace

FINAL = frozenset(("done", "failed", "expired", "cancelled"))
NONE = "none"  # the row without a quirk, to compare with
_SETTLE_S = 5.0  # for the board to end by itself once its orders are done
_FAILED_POLL = "next try in"


@dataclass(frozen=True)
class Cell:
    """What became of one device. ``done`` of its two ``orders``; ``reason`` says why it is red, "" when it is not."""

    quirk: str
    family: str
    done: int = 0
    orders: int = 2
    seconds: float = 0.0
    attaches: int = 0
    commands: int = 0
    failed_polls: int = 0
    boots: int = 0
    reason: str = ""

    @property
    def is_good(self) -> bool:
        return not self.reason


class Counts:
    """Adds up what only the trace knows."""

    def __init__(self, trace: Trace) -> None:
        self.attaches = self.commands = self.failed_polls = self.boots = 0
        self.last_line = ""
        trace.listen(self._hear)

    def _hear(self, event: Event) -> None:
        fields = event.fields
        if event.kind == "network":
            self.attaches += fields["event"] == "attach accepted"
        elif event.kind == "at":
            self.commands += fields["direction"] == "in" and "text" in fields
        elif (event.part, event.kind) == ("board", "power"):
            self.boots += fields["on"]
        elif (event.part, event.kind) == ("board", "log"):
            self.failed_polls += _FAILED_POLL in fields["text"]
            if not fields["text"].startswith("I (") or not self.last_line:
                self.last_line = fields["text"]


def run(folder: Path, quirk: str, family: str) -> Cell:
    """Try one device, in a process of its own. ``quirk`` may have a number of its own, and NONE is none."""
    cell, tried = Cell(quirk, family), trial(quirk.partition(":")[0])
    try:
        shutil.rmtree(folder, ignore_errors=True)
        return asyncio.run(_try(folder, cell, tried))
    except (MicroipaError, OSError, ExceptionGroup) as error:
        return replace(cell, reason=f"the lab: {error}")


async def _try(folder: Path, cell: Cell, tried: Trial) -> Cell:
    trace = Trace(folder / "trace.jsonl")
    counts = Counts(trace)
    quirks = [] if cell.quirk == NONE else [cell.quirk]
    if ":" not in cell.quirk and tried.number is not None:
        quirks = [f"{cell.quirk}:{tried.number:g}"]
    settings = {**SETTINGS, **tried.settings}
    options = {"radio": "none", **tried.options}
    async with Lab(folder, trace=trace, family=cell.family, quirks=quirks, board_config=settings, **options) as lab:
        queue_orders(lab)
        ours = {order.id for order in lab.eim.orders()}  # the eIM has questions of its own later
        began = time.monotonic()
        stop = await _until_settled(lab, ours, began + tried.limit_s)
        seconds = time.monotonic() - began
        if not stop:
            await _wait(lab, _SETTLE_S)
        done = sum(order.state == "done" for order in lab.eim.orders() if order.id in ours)
    cell = replace(cell, done=done, seconds=round(seconds, 1), attaches=counts.attaches, commands=counts.commands,
                   failed_polls=counts.failed_polls, boots=counts.boots)
    return replace(cell, reason=stop and f"{stop}; last: {counts.last_line}" or _too_many(cell, tried))


async def _until_settled(lab: Lab, ours: set[int], end: float) -> str:
    """Run the board until its orders are done. Why they are not, "" when they are."""
    while (left := end - time.monotonic()) > 0:
        orders = [order for order in lab.eim.orders() if order.id in ours]
        if failed := [order for order in orders if order.state in FINAL - {"done"}]:
            return f"order {failed[0].id} {failed[0].state}: {failed[0].result}"
        if all(order.state == "done" for order in orders):
            return ""
        if not lab.board.running:
            if lab.board.exit_code == 0:
                return "the board has nothing left to do and its orders are open"
            await lab.board.start()
        await _wait(lab, min(left, 0.2))
    return "not done in time"


async def _wait(lab: Lab, seconds: float) -> None:
    """Until the board ends, or so long."""
    with suppress(TimeoutError):
        await asyncio.wait_for(lab.board.wait(), seconds)


def _too_many(cell: Cell, tried: Trial) -> str:
    if tried.attaches is None or cell.attaches <= tried.attaches:
        return ""
    return f"{cell.attaches} attaches instead of {tried.attaches}"


def families(quirk: str, drivers: tuple[str, ...], anyone: tuple[str, ...]) -> tuple[str, ...]:
    """The families on which a quirk is tried: all drivers where modem or network have a part in it."""
    chosen = trial(quirk).families
    if not chosen:
        chosen = drivers if quirk == NONE or QUIRKS[quirk].part in ("modem", "network") else anyone
    return tuple(family for family in chosen if quirk == NONE or QUIRKS[quirk].suits(family))
