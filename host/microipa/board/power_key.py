"""The power key of a modem, wired to a pin of the virtual board: a FIFO into which it writes a byte."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path


class PowerKey:
    """There from its making to close(). ``pressed`` is called for each press."""

    def __init__(self, path: Path, pressed: Callable[[], None]) -> None:
        self.path = path.resolve()  # for a process in another folder
        self._pressed = pressed
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
        for _ in os.read(self._end, 16):
            self._pressed()
