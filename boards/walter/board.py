"""QuickSpot Walter: ESP32-S3 and Sequans GM02SP, flow control wired."""

import machine
from ipa.board import BAUD, RX_BUFFER, MachineBoard, pulse

_RX, _TX, _RTS, _CTS, _RESET = 14, 48, 21, 47, 45
_RESET_MS = 100
_BOOT_MS = 5000


class Board(MachineBoard):
    modem = "gm02s"

    def uart(self):
        flow = machine.UART.RTS | machine.UART.CTS
        return machine.UART(
            2, BAUD, tx=_TX, rx=_RX, rts=_RTS, cts=_CTS, flow=flow, timeout=0, rxbuf=RX_BUFFER)

    async def modem_power(self):
        """The modem has power whenever the board has; its reset is active low."""
        await pulse(_RESET, 0, _RESET_MS)
        await self.sleep(_BOOT_MS)
