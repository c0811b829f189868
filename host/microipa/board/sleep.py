"""How a virtual board sleeps: its program asks through a pipe, and hears through another that it woke.

A deep sleep ends the program. What it keeps is in a file that is no flash: the RTC memory, lost with the power.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from microipa.common.clock import Clock, Timer

RTC_MEMORY = 2048
"""Bytes, as on an ESP32."""
FIFO = 128
"""Bytes that the UART of a chip keeps while its program is stopped."""
_READ = 256


class Woken(StrEnum):
    """Why a program runs: what `woken()` of a board answers."""

    POWER = "power"
    TIMER = "timer"
    PIN = "pin"
    RESET = "reset"
    WATCHDOG = "watchdog"


class Sleeper:
    """The part of a board that goes on while the program sleeps: its alarm, its RTC and the memory of that."""

    def __init__(self, folder: Path, clock: Clock, *, skips_under_s: float = 0.0, drift_percent: float = 0.0) -> None:
        """``skips_under_s``: the clock skips a shorter sleep instead of waiting for its end. ``drift_percent``: by how
        much a sleep takes longer than the RTC counts."""
        self.memory = folder.with_name(f"{folder.name}.rtc").resolve()
        self.clock = clock
        self.drift_percent = drift_percent
        self.state = ""
        """Of the program that sleeps: light or deep; "" of one that runs."""
        self.woken = Woken.POWER
        self._skips_under_s = skips_under_s
        self._rtc_lags_s = 0.0
        self._alarm: Timer | None = None
        self._skipping: asyncio.Task[None] | None = None
        self._on_wake: Callable[[Woken], None] = lambda _: None

    @property
    def rtc_ahead_s(self) -> float:
        """Seconds by which the board's own clock is ahead of this machine's."""
        return self.clock.ahead_s - self._rtc_lags_s

    def begin(self, state: str, ms: int, on_wake: Callable[[Woken], None]) -> None:
        """The program sleeps for so long, or until wake()."""
        self.state = state
        self._on_wake = on_wake
        began, ahead = self.clock.time(), self.rtc_ahead_s
        seconds = ms / 1000 * (1 + self.drift_percent / 100)
        self._began = began, ahead
        self._alarm = self.clock.call_later(seconds, lambda: self.wake(Woken.TIMER))
        if seconds < self._skips_under_s:
            self._skipping = asyncio.get_running_loop().create_task(
                self.clock.skip(seconds + 1, lambda: not self.state))

    def wake(self, why: Woken) -> None:
        """End a sleep; a program that runs does not notice."""
        if not self.state:
            return
        passed = self.clock.time() - self._began[0]
        self._rtc_lags_s += passed - passed / (1 + self.drift_percent / 100)
        self._end()
        self.woken = why
        self._on_wake(why)

    def lose_power(self) -> None:
        """Nothing of the RTC is left."""
        self._end()
        self.woken = Woken.POWER
        self.memory.unlink(missing_ok=True)

    def _end(self) -> None:
        self.state = ""
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None


class SleepLine:
    """The two pipes between a program and the board's sleeper; they end with the program."""

    def __init__(self, on_request: Callable[[str, int], None]) -> None:
        """``on_request`` is called with light or deep and the milliseconds."""
        self._on_request = on_request
        self._requests, self.asks = os.pipe()
        self.hears, self._answers = os.pipe()
        os.set_blocking(self._requests, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._requests, self._asked)

    @property
    def descriptors(self) -> tuple[int, int]:
        """Which the program inherits."""
        return self.asks, self.hears

    @property
    def paths(self) -> str:
        """Under which the program opens them."""
        return f"/dev/fd/{self.asks} /dev/fd/{self.hears}"

    def answer(self, why: Woken, rtc_ahead_s: float) -> None:
        """A light sleep is over."""
        os.write(self._answers, f"{why} {rtc_ahead_s:.0f}\n".encode())

    def close(self) -> None:
        self._loop.remove_reader(self._requests)
        for end in (self._requests, self.asks, self.hears, self._answers):
            os.close(end)

    def _asked(self) -> None:
        state, ms = os.read(self._requests, _READ).decode().split()
        self._on_request(state, int(ms))
