"""The self-test of a board that is being brought up: MicroPython, in its REPL, driven by `microipa board check`.

`_step(name)` goes one step further and prints (outcome, text): outcome is "" when it went well, else the name of
what is wrong, for which the host has advice. It stands on what the steps before it left in `_on`.
"""

import asyncio
import gc
import sys

gc.threshold(2048)  # as in main.py: what is loaded shall lie without holes
_on = {}
_PROBES = 4
_PROBE_MS = 300
_GUARD_MS = 1100  # V.250: a second without data before and after +++
_CARD_TRIES = 10
_CARD_MS = 500
_STALE = 16  # pieces of what was said before; noise never ends
_STRANGE = 4  # one in so many bytes may be unprintable, on a line that works


class _Wrong(Exception):
    """args: the name of what is wrong, and what was seen."""


def _step(name):
    gc.collect()
    try:
        print(("", asyncio.run(_STEPS.pop(name)()) or ""))  # and a step that is done gives its room away
    except _Wrong as wrong:
        print(wrong.args)
    except Exception as error:  # noqa: BLE001 (whatever it is, the host shall say at which step)
        print((name, "%s: %s" % (type(error).__name__, error)))


def _forget(_line):
    pass


async def _firmware():
    try:
        with open("ipa.version") as file:
            version = file.readline().strip()
    except OSError:
        version = ""
    if version and version not in sys.path:
        sys.path.insert(0, version)
    from ipa import compat, config

    compat.log_sink = _forget
    _on["settings"] = config.load(version + "/ipa.json" if version else "ipa.json")
    return version


async def _uart():
    from board import Board

    board = _on["board"] = Board()
    name = _on["settings"]["modem"]
    _on["modem_name"] = board.modem if name == "auto" else name
    _on["uart"] = board.uart()
    return "%s, modem %s" % (type(_on["uart"]).__name__, _on["modem_name"])


async def _at():
    """Raw bytes first: the driver would only say that nobody answers."""
    from ipa.modem import driver

    heard = await _probe()
    if b"OK" not in heard and await _leaves_data_mode():
        raise _Wrong("data-mode", "it answered to +++ and to nothing before")
    if b"OK" not in heard:
        pulse = _on["board"].modem_power()
        if pulse is not None:
            await pulse
        again = await _probe()
        heard = again if again else heard
    if not heard:
        raise _Wrong("silent", "not one byte came back")
    if b"OK" not in heard:
        strange = sum(1 for octet in heard if not (31 < octet < 127 or octet in b"\r\n"))
        raise _Wrong("garbage" if strange * _STRANGE > len(heard) else "no-ok", repr(heard[:24]))
    modem = _on["modem"] = driver(_on["modem_name"])(_on["uart"], _on["board"])
    await modem.start()
    for helper in ("_probe", "_ask", "_leaves_data_mode"):
        del globals()[helper]
    lines = await modem.at.command(b"ATI", prefix=b"")
    return ", ".join([line.decode() for line in lines])


async def _probe():
    for _ in range(_PROBES):
        heard = await _ask(b"AT\r", _PROBE_MS)
        if b"OK" in heard:
            break
    return heard


async def _leaves_data_mode():
    await asyncio.sleep_ms(_GUARD_MS)
    heard = await _ask(b"+++", _GUARD_MS)
    return b"OK" in heard or b"NO CARRIER" in heard


async def _ask(data, ms):
    """What comes within so many ms of these bytes."""
    uart = _on["uart"]
    for _ in range(_STALE):
        if not uart.read(256):
            break
    uart.write(data)
    heard = b""
    for _ in range(ms // 20):
        await asyncio.sleep_ms(20)
        heard += uart.read(256) or b""
        if heard.endswith(b"OK\r\n"):
            break
    return heard


async def _sim():
    from ipa.modem.at import AtError
    from ipa.modem.common import RADIO_MS

    at = _on["modem"].at
    await at.command(b"AT+CFUN=1", timeout_ms=RADIO_MS)  # some modems boot without, and leave the card alone
    for _ in range(_CARD_TRIES):
        try:
            state = (await at.command(b"AT+CPIN?", prefix=b"+CPIN:") or [b""])[-1].decode()
        except AtError as error:
            state = error.result
        if state == "READY":
            return "ready"
        if "PIN" in state or "PUK" in state:
            raise _Wrong("pin", state)
        await asyncio.sleep_ms(_CARD_MS)
    raise _Wrong("no-sim", state)


async def _euicc():
    from ipa.card.channel import Channel
    from ipa.modem import ModemError

    channel = _on["channel"] = Channel(_on["modem"].carrier, _on["settings"]["segment"])
    try:
        await channel.open()
    except ModemError as error:
        raise _Wrong("not-euicc", str(error)) from None
    return "ISD-R open"


async def _eid():
    from ipa.card.es10 import Es10

    es10 = _on["es10"] = Es10(_on["channel"])
    eid = await es10.get_eid()
    return "".join(["{:02X}".format(octet) for octet in eid])


async def _eim():
    """The card's eIM, or that of the file; the card is not changed."""
    from ipa import tlv
    from ipa.eim import Eim

    configuration = await _on["es10"].find_eim()
    where = "on the card"
    if configuration is None:
        where = _on["settings"]["eim_file"]
        with open(where, "rb") as file:
            whole = file.read()
        for tag, value, _ in tlv.items(whole):
            if tag == 0x30:
                configuration = value
    if configuration is None:
        raise _Wrong("eim", "no EimConfigurationData in %s" % where)
    eim = _on["eim"] = Eim(configuration)
    return "%s, %s" % (eim.host, where)


async def _network():
    from ipa.modem.common import NoRegistration

    modem, settings = _on["modem"], _on["settings"]
    await _on["channel"].close()
    try:
        await modem.attach(settings["apn"], settings["attach_timeout_s"] * 1000)
    except NoRegistration as error:
        signal = await modem.signal()
        raise _Wrong("network", "%s, signal %s dBm" % (error, signal)) from None
    return "registered, APN %s, signal %s dBm" % (settings["apn"], await modem.signal())


async def _clock():
    seconds = await _on["modem"].clock()
    if seconds is not None:
        _on["board"].set_clock(seconds)
        return "set from the network"
    from ipa import compat

    if compat.unix_time() is None:
        raise _Wrong("clock", "the network gives no time, and the board has none")
    return "the network gives none, the board has one"


async def _socket():
    eim, modem = _on["eim"], _on["modem"]
    if _on["settings"]["transport"] == "https":
        socket = await modem.tcp(eim.host, eim.port or 443)
    else:
        socket = await modem.udp(eim.host, eim.port or 5684)
    socket.close()
    await asyncio.sleep_ms(0)
    return "open"


async def _secured():
    from ipa.net.link import chosen

    link = chosen(_on["modem"], _on["settings"])[0]
    await link.open(_on["eim"])
    link.end()
    return "the eIM is who the card says"


_STEPS = {
    "firmware": _firmware, "uart": _uart, "at": _at, "sim": _sim, "euicc": _euicc, "eid": _eid, "eim": _eim,
    "network": _network, "clock": _clock, "socket": _socket, "secured": _secured,
}  # fmt: skip

del _firmware, _uart, _at, _sim, _euicc, _eid, _eim, _network, _clock, _socket, _secured
