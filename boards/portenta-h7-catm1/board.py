"""Arduino Portenta H7 under the Cat.M1/NB-IoT GNSS shield: STM32H747 and Thales TX62-W."""

import machine
from ipa.board import BAUD, RX_BUFFER, TLS_BYTES, MachineBoard, pulse

_UART = 4  # TX PA0, RX PI9
_RTS, _RESET, _ON = "I10", "J10", "J7"
_RESET_MS = 800
_ON_MS = 1
_BOOT_MS = 5000


class Board(MachineBoard):
    modem = "tx62"
    tls_bytes = TLS_BYTES

    def uart(self):
        machine.Pin(_RTS, machine.Pin.OUT, value=0)  # we always listen
        return machine.UART(_UART, BAUD, timeout=0, rxbuf=RX_BUFFER)

    async def modem_power(self):
        await pulse(_RESET, 1, _RESET_MS)
        await pulse(_ON, 0, _ON_MS)
        machine.Pin(_ON, machine.Pin.IN)
        await self.sleep(_BOOT_MS)
