"""A board that is a process: the MicroPython unix port, its UART a pty named in MICROIPA_UART."""

import asyncio
import os


class Board:
    modem = os.getenv("MICROIPA_MODEM") or "bg95"

    def uart(self):
        # The modem set VMIN=VTIME=0 on it: reading never waits, as with machine.UART(timeout=0).
        return open(os.getenv("MICROIPA_UART"), "r+b", 0)

    def modem_power(self):
        """The lab switches the modem, there is no key to press."""

    async def sleep(self, ms):
        await asyncio.sleep_ms(ms)

    def unique_id(self):
        return (os.getenv("MICROIPA_BOARD") or "virtual").encode()

    def set_clock(self, unix_seconds):
        """The host's clock is right and not ours to set."""
