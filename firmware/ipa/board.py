"""What boards with a `machine` module share. A board adds `modem`, uart() and modem_power(): boards/PORTING.md."""

import time

from ipa.compat import const, sleep_ms

try:
    import machine
except ImportError:  # CPython, which only looks at this module
    machine = None

BAUD = const(115200)
RX_BUFFER = const(2048)  # the longest answer of a modem, while the card keeps us from reading
TX_BUFFER = const(2048)  # more than one command has: the ESP32's write() waits for room without end, see at.py
TLS_BYTES = const(17408)  # in one piece, on ports whose TLS takes its memory from the heap: RP2, STM32 and kin
_WATCHDOG_MS = const(8000)  # the longest that an RP2 can
_LONGEST_SLEEP_MS = const(1036800000)  # 12 days: ticks and small integers have 30 bits
_EPOCH_2000 = const(946684800)


class MachineBoard:
    _watchdog = None

    async def sleep(self, ms):
        await sleep_ms(ms)

    def unique_id(self):
        return machine.unique_id()

    def reset(self):
        machine.reset()

    def feed(self):
        """Start the watchdog with the first call; nothing stops it, not even Ctrl-C."""
        if self._watchdog is None:
            self._watchdog = machine.WDT(timeout=_WATCHDOG_MS)
        self._watchdog.feed()

    def set_clock(self, unix_seconds):
        if time.gmtime(0)[0] == 2000:
            unix_seconds -= _EPOCH_2000
        year, month, day, hour, minute, second, weekday = time.gmtime(unix_seconds)[:7]
        machine.RTC().datetime((year, month, day, weekday, hour, minute, second, 0))


class Esp32Board(MachineBoard):
    """Sleeps, and keeps 2 kB in the memory of its RTC meanwhile."""

    longest_sleep_ms = _LONGEST_SLEEP_MS

    def light_sleep(self, ms):
        machine.lightsleep(ms)

    def deep_sleep(self, ms):
        machine.deepsleep(ms)

    def woken(self):
        """Why the program runs."""
        cause = machine.reset_cause()
        if cause == machine.DEEPSLEEP_RESET:
            return "timer" if machine.wake_reason() == machine.TIMER_WAKE else "pin"
        if cause == machine.WDT_RESET:
            return "watchdog"
        return "power" if cause == machine.PWRON_RESET else "reset"

    def rtc_memory(self, data=None):
        """What it keeps over deep sleep, b"" after a power cut; `data` is kept from now on."""
        memory = machine.RTC().memory
        if data is not None:
            memory(data)
        return memory()


class DtrBoard(Esp32Board):
    """`dtr`: the pin at the modem's DTR, which is active low."""

    def modem_may_sleep(self, yes):
        hold(self.dtr, yes)


def hold(pin, yes):
    """High, also while the chip sleeps; or low and free again."""
    import esp32

    esp32.gpio_deep_sleep_hold(yes)
    machine.Pin(pin, machine.Pin.OUT, value=int(yes), hold=yes)


async def pulse(pin, level, ms):
    """Hold a pin at a level for so long, then at the other."""
    out = machine.Pin(pin, machine.Pin.OUT, value=level)
    try:
        await sleep_ms(ms)
    finally:  # an emergency may end the waiting, and a key that stays pressed keeps the modem in reset
        out.value(1 - level)
