"""LilyGO T-SIM7080G-S3: ESP32-S3 and SIM7080G behind an AXP2101 power management chip."""

import machine
from ipa.board import BAUD, RX_BUFFER, TX_BUFFER, DtrBoard, pulse

_RX, _TX, _PWRKEY = 4, 5, 41
_SDA, _SCL, _PMU = 15, 7, 0x34
_KEY_MS = 1000
_BOOT_MS = 5000

# AXP2101: registers and the bits or values that give the modem 3.0 V (DC3) and its level shifter 3.3 V (BLDO1)
_DC_ON, _DC3 = 0x80, 1 << 2
_DC3_VOLTS, _3V0 = 0x84, 88 + 14  # 1.6 V at 88, then 100 mV a step
_LDO_ON, _BLDO1 = 0x90, 1 << 4
_BLDO1_VOLTS, _3V3 = 0x96, 28  # 0.5 V at 0, 100 mV a step


class Board(DtrBoard):
    modem = "sim7080g"
    dtr = 42

    def uart(self):
        return machine.UART(1, BAUD, tx=_TX, rx=_RX, timeout=0, rxbuf=RX_BUFFER, txbuf=TX_BUFFER)

    async def modem_power(self):
        bus = machine.I2C(0, sda=machine.Pin(_SDA), scl=machine.Pin(_SCL), freq=100000)
        bus.writeto_mem(_PMU, _DC3_VOLTS, bytes((_3V0,)))
        bus.writeto_mem(_PMU, _BLDO1_VOLTS, bytes((_3V3,)))
        for register, bit in ((_DC_ON, _DC3), (_LDO_ON, _BLDO1)):
            on = bus.readfrom_mem(_PMU, register, 1)[0]
            bus.writeto_mem(_PMU, register, bytes((on | bit,)))
        await pulse(_PWRKEY, 1, _KEY_MS)
        await self.sleep(_BOOT_MS)
