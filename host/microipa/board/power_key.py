"""Power key and wake pin of a modem, wired to pins of the virtual board: a FIFO into which it writes a byte."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

WAKE = ord("w")
"""What the board writes to move the wake pin."""


class PowerKey:
    """There from its making to close(). ``pressed`` is called for each press of the key, ``moved`` for each move of
    the wake pin."""

    def __init__(self, path: Path, pressed: Callable[[], None], moved: Callable[[], None]) -> None:
        self.path = path.resolve()  # for a process in another folder
        self._pressed = pressed
        self._moved = moved
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
                self._moved()
            else:
                self._pressed()
