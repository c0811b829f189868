"""QuickSpot Walter: ESP32-S3 and Sequans GM02SP, flow control wired."""

import machine
from ipa.board import BAUD, RX_BUFFER, TX_BUFFER, Esp32Board, hold, pulse

_RX, _TX, _RTS, _CTS, _RESET = 14, 48, 21, 47, 45
_RESET_MS = 100
_BOOT_MS = 5000
_WAKE_MS, _AWAKE_MS = 100, 500
_FLOW = machine.UART.RTS | machine.UART.CTS


class Board(Esp32Board):
    modem = "gm02s"

    def uart(self):
        self._uart = machine.UART(
            2, BAUD, tx=_TX, rx=_RX, rts=_RTS, cts=_CTS, flow=_FLOW, timeout=0, rxbuf=RX_BUFFER, txbuf=TX_BUFFER)
        return self._uart

    async def modem_wake(self):
        """RTS wakes the modem from PSM (Sequans' RTS0): up and down, and back to the UART."""
        await pulse(_RTS, 1, _WAKE_MS)
        self._give_back_rts()
        await self.sleep(_AWAKE_MS)

    def modem_may_sleep(self, yes):
        """RTS high lets the modem sleep, low keeps it awake."""
        hold(_RTS, yes)
        if not yes:
            self._give_back_rts()

    def _give_back_rts(self):
        self._uart.init(rts=_RTS, cts=_CTS, flow=_FLOW)

    async def modem_power(self):
        """The modem has power whenever the board has; its reset is active low."""
        await pulse(_RESET, 0, _RESET_MS)
        await self.sleep(_BOOT_MS)
