"""Any ESP32 with an nRF9151 or nRF9160 kit as its modem (Nordic's Serial Modem application)."""

import machine
from ipa.board import BAUD, RX_BUFFER, TX_BUFFER, DtrBoard, pulse

_TX, _RX, _RTS, _CTS, _RESET = 26, 27, 18, 19, 4  # 16 and 17 are the PSRAM's on WROVER modules
_RESET_MS = 50
_BOOT_MS = 2000


class Board(DtrBoard):
    modem = "nrf91"
    dtr = 25

    def uart(self):
        flow = machine.UART.RTS | machine.UART.CTS
        return machine.UART(
            1, BAUD, tx=_TX, rx=_RX, rts=_RTS, cts=_CTS, flow=flow, timeout=0, rxbuf=RX_BUFFER,
            txbuf=TX_BUFFER)

    async def modem_power(self):
        """The kit has its own supply; nRESET is active low."""
        await pulse(_RESET, 0, _RESET_MS)
        await self.sleep(_BOOT_MS)
