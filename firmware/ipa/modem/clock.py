"""The network's time by a modem's clock (TS 27.007 8.15), which may tell other hours than its zone says, or nonsense.

What the network told with the registration, if the modem has passed it on, shows by how much the clock is off.
"""

from ipa.compat import INFO, const, log, ticks_diff, ticks_ms, utc
from ipa.modem.at import AtError

_QUARTER = const(900)  # seconds: zones are counted in them
_ZONES = const(56)  # of them at most, east and west (TS 27.007 8.41)
_FRESH_MS = const(3600000)
_WRITTEN = const(1793491200)  # 2026-11-01, when this was: an earlier date comes from a clock that nobody has set
_LAST_YEAR = const(2069)


async def set_board(board, modem):
    """Set the board's clock where the network tells its time."""
    seconds = await modem.clock()
    if seconds is None:
        log(INFO, "network: gives no time")
    else:
        board.set_clock(seconds)
        log(INFO, "network: clock set")


async def read(modem):
    """Seconds since 1970, None while the modem has no time that can be. Raises AtTimeout."""
    told = _network_time(modem)
    try:
        lines = await modem.at.command(b"AT+CCLK?", prefix=b"+CCLK:")
    except AtError:  # of some modems until they have the time
        lines = ()
    shown = _parse(lines[-1]) if lines else None
    if shown is None:
        return told
    if told is not None:
        off = (shown - told + _QUARTER // 2) // _QUARTER * _QUARTER
        if off != modem.clock_off:
            log(INFO, "modem: its clock is", off, "s off the network's")
        modem.clock_off = off
    seconds = shown - modem.clock_off
    return seconds if seconds >= _WRITTEN else told


def _network_time(modem):
    """What the network told within the last hour, each time once; None without."""
    if modem.network_time is None:
        return None
    rest, ticks = modem.network_time
    modem.network_time = None
    age = ticks_diff(ticks_ms(), ticks)
    fields = rest.replace(b'"', b"").split(b",")
    seconds = None
    if len(fields) > 3:  # <zone>,<summer time>,<local date>,<local time>
        seconds = _parse(b"%s,%s%s" % (fields[2], fields[3], fields[0]))
    elif len(fields) > 1:  # <zone>,<universal time>,…
        seconds = _swapped(fields[1])
    return seconds + age // 1000 if seconds is not None and 0 <= age < _FRESH_MS else None


def _parse(text):
    """"yy/MM/dd,hh:mm:ss±zz" as UTC, with more years' digits, without a zone, or with summer time behind it."""
    try:
        date, time = text.replace(b'"', b"").split(b",")[:2]
        zone = int(time[8:] or b"0")
        numbers = [int(part) for part in date.split(b"/") + time[:8].split(b":")]
    except ValueError:
        return None
    return _seconds(numbers, zone)


def _swapped(digits):
    """The seven octets of TS 24.008 10.5.3.9, whose digits are the wrong way round; the seventh is the zone."""
    try:
        return _seconds([int(b"%c%c" % (digits[i + 1], digits[i])) for i in range(0, 12, 2)], 0)
    except (ValueError, IndexError):
        return None


def _seconds(numbers, zone):
    if len(numbers) != 6 or not -_ZONES <= zone <= _ZONES:
        return None
    year, month, day, hour, minute, second = numbers
    if year < 100:
        year += 2000
    if year > _LAST_YEAR or not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 60:
        return None
    midnight = utc(year, month, day, 0, 0, 0)
    if not utc(year, month, 1, 0, 0, 0) <= midnight < utc(year + month // 12, month % 12 + 1, 1, 0, 0, 0):
        return None
    return midnight + (hour * 60 + minute) * 60 + second - zone * _QUARTER
