"""ipa.agent under MicroPython where no lab can take it: polls that fail again and again."""

from __future__ import annotations

from board_run import Run

SCRIPT = """
import asyncio
from ipa import compat, config
from ipa.agent import Agent
from ipa.journal import Journal
from ipa.modem import ModemError

class Modem:
    carrier = None
    largest = 1200
    device_capabilities = b""
    starts = 0
    async def start(self):
        Modem.starts += 1
        raise ModemError("gone mad")
    async def signal(self):
        return None
    async def plmn(self):
        return None
    def registered(self):
        return False

class Restarted(Exception):
    pass

class Board:
    def reset(self):
        raise Restarted

async def nap(ms):
    waits.append(ms)
    return 0

compat.log_level = 0
waits = []
settings = dict(config.DEFAULTS)
for life in range(2):
    agent = Agent(Modem(), settings, Journal("journal"), Board())
    agent._sleep = nap
    try:
        asyncio.run(agent.run())
    except Restarted:
        print(Modem.starts, Journal("journal").get("failures"))
print(all(later > 1.1 * earlier for earlier, later in zip(waits[:6], waits[1:7])), waits[8] > waits[5])
"""


async def test_a_board_begins_again_after_eight_failed_polls_and_its_patience_goes_on(micropython: Run) -> None:
    assert (await micropython(SCRIPT)).splitlines() == ["8 8", "16 16", "True True"]
