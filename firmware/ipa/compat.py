"""The few things MicroPython has and CPython lacks, the log, and the wall clock."""

import asyncio
import sys
import time

try:
    from micropython import const
except ImportError:

    def const(value):
        return value


ERROR = const(1)
INFO = const(2)
DEBUG = const(3)

# Modules that come and go, in one string: a tuple takes 20 bytes of heap for each name
_PASSING = (
    " ipa.steps.data ipa.steps.trigger ipa.steps.known ipa.card.bpp ipa.steps.download ipa.changes ipa.policy "
    "ipa.recovery ipa.rungs ipa.config ipa.boot ipa.apn ipa.initial_eim ipa.card.kind ipa.card.local ipa.steps.inject "
    "ipa.net.coap_server ipa.steps.direct ipa.steps.failed ipa.steps.refused ipa.steps.unlisted ipa.schedule "
    "ipa.modem.scan ipa.modem.power ipa.modem.clock ipa.modem.csim ipa.net.qblock ipa.net.memory ipa.net.trust "
    "ipa.net.anchor ipa.net.role "
)

clock_offset = 0  # seconds, of a board that cannot set the clock that time.time() shows

log_level = INFO
log_sink = print
trouble = ""  # what the eIM's operator should know of this device: goes with the next poll
sent = None  # the `trouble` that the last request carried; None while no eIM has answered since

# No eIM certificate of SGP.32 is older: a clock that shows an earlier date was never set.
_CLOCK_SET = const(1735689600)  # 2025-01-01T00:00:00Z
_EPOCH_2000 = const(946684800)

if hasattr(time, "ticks_ms"):
    ticks_ms, ticks_add, ticks_diff = time.ticks_ms, time.ticks_add, time.ticks_diff
    sleep_ms, wait_for_ms = asyncio.sleep_ms, asyncio.wait_for_ms
else:

    def ticks_ms():
        return time.monotonic_ns() // 1000000

    def ticks_add(ticks, delta):
        return ticks + delta

    def ticks_diff(end, start):
        return end - start

    async def sleep_ms(ms):
        await asyncio.sleep(ms / 1000)

    async def wait_for_ms(awaitable, ms):
        return await asyncio.wait_for(awaitable, ms / 1000)


def log(level, *words):
    """Write one line, `I (12345) words`, when log_level admits it. Never give it key material."""
    if level <= log_level:
        log_sink("%s (%d) %s" % ("?EID"[level], ticks_ms(), " ".join([str(word) for word in words])))


def words(octets):
    """What a peer says, fit for one line of a log: ASCII, and ? for all else."""
    return "".join([chr(octet) if 0x20 <= octet < 0x7F else "?" for octet in octets])


def unload(names=_PASSING):
    """Forget these modules, else all that come and go, so that each has the room that the others had."""
    for path in list(sys.modules):
        if path in names and " " + path + " " in names:
            package, _, name = path.rpartition(".")
            del sys.modules[path]
            delattr(sys.modules[package], name)


def unix_time():
    """Seconds since 1970, or None when the clock was never set."""
    now = int(time.time()) + clock_offset
    if time.gmtime(0)[0] == 2000:  # most boards count from there
        now += _EPOCH_2000
    return now if now >= _CLOCK_SET else None


def utc(*date):
    """Seconds since 1970 of a UTC date, from the year to the second; time.mktime differs in epoch and zone by port."""
    year, month, day, hour, minute, second = date
    if month < 3:
        year -= 1
        month += 12
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719469
    return ((days * 24 + hour) * 60 + minute) * 60 + second
