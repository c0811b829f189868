"""Boot: board -> modem -> agent. Copy this into your product and put your coroutines beside the agent."""

import gc

gc.threshold(2048)  # while modules load, so that they lie without holes between them

import asyncio
import sys

from board import Board
from ipa import compat
from ipa.agent import Agent
from ipa.journal import Journal
from ipa.modem import driver


async def application(tick_ms):
    """Where the product's own work goes. This one only watches that the assistant leaves it room."""
    longest = 0
    while True:
        before = compat.ticks_ms()
        await compat.sleep_ms(tick_ms)
        gap = compat.ticks_diff(compat.ticks_ms(), before)
        if gap > longest:
            longest = gap
            compat.log(compat.INFO, "app: longest gap", gap, "ms")


async def main():
    from ipa import config

    here = globals().get("__file__", "")  # which a frozen main.py does not have
    settings = config.load(here[: here.rfind("/") + 1] + "ipa.json")
    del config
    compat.rehearse()
    compat.log_level = settings["log_level"]
    board = Board()
    name = board.modem if settings["modem"] == "auto" else settings["modem"]
    modem = driver(name)(board.uart(), board)
    agent = Agent(modem, settings, Journal(settings["journal_file"]), board)
    gc.threshold(4096)  # all modules are loaded; more garbage leaves holes too small for a datagram
    if settings["app_tick_ms"]:
        ticking = asyncio.create_task(application(settings["app_tick_ms"]))  # noqa: F841, RUF006
    try:
        await agent.run()
    except Exception as error:  # noqa: BLE001 - a defect of ours must not cost the device
        if not hasattr(board, "reset"):
            raise
        sys.print_exception(error)
        await compat.sleep_ms(60000)
        board.reset()


asyncio.run(main())
