"""Everything the assistant asks of a modem, once, in the order in which a board is brought up.

    micropython modem_tour.py FAMILY UART APN HOST PORT

FAMILY is a name of ipa.modem.driver, UART what to open, HOST and PORT a UDP service that gives back what it gets,
`-` for none. Prints one line a step; a step that fails says why and ends the tour with status 1.
`microipa modem record` runs it on a modem and keeps every byte that was said.
"""

import asyncio
import sys

from ipa import compat
from ipa.card.channel import CardError, Channel
from ipa.card.es10 import Es10
from ipa.modem import ModemError, driver, power

PING = b"OK\r\n> ping\r\nERROR\r\n"  # what a driver could take for something else


async def echo(modem, host, port):
    socket = await modem.udp(host, port)
    buf = bytearray(64)
    socket.write(PING)
    await socket.flush()
    for _ in range(20):
        n = socket.readinto(buf)
        if n is not None:
            break
        await socket.wait(1000)
    socket.close()
    while modem._sockets:
        await compat.sleep_ms(10)
    return n is not None and n > 0 and bytes(buf[:n]) == PING


async def eid(modem):
    channel = Channel(modem.carrier)
    await channel.open()
    found = await Es10(channel).get_eid()
    await channel.close()
    return "".join("{:02x}".format(octet) for octet in found)


def say(what, found):
    print("{}: {}".format(what, found))


async def tour(family, uart, apn, host, port):
    compat.log_sink = lambda line: None
    modem = driver(family)(open(uart, "r+b", 0))
    await modem.start()
    say("IMEI", await modem.imei())
    await modem.carrier.reset()
    say("EID", await eid(modem))
    await modem.attach(apn)
    say("registered", modem.registered())
    say("PLMN", "".join("{:02x}".format(octet) for octet in await modem.plmn() or b""))
    say("signal known", await modem.signal() is not None)
    say("clock known", await modem.clock() is not None)
    if host != "-":
        say("datagram came back", await echo(modem, host, int(port)))
    say("PSM granted", await power.psm(modem, 3600, 20))


try:
    asyncio.run(tour(*sys.argv[1:]))
except (ModemError, CardError, OSError) as error:
    print("{}: {}".format(type(error).__name__, error))
    sys.exit(1)
