"""A device for tests of the ladder, run by MicroPython: a modem that fails on demand, a card, a board."""

import asyncio

from ipa import compat, config
from ipa.agent import Agent
from ipa.journal import Journal
from ipa.modem import SocketError
from rooms import Carrier

compat.log_level = 0
settings = dict(config.DEFAULTS)
settings["backoff_s"] = 0  # polls follow one another at once, and so do tries in place

_ANSWERS = {
    b"\xbf\x22": b"\xbf\x22\x03\x90\x01\x00",
    b"\xbf\x3e": b"\xbf\x3e\x12\x5a\x10" + bytes(16),
    b"\xbf\x2d": b"\xbf\x2d\x14\xa0\x12\xe3\x10\x5a\x0a" + b"\x98" * 10 + b"\x9f\x70\x01\x01",
    b"\xbf\x55": b"\xbf\x55\x02\xa0\x00",
    b"\xbf\x5f": b"\xbf\x5f\x03\x81\x01\x01",
}


class Restarted(BaseException):
    """The board was reset."""


class At:
    def __init__(self, modem):
        self.modem = modem

    async def command(self, text, **more):
        self.modem.asked.append(text.decode())
        if text == Modem.reset_command:
            self.modem.booted.set()
        return []


class Modem:
    """`asked`: what it was told, in order. `faults`: {name of a method: the exceptions it raises, one a call}."""

    ready = b"RDY"
    reset_command = b"reset"
    device_capabilities = b""
    largest = 1200

    def __init__(self, **faults):
        self.faults = faults
        self.asked = []
        self.carrier = Carrier(self.card)
        self.at = At(self)
        self.booted = asyncio.Event()
        self.is_registered = True
        self.other_apn = False
        self.heard = False
        self.sleeps = self.rests = False
        self.on_registered = None

    def card(self, command):
        self.fail("card")
        return _ANSWERS.get(bytes(command[:2]), 0x6A88)

    def fail(self, name):
        waiting = self.faults.get(name)
        if waiting:
            raise waiting[0] if len(waiting) == 1 else waiting.pop(0)

    def registered(self):
        return self.is_registered

    def denied(self):
        return False

    def searching(self):
        return True

    def forget(self):
        pass

    async def ask_registration(self):
        self.fail("ask_registration")
        return True

    async def _call(self, name):
        self.asked.append(name)
        self.fail(name)

    async def start(self):
        await self._call("start")

    async def radio(self, level):
        await self._call(f"radio {level}")

    async def power_card(self):
        await self._call("power_card")

    async def await_card(self):
        self.fail("await_card")

    async def power_cycle_card(self):
        await self._call("power_cycle_card")

    async def await_refresh(self):
        await self._call("await_refresh")

    async def join(self, apn, timeout_ms):
        await self._call("join")

    async def apn_differs(self, apn):
        return self.other_apn

    async def open_context(self, apn):
        await self._call("open_context")

    async def close_context(self):
        await self._call("close_context")

    async def imei(self):
        return "490154203237518"

    async def imsi(self):
        return "001010000000001"

    async def plmn(self):
        return b"\x00\xf1\x10"

    async def clock(self):
        return None

    async def signal(self):
        return None


class Board:
    def set_clock(self, seconds):
        pass

    def reset(self):
        raise Restarted


class Bare:
    """A board that cannot restart itself."""

    def set_clock(self, seconds):
        pass


def agent(modem, board=None, journal=None):
    return Agent(modem, settings, journal or Journal("journal"), board or Board())


async def polls(agent, count):
    """So many polls; stops when the board is reset. Returns how many ms each asked to wait."""
    waits = []
    try:
        for _ in range(count):
            waits.append(await agent.poll_once())
    except Restarted:
        waits.append("reset")
    return waits


class Eims:
    """Stands for what the agent does with its eIMs once it is up: `outcomes`, one a poll."""

    def __init__(self, agent, *outcomes):
        self.left = list(outcomes)
        self.agent = agent
        agent._poll = self.poll
        agent.resume()

    async def poll(self):
        from ipa import layers

        self.agent.layers.at = layers.EIM
        outcome = self.left[0] if len(self.left) == 1 else self.left.pop(0)
        if outcome == "heard":
            self.agent.layers.modem.heard = True
            outcome = SocketError("refused")
        if isinstance(outcome, Exception):
            raise outcome
        self.agent.conversation.reached = True
        return outcome
