"""One cell of the table: a whole lab with one quirk and one modem family, and what became of two orders."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from microipa.common.errors import MicroipaError
from microipa.eim import OrderView
from microipa.field.trial import DIRECT, NONE, SETTINGS, Trial, trial
from microipa.lab import Lab
from microipa.lab.demo import queue_orders
from microipa.lab.protocols import Protocols
from microipa.radio.rrc import State
from microipa.trace import Event, Trace

FINAL = frozenset(("done", "failed", "expired", "cancelled"))
_ENROL_S = 60.0
_SETTLE_S = 5.0  # for the board to end by itself once its orders are done
_FAILED_POLL = "next try in"
_DEFINES_APN, _SWITCHES_RADIO = "AT+CGDCONT=", "AT+CFUN="  # the APN of the context that comes with the attach


@dataclass(frozen=True)
class Cell:
    """What became of one device. ``done`` of its two ``orders`` ended as they are to; ``reason`` says
    why it is red, "" when it is not."""

    quirk: str
    family: str
    download: str = ""
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
        self.needless = 0  # attaches of a new modem by itself, before the board could tell it the APN that it then told
        self._by_itself, self._radio = 0, False
        self.last_line = ""
        trace.listen(self._hear)

    def _hear(self, event: Event) -> None:
        fields = event.fields
        if event.kind == "network":
            self.attaches += fields["event"] == "attach accepted"
            self._by_itself += fields["event"] == "attach accepted" and not self._radio
        elif event.kind == "at":
            self._count_command(fields)
        elif (event.part, event.kind) == ("board", "power"):
            self.boots += fields["on"]
        elif (event.part, event.kind) == ("board", "log"):
            self.failed_polls += _FAILED_POLL in fields["text"]
            if not fields["text"].startswith("I (") or not self.last_line:
                self.last_line = fields["text"]

    def _count_command(self, fields: dict[str, Any]) -> None:
        if fields["direction"] == "in" and "text" in fields:
            self.commands += 1
            if fields["text"].startswith(_DEFINES_APN):
                self.needless = self._by_itself
            self._radio = self._radio or fields["text"].startswith(_SWITCHES_RADIO)


def run(folder: Path, quirk: str, family: str, download: str) -> Cell:
    """Try one device, in a process of its own. ``quirk`` may have a number of its own, and NONE is none."""
    cell, tried = Cell(quirk, family, download), trial(quirk)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        return asyncio.run(_try(folder, cell, tried))
    except (MicroipaError, OSError, ExceptionGroup) as error:
        return replace(cell, reason=f"the lab: {error}")


async def _try(folder: Path, cell: Cell, tried: Trial) -> Cell:
    trace = Trace(folder / "trace.jsonl")
    counts = Counts(trace)
    protocols = Protocols(direct=cell.download == DIRECT)
    async with Lab(
        folder,
        trace=trace,
        family=cell.family,
        quirks=_switched_on(cell.quirk, tried),
        board_config={**SETTINGS, **protocols.settings, **tried.settings},
        **{"radio": "none", "heap": protocols.heap, **tried.options},
    ) as lab:
        if tried.settings.get("emulation"):
            await _enrol(lab)
        if tried.asleep:
            await asyncio.wait_for(_fall_asleep(lab), tried.limit_s)
        queue_orders(lab, rollback=not tried.settings.get("emulation"))  # which consumer cards cannot do
        if hasattr(lab, "eim2"):
            lab.eim2.order_package(lab.eid, [("listProfileInfo", {})])
        device = _Device(lab, tried)
        began = time.monotonic()
        stop = await device.until_settled(began + tried.limit_s)
        seconds = time.monotonic() - began
        if not stop:
            await device.wait(_SETTLE_S)
        done = device.ended_right
    cell = replace(cell, done=done, seconds=round(seconds, 1), attaches=counts.attaches, commands=counts.commands,
                   failed_polls=counts.failed_polls, boots=counts.boots)
    return replace(cell, reason=stop and f"{stop}; last: {counts.last_line}" or _too_many(cell, tried, counts))


def _switched_on(quirk: str, tried: Trial) -> list[str]:
    """The quirk with the number of its trial, where it has none of its own."""
    if quirk == NONE:
        return []
    return [quirk if ":" in quirk or tried.number is None else f"{quirk}:{tried.number:g}"]


async def _enrol(lab: Lab) -> None:
    """Let the board make the key with which it signs in place of a consumer card, and take it to the eIM."""
    await lab.board.start()
    await asyncio.wait_for(lab.board.wait(), _ENROL_S)
    lab.eim.add_device(lab.eid, device_key=(lab.board.folder / "ipa.journal.card.pub").read_bytes())


async def _fall_asleep(lab: Lab) -> None:
    """Let the board poll in vain, and its modem go to sleep."""
    slept = asyncio.Event()
    lab.trace.listen(lambda event: slept.set() if event.kind == "rrc" and event.fields["state"] == State.PSM else None)
    await lab.board.start()
    await slept.wait()


class _Device:
    """A board with two orders."""

    def __init__(self, lab: Lab, tried: Trial) -> None:
        self._lab = lab
        self._ends = tried.ends
        self._ours = {order.id for order in lab.eim.orders()}  # the eIM has questions of its own later

    @property
    def _orders(self) -> list[OrderView]:
        return [order for order in self._lab.eim.orders() if order.id in self._ours]

    @property
    def ended_right(self) -> int:
        """How many of the orders ended as they are to."""
        return sum(order.state == end for order, end in zip(self._orders, self._ends, strict=True))

    async def until_settled(self, end: float) -> str:
        """Run the board until its orders have ended. Why that was not as it is to be, "" when it was."""
        board = self._lab.board
        if not board.running:
            await board.start()
        while (left := end - time.monotonic()) > 0:
            for order, wanted in zip(self._orders, self._ends, strict=True):
                if order.state in FINAL and order.state != wanted:
                    return f"order {order.id} {order.state}: {order.result}"
            if self.ended_right == len(self._ends):
                return ""
            if not board.running:
                if board.exit_code == 0:
                    return "the board has nothing left to do and its orders are open"
                await board.start()
            await self.wait(min(left, 0.2))
        return "not done in time"

    async def wait(self, seconds: float) -> None:
        """Until the board ends, or so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._lab.board.wait(), seconds)


def _too_many(cell: Cell, tried: Trial, counts: Counts) -> str:
    if tried.attaches is None or cell.attaches <= tried.attaches + counts.needless:
        return ""
    return f"{cell.attaches} attaches instead of {tried.attaches + counts.needless}"
