"""A board that is a process: the MicroPython unix port, its UART a pty named in MICROIPA_UART."""

import asyncio
import os
import sys
import time

from ipa import compat

_EPOCH_2000 = 946684800
_RESET_STATUS = 75  # whoever started the process starts it again


class Board:
    modem = os.getenv("MICROIPA_MODEM") or "bg95"
    _watchdog = None

    def __init__(self):
        self.set_clock(_EPOCH_2000)  # as where no battery keeps the time

    def uart(self):
        # The modem set VMIN=VTIME=0 on it: reading never waits, as with machine.UART(timeout=0).
        return open(os.getenv("MICROIPA_UART"), "r+b", 0)

    def modem_power(self):
        key = os.getenv("MICROIPA_POWER_KEY")
        if key:
            with open(key, "wb", 0) as line:
                line.write(b"1")

    async def sleep(self, ms):
        await asyncio.sleep_ms(ms)

    def unique_id(self):
        return (os.getenv("MICROIPA_BOARD") or "virtual").encode()

    def set_clock(self, unix_seconds):
        # time.time() is the host's clock and not ours to set
        compat.clock_offset = unix_seconds - int(time.time())

    def reset(self):
        sys.exit(_RESET_STATUS)

    if os.getenv("MICROIPA_WATCHDOG"):

        def feed(self):
            """A byte to whoever kills and restarts the process when none has come for a while."""
            if self._watchdog is None:
                self._watchdog = open(os.getenv("MICROIPA_WATCHDOG"), "wb", 0)
            self._watchdog.write(b".")
