"""The product's own work: it sends a reading to its collector, by the modem that it shares with the assistant."""

import asyncio

from ipa import compat
from ipa.card.channel import CardError
from ipa.modem import ModemError

COLLECTOR = "collector.example"
PORT = 5683
PAUSE_S = 3600
RETRY_S = 60


def reading():
    """What the device measures: bytes."""
    return b"42 kWh"


async def run(agent):
    """Send a reading an hour, between the polls of the assistant. main.py starts this."""
    agent.on(_heard)
    while True:
        try:
            await _send(agent, reading())
        except (ModemError, CardError, asyncio.TimeoutError) as error:
            # No network, say. The assistant goes on looking for one; nothing is to be done here.
            compat.log(compat.ERROR, "application:", error)
            await asyncio.sleep(RETRY_S)
        else:
            compat.log(compat.INFO, "application: reading sent")
            await asyncio.sleep(PAUSE_S)


async def _send(agent, data):
    async with agent.modem() as modem:  # ours alone, registered and with its data connection up
        socket = await modem.udp(COLLECTOR, PORT)
        try:
            socket.write(data)
            await socket.flush()
        finally:
            socket.close()


def _heard(event, detail):
    """The assistant tells of changes of profile, of the network being left, and of ends of polls. Do not wait here."""
    compat.log(compat.INFO, "application: heard of event", event)
