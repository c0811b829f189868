"""Power key and pins of a modem, wired to those of the virtual board: a FIFO into which it writes a byte."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

WAKE, MAY_SLEEP, STAY_AWAKE = b"wsa"
"""What the board writes to move the wake pin, and to put the pin that lets the serial line sleep to either level."""


class PowerKey:
    """There from its making to close(). ``pressed`` is called for each press of the key, ``woken`` for each move of
    the wake pin, ``may_sleep`` for each of the pin of the serial line."""

    def __init__(self, path: Path, pressed: Callable[[], None], woken: Callable[[], None],
                 may_sleep: Callable[[bool], None]) -> None:
        self.path = path.resolve()  # for a process in another folder
        self._pressed = pressed
        self._woken = woken
        self._may_sleep = may_sleep
        self.path.unlink(missing_ok=True)
        os.mkfifo(self.path, 0o600)
        # Open for writing as well: the board's end never waits, and its closing is no end of file here.
        self._end = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._end, self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._end)
        os.close(self._end)
        self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        for octet in os.read(self._end, 16):
            if octet == WAKE:
                self._woken()
            elif octet in (MAY_SLEEP, STAY_AWAKE):
                self._may_sleep(octet == MAY_SLEEP)
            else:
                self._pressed()
