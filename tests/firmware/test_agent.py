"""ipa.agent under MicroPython where no lab can take it: polls that fail again and again."""

from __future__ import annotations

from board_run import Run

COMMON = """
import asyncio
from ipa import compat, config
from ipa.agent import Agent
from ipa.journal import Journal
from ipa.modem import ModemError

class At:
    asked = []
    def on(self, prefix, handler):
        pass
    async def command(self, text, **more):
        self.asked.append(text)
        raise ModemError("gone mad")

class Modem:
    at = At()
    ready = b"RDY"
    reset_command = b"AT+CFUN=1,1"
    carrier = None
    largest = 1200
    device_capabilities = b""
    starts = 0
    fault = ModemError("gone mad")
    async def start(self):
        Modem.starts += 1
        raise self.fault
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

class Bare:
    pass

async def nap(ms):
    waits.append(ms)
    return 0

compat.log_level = 0
waits = []
settings = dict(config.DEFAULTS)

def live(board):
    agent = Agent(Modem(), settings, Journal("journal"), board)
    agent._sleep = nap
    try:
        asyncio.run(agent.run())
    except Restarted:
        print(Modem.starts, Journal("journal").get("failures"))
"""

SCRIPT = COMMON + """
for life in range(2):
    live(Board())
print(At.asked)
print(all(later > 1.1 * earlier for earlier, later in zip(waits[:6], waits[1:7])), waits[8] > waits[5])
"""


async def test_a_board_begins_again_after_eight_failed_polls_and_its_patience_goes_on(micropython: Run) -> None:
    lines = (await micropython(SCRIPT)).splitlines()
    assert lines == ["8 8", "16 16", "[b'AT+CFUN=1,1', b'AT+CFUN=1,1']", "True True"]


async def test_a_board_that_cannot_restart_itself_restarts_its_modem_and_polls_on(micropython: Run) -> None:
    script = COMMON + """
async def nap(ms):
    if At.asked and Modem.starts > 8:
        raise Restarted
    return 0
live(Bare())
"""
    assert (await micropython(script)).splitlines() == ["9 8"]


async def test_a_defect_of_ours_is_a_failed_poll_like_any_other_and_is_printed(micropython: Run) -> None:
    """It neither ends the program nor makes the device poll every minute."""
    script = COMMON + "Modem.fault = KeyError(7)\nlive(Board())\nprint(waits[5] > waits[1])"
    lines = (await micropython(script)).splitlines()
    assert lines.count("KeyError: 7") == 8
    assert lines[-2:] == ["8 8", "True"]


async def test_one_eim_that_stays_away_while_others_are_served_restarts_nothing(micropython: Run) -> None:
    script = COMMON + """
from ipa.eim import EimFailed
async def boot():
    pass
async def partly():
    raise EimFailed("1 of 2 eIMs are still to be served")
async def nap(ms):
    waits.append(ms)
    if len(waits) == 20:
        raise Restarted
    return 0
agent = Agent(Modem(), settings, Journal("journal"), Board())
agent._sleep, agent._boot, agent.poll = nap, boot, partly
try:
    asyncio.run(agent.run())
except Restarted:
    print(len(waits), At.asked)
"""
    assert (await micropython(script)).splitlines() == ["20 []"]


async def test_a_flash_that_takes_nothing_more_neither_stops_the_polls_nor_makes_them_come_every_minute(
        micropython: Run) -> None:
    script = COMMON + """
class Full(Journal):
    def set(self, **changes):
        raise OSError(28)
async def boot():
    pass
async def poll():
    polls.append(1)
    return False
async def nap(ms):
    waits.append(ms)
    return 0
polls = []
Journal("journal").set(switch={"undo": "rollback", "eim": "61"}, failures=3)
full = Full("journal")
agent = Agent(Modem(), settings, full, Board())
agent._sleep, agent._boot, agent.poll = nap, boot, poll
try:
    asyncio.run(agent.run())
except Restarted:
    print(len(polls), waits[3] > waits[0])
"""
    assert (await micropython(script)).splitlines() == ["5 True"]
