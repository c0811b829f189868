"""What saves power and what switches it: PSM and eDRX (TS 27.007 7.38 to 7.41), restart, power-down."""

import asyncio

from ipa.compat import INFO, const, log, sleep_ms, ticks_add, ticks_diff, ticks_ms, wait_for_ms
from ipa.modem import ModemError, Unreadable, integer
from ipa.modem.at import AtError
from ipa.modem.common import RADIO_MS

_BOOT_MS = const(30000)
_GRANT_MS = const(20000)  # a tracking area update goes by until the network has answered
_ASK_MS = const(500)
_LTE_M = const(4)  # <AcT-type> of +CEDRXS
_NB_IOT = const(5)
_NB_S1 = b"9"  # <AcT> of +CEREG
_DEACTIVATED = const(7)

# Seconds a step, by the three high bits of the octet
_PERIODIC = (600, 3600, 36000, 2, 30, 60, 1152000)  # T3412 extended (GPRS timer 3, TS 24.008 10.5.7.4a)
_ACTIVE = (2, 60, 360)  # T3324 (GPRS timer 2, TS 24.008 10.5.7.4)
# Tenths of a second by the low four bits; 0 where the value is not used (TS 24.008 10.5.5.32)
_CYCLES = (51, 102, 205, 410, 614, 819, 1024, 1229, 1434, 1638, 3277, 6554, 13107, 26214, 52429, 104858)


async def save(modem, settings):
    """Ask for the PSM and eDRX of the settings and log what the network grants.

    A modem that knows one of them not costs battery, and is no reason not to work.
    """
    try:
        if settings["psm_periodic_s"]:
            periodic, active = await psm(modem, settings["psm_periodic_s"], settings["psm_active_s"])
            modem.sleeps = periodic is not None
            if periodic is None:
                log(INFO, "power: the network grants no PSM")
            else:
                log(INFO, "power: PSM granted, a sign of life every", periodic, "s, asleep after", active, "s")
        if settings["edrx_cycle_s"]:
            cycle = await edrx(modem, settings["edrx_cycle_s"])
            modem.sleeps = modem.sleeps or cycle is not None
            log(INFO, "power: the network grants", "no eDRX" if cycle is None else "eDRX every {:.1f} s".format(cycle))
    except (AtError, Unreadable) as error:
        log(INFO, "power:", error)


async def psm(modem, periodic_s, active_s):
    """Ask for power saving mode: a sign of life every periodic_s, reachable active_s after each transmission.

    Returns both in seconds as the network granted them, (None, None) when it does not.
    """
    wanted = (_octet(periodic_s, _PERIODIC), _octet(active_s, _ACTIVE))
    await modem.at.command(b'AT+CPSMS=1,,,"%s","%s"' % wanted)
    await modem.at.command(b"AT+CEREG=4")  # with the timers in force
    deadline = ticks_add(ticks_ms(), _GRANT_MS)
    while True:
        fields = (await modem._line(b"AT+CEREG?", b"+CEREG:")).split(b",")
        if len(fields) > 8 or ticks_diff(deadline, ticks_ms()) <= 0:
            break
        await sleep_ms(_ASK_MS)
    modem._on_registration(0, b",".join(fields))
    if len(fields) < 9:
        return None, None
    return _seconds(fields[8], _PERIODIC), _seconds(fields[7], _ACTIVE)


async def edrx(modem, seconds):
    """Ask to be reachable every cycle_s only. Returns the cycle in seconds as granted, None without one."""
    code = 0
    while code < len(_CYCLES) - 1 and _CYCLES[code] < seconds * 10:
        code += 1
    await modem.at.command(modem.edrx_command % (await _access(modem), _bits(code, 4)))
    for line in await modem.at.command(b"AT+CEDRXRDP", prefix=b"+CEDRXRDP:"):
        fields = line.split(b",")
        if len(fields) > 2 and fields[0] != b"0":  # <AcT>,<asked>,<granted>,<window>
            return _CYCLES[integer(line, 2, 2) & 15] / 10
    return None


async def reset(modem):
    """Restart the modem, and the card with it; attach is next. Raises AtError, AtTimeout."""
    modem.forget()
    modem.booted.clear()
    await modem.at.command(modem.reset_command, timeout_ms=RADIO_MS)
    try:
        await wait_for_ms(modem.booted.wait(), _BOOT_MS)
    except asyncio.TimeoutError:
        log(INFO, "modem: no word of its restart")
    await modem.start()


async def power_down(modem):
    """Leave the network and switch off; start() presses the power key. Raises AtError, AtTimeout."""
    await modem.at.command(b"AT+CFUN=0", timeout_ms=RADIO_MS)
    await modem.at.command(modem.power_down_command, timeout_ms=RADIO_MS)
    modem.forget()
    modem.off = True


async def _access(modem):
    await modem.at.command(b"AT+CEREG=4")
    fields = (await modem._line(b"AT+CEREG?", b"+CEREG:")).split(b",")
    return _NB_IOT if len(fields) > 4 and fields[4] == _NB_S1 else _LTE_M


def _octet(seconds, steps):
    """The shortest time the timer can hold that is no shorter: eight binary digits."""
    best = None
    for unit, step in enumerate(steps):
        count = -(-seconds // step)
        if count <= 31 and (best is None or count * step < best[0]):
            best = count * step, unit << 5 | count
    if best is None:
        raise ModemError("%d s are more than the timer holds" % seconds)
    return _bits(best[1], 8)


def _seconds(digits, steps):
    octet = integer(digits, 0, 2)
    unit = octet >> 5
    return None if unit == _DEACTIVATED or unit >= len(steps) else (octet & 31) * steps[unit]


def _bits(value, count):
    return b"".join([b"1" if value >> i & 1 else b"0" for i in range(count - 1, -1, -1)])
