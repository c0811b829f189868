"""The watchdog of a virtual board: its program feeds it through a pipe, and is restarted when it does not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_READ = 4096


class Watchdog:
    """Sleeps until the first byte; then ``on_hunger`` is called when none has come for so many seconds."""

    def __init__(self, seconds: float, on_hunger: Callable[[], None]) -> None:
        self._seconds = seconds
        self._on_hunger = on_hunger
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self._food, self.bowl = os.pipe()
        """``bowl`` is the descriptor which the program inherits and writes to."""
        os.set_blocking(self._food, False)
        self._loop.add_reader(self._food, self._fed)

    @property
    def path(self) -> str:
        """Under which the program opens the bowl."""
        return f"/dev/fd/{self.bowl}"

    def pause(self) -> None:
        """Its program sleeps: nothing happens until the next byte."""
        if self._alarm:
            self._alarm.cancel()

    def close(self) -> None:
        """Its program is no more."""
        if self._alarm:
            self._alarm.cancel()
        self._loop.remove_reader(self._food)
        os.close(self._food)
        os.close(self.bowl)

    def _fed(self) -> None:
        os.read(self._food, _READ)  # never at its end: we hold the bowl as well
        if self._alarm:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(self._seconds, self._on_hunger)
