"""The lab's time: that of this machine, and ahead of it by what a sleeping board skipped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_TURNS = 10
"""Turns of the event loop after each timer of a skip, in which others react to it."""


class Timer:
    """What call_later() returns."""

    def __init__(self, clock: Clock, due: float, act: Callable[[], object]) -> None:
        self._clock = clock
        self.due = due
        self._act = act
        self._handle: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        self._clock.forget(self)
        self.stop()

    def start(self) -> None:
        """Wait in real time for what is left."""
        self.stop()
        self._handle = asyncio.get_running_loop().call_later(max(0.0, self.due - self._clock.time()), self.fire)

    def stop(self) -> None:
        if self._handle:
            self._handle.cancel()

    def fire(self) -> None:
        self._clock.forget(self)
        self.stop()
        self._act()


class Clock:
    """Timers of this clock come in their order, also of a time that is skipped."""

    def __init__(self, *, skips: bool = False) -> None:
        self.skips = skips
        """Whether the time in which the board sleeps is skipped; otherwise it is this machine's, but for skip()."""
        self.ahead_s = 0.0
        """Seconds by which it is ahead of this machine's clock."""
        self._timers: list[Timer] = []

    def time(self) -> float:
        """Seconds since 1970."""
        return time.time() + self.ahead_s

    def call_later(self, seconds: float, act: Callable[[], object]) -> Timer:
        """Call ``act()`` after so many seconds of this clock, unless the timer is cancelled before."""
        timer = Timer(self, self.time() + seconds, act)
        self._timers.append(timer)
        timer.start()
        return timer

    def forget(self, timer: Timer) -> None:
        """It has fired or was cancelled."""
        if timer in self._timers:
            self._timers.remove(timer)

    async def skip(self, seconds: float, unless: Callable[[], bool] = lambda: False) -> None:
        """Let so many seconds pass at once, or those until ``unless()`` holds after a timer."""
        end = self.time() + seconds
        while not unless():
            due = min((timer for timer in self._timers if timer.due <= end), key=lambda timer: timer.due, default=None)
            if due is None:
                self._move_to(end)
                return
            self._move_to(due.due)
            due.fire()
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def _move_to(self, moment: float) -> None:
        self.ahead_s = max(self.ahead_s, moment - time.time())
        for timer in self._timers:
            timer.start()
