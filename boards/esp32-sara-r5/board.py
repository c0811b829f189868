"""Any ESP32 with a u-blox SARA-R5 board as its modem."""

import machine
from ipa.board import BAUD, RX_BUFFER, TX_BUFFER, DtrBoard, pulse

_TX, _RX, _RTS, _CTS, _PWR_ON = 26, 27, 18, 19, 4  # 16 and 17 are the PSRAM's on WROVER modules
_KEY_MS = 1500
_BOOT_MS = 5000


class Board(DtrBoard):
    modem = "sara-r5"
    dtr = 25

    def uart(self):
        flow = machine.UART.RTS | machine.UART.CTS
        return machine.UART(
            1, BAUD, tx=_TX, rx=_RX, rts=_RTS, cts=_CTS, flow=flow, timeout=0, rxbuf=RX_BUFFER,
            txbuf=TX_BUFFER)

    async def modem_power(self):
        """PWR_ON is pulled up inside the module: low for the pulse, let go after it."""
        await pulse(_PWR_ON, 0, _KEY_MS)
        machine.Pin(_PWR_ON, machine.Pin.IN)
        await self.sleep(_BOOT_MS)
