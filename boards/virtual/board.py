"""A board that is a process: the MicroPython unix port, its UART a pty named in MICROIPA_UART."""

import asyncio
import os
import sys
import time

from ipa import compat

_EPOCH_2000 = 946684800
_RTC_MEMORY = 2048
_RESET_STATUS = 75  # whoever started the process starts it again


class Board:
    modem = os.getenv("MICROIPA_MODEM") or "bg95"
    longest_sleep_ms = 1036800000  # 12 days, as of small chips
    _watchdog = None

    def __init__(self):
        self._ahead = int(os.getenv("MICROIPA_RTC_AHEAD") or 0)  # of the host's clock
        clock, _ = self._rtc()
        if clock:
            compat.clock_offset = int(clock) + self._ahead
        else:
            self.set_clock(_EPOCH_2000)  # as where no battery keeps the time

    def uart(self):
        # The modem set VMIN=VTIME=0 on it: reading never waits, as with machine.UART(timeout=0).
        return open(os.getenv("MICROIPA_UART"), "r+b", 0)

    def modem_power(self):
        key = os.getenv("MICROIPA_POWER_KEY")
        if key:
            with open(key, "wb", 0) as line:
                line.write(b"1")

    if os.getenv("MICROIPA_WAKE_PIN"):

        async def modem_wake(self):
            with open(os.getenv("MICROIPA_WAKE_PIN"), "wb", 0) as line:
                line.write(b"w")

    if os.getenv("MICROIPA_SLEEP_PIN"):

        def modem_may_sleep(self, yes):
            with open(os.getenv("MICROIPA_SLEEP_PIN"), "wb", 0) as line:
                line.write(b"s" if yes else b"a")

    async def sleep(self, ms):
        await asyncio.sleep_ms(ms)

    def unique_id(self):
        return (os.getenv("MICROIPA_BOARD") or "virtual").encode()

    def set_clock(self, unix_seconds):
        # time.time() is the host's clock and not ours to set
        compat.clock_offset = unix_seconds - int(time.time())
        self._keep(self._rtc()[1])

    def reset(self):
        sys.exit(_RESET_STATUS)

    def woken(self):
        return os.getenv("MICROIPA_WOKEN") or "power"

    def light_sleep(self, ms):
        """The process waits for the answer of whoever started it, and with it all tasks."""
        answer = self._ask("light", ms).split()
        compat.clock_offset += int(answer[1]) - self._ahead
        self._ahead = int(answer[1])

    def deep_sleep(self, ms):
        """Whoever started the process ends it here."""
        while True:
            self._ask("deep", ms)

    def rtc_memory(self, data=None):
        if data is not None:
            if len(data) > _RTC_MEMORY:
                raise ValueError("{} bytes are more than the RTC keeps".format(len(data)))
            self._keep(data)
        return self._rtc()[1]

    def _ask(self, state, ms):
        asks, hears = os.getenv("MICROIPA_SLEEP").split(" ")
        with open(asks, "wb", 0) as line:
            line.write("{} {}\n".format(state, ms).encode())
        with open(hears, "rb", 0) as line:
            return line.readline().decode()

    def _rtc(self):
        """The file of the RTC, which keeps it while there is power: by how much its clock is off, and its memory."""
        try:
            with open(os.getenv("MICROIPA_RTC") or "", "rb") as file:
                return file.readline().strip(), file.read()
        except OSError:
            return b"", b""

    def _keep(self, data):
        path = os.getenv("MICROIPA_RTC")
        if path:
            with open(path, "wb") as file:
                file.write(b"%d\n" % (compat.clock_offset - self._ahead))
                file.write(data)

    if os.getenv("MICROIPA_WATCHDOG"):

        def feed(self):
            """A byte to whoever kills and restarts the process when none has come for a while."""
            if self._watchdog is None:
                self._watchdog = open(os.getenv("MICROIPA_WATCHDOG"), "wb", 0)
            self._watchdog.write(b".")
