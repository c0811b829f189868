"""Where the power goes: at the nth event of a kind, for the board, the card, or everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from microipa.lab import Lab
from microipa.trace import Event
from switching import Device

KINDS = {
    "board at an APDU": "apdu",
    "board at a datagram": "datagram",
    "board at a journal write": "journal",
    "board, modem and card at an APDU": "apdu",
    "board, modem and card at a write of the card": "write",
    "card alone at an APDU": "apdu",
}
"""What loses its power, and the event at which."""

JOURNAL_HOOK = """
from uos import *
import uos

def _step():
    global _steps
    _steps += 1
    print("journal step", _steps)
    while _steps == _cut_at:  # until the power goes
        pass

def rename(old, new):
    _step()
    uos.rename(old, new)
    _step()

_steps = 0
try:
    with open("cut_at") as file:
        _cut_at = int(file.read())
except OSError:
    _cut_at = 0
"""
"""Stands for the board's module os: tells each half of a journal write, and stops at the one where the power goes."""

_MANY = 10**6


@dataclass
class Counts:
    """How many events of each kind a run had."""

    apdu: int = 0
    datagram: int = 0
    journal: int = 0
    write: int = 0


def counting(device: Device, lab: Lab) -> Callable[[], Counts]:
    """Begin to count; call what is returned at the end."""
    lab.euicc.cut_power_after(_MANY)
    install_hook(lab)

    def counts() -> Counts:
        kinds = [event.kind for event in device.events]
        steps = sum("journal step" in str(event.fields.get("text")) for event in device.events
                    if event.part == "board")
        return Counts(kinds.count("apdu"), kinds.count("datagram"), steps, _MANY - writes_left(lab))

    return counts


def install_hook(lab: Lab, cut_at: int = 0) -> None:
    (lab.board.folder / "os.py").write_text(JOURNAL_HOOK)
    mark = lab.board.folder / "cut_at"
    mark.unlink(missing_ok=True)
    if cut_at:
        mark.write_text(str(cut_at))


def writes_left(lab: Lab) -> int:
    left = lab.euicc.writes_left
    return _MANY if left is None else left


class Cut:
    """Takes the power at the nth event; ``happened`` is set then. ``restore`` gives it back."""

    def __init__(self, device: Device, lab: Lab, kind: str, number: int) -> None:
        self._lab = lab
        self._kind = kind
        self._left = number
        self._tasks: set[asyncio.Task[None]] = set()
        self.happened = asyncio.Event()
        event = KINDS[kind]
        if event == "write":
            lab.euicc.cut_power_after(number - 1)
            self._start(self._watch_card())
        elif event == "journal":
            install_hook(lab, number)
            device.listen(self._on_step)
        else:
            device.listen(lambda one: self._on(one, event))

    async def restore(self) -> None:
        """The power is back: the board, and modem and card with it where they had lost theirs."""
        lab = self._lab
        (lab.board.folder / "cut_at").unlink(missing_ok=True)
        if self._kind == "card alone at an APDU":
            return
        await lab.board.wait()
        if self._kind.startswith("board, modem"):
            lab.euicc.cut_power_after(None)
            with contextlib.suppress(Exception):  # whatever was under way in the modem has ended with its power
                await lab.modem.power(False)
            await lab.modem.power(True)
        await lab.board.start()

    def _on(self, event: Event, kind: str) -> None:
        if event.kind == kind and not self.happened.is_set():
            self._left -= 1
            if not self._left:
                self._cut()

    def _on_step(self, event: Event) -> None:
        if not self.happened.is_set() and event.fields.get("text") == f"journal step {self._left}":
            self._cut()

    def _cut(self) -> None:
        self.happened.set()
        if self._kind == "card alone at an APDU":
            self._lab.modem.sim.power_off()
            self._start(self._lab.modem.sim.power_on())
            return
        if self._kind.startswith("board, modem"):
            self._lab.modem.sim.power_off()
        self._lab.board.kill()

    async def _watch_card(self) -> None:
        while self._lab.modem.sim.powered:  # noqa: ASYNC110 - the card tells nobody that its power went
            await asyncio.sleep(0.002)
        self._cut()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
