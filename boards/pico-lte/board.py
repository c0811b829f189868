"""Sixfab Pico LTE: Raspberry Pi Pico W and Quectel BG95-M3."""

import machine
from ipa.board import BAUD, RX_BUFFER, TLS_BYTES, TX_BUFFER, MachineBoard, pulse

_TX, _RX, _PWRKEY, _STATUS = 0, 1, 17, 20  # PWRKEY of the hardware 1.0; 19 before
_ON_MS, _OFF_MS = 600, 1000
_DOWN_MS = 2000
_BOOT_MS = 6000
_SLICE_MS = 4000  # of a sleep: its watchdog bites after 8 s, and lightsleep() takes an hour at most
_SCRATCH = 0x4005800C  # a word of the RP2040's watchdog that outlives a reset and no power cut
_ASLEEP = 0x41534C50


class Board(MachineBoard):
    modem = "bg95"
    tls_bytes = TLS_BYTES
    longest_sleep_ms = 1036800000  # 12 days, in slices
    _woken = None

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

    def light_sleep(self, ms):
        while ms > 0:
            self._feed_again()
            machine.lightsleep(min(ms, _SLICE_MS))
            ms -= _SLICE_MS

    def deep_sleep(self, ms):
        """The chip has none: MicroPython sleeps lightly and resets, as here. It saves nothing over light_sleep()."""
        self.light_sleep(ms)
        machine.mem32[_SCRATCH] = _ASLEEP
        machine.reset()

    def woken(self):
        """Why the program runs. The chip calls each reset one of its watchdog."""
        if self._woken is None:
            self._woken = "power"
            if machine.reset_cause() == machine.WDT_RESET:
                self._woken = "timer" if machine.mem32[_SCRATCH] == _ASLEEP else "watchdog"
            machine.mem32[_SCRATCH] = 0
        return self._woken

    def _feed_again(self):
        if self._watchdog is not None:
            self._watchdog.feed()
