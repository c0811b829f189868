"""LilyGO T-SIM7000G: ESP32-WROVER and SIM7000G."""

import machine
from ipa.board import BAUD, RX_BUFFER, TX_BUFFER, DtrBoard, pulse

_RX, _TX, _PWRKEY = 26, 27, 4
_KEY_MS = 1000
_BOOT_MS = 5000


class Board(DtrBoard):
    modem = "sim7000"
    dtr = 25

    def uart(self):
        return machine.UART(1, BAUD, tx=_TX, rx=_RX, timeout=0, rxbuf=RX_BUFFER, txbuf=TX_BUFFER)

    async def modem_power(self):
        await pulse(_PWRKEY, 0, _KEY_MS)
        await self.sleep(_BOOT_MS)
