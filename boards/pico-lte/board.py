"""Sixfab Pico LTE: Raspberry Pi Pico W and Quectel BG95-M3."""

import machine
from ipa.board import BAUD, RX_BUFFER, TX_BUFFER, MachineBoard, pulse

_TX, _RX, _PWRKEY, _STATUS = 0, 1, 17, 20  # PWRKEY of the hardware 1.0; 19 before
_ON_MS, _OFF_MS = 600, 1000
_DOWN_MS = 2000
_BOOT_MS = 6000


class Board(MachineBoard):
    modem = "bg95"

    def uart(self):
        return machine.UART(
            0, BAUD, tx=machine.Pin(_TX), rx=machine.Pin(_RX), timeout=0, rxbuf=RX_BUFFER, txbuf=TX_BUFFER)

    async def modem_power(self):
        """One key for on and off: a modem that is on and silent goes off first."""
        if not machine.Pin(_STATUS, machine.Pin.IN).value():
            await pulse(_PWRKEY, 1, _OFF_MS)
            await self.sleep(_DOWN_MS)
        await pulse(_PWRKEY, 1, _ON_MS)
        await self.sleep(_BOOT_MS)
