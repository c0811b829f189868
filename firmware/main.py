"""Boot: board -> modem -> agent. Copy this into your product and put your coroutines beside the agent."""

import gc

gc.threshold(2048)  # while modules load, so that they lie without holes between them

import asyncio

import restart


async def application(tick_ms):
    """Where the product's own work goes. This one only watches that the assistant leaves it room."""
    from ipa import compat

    longest = 0
    while True:
        before = compat.ticks_ms()
        await compat.sleep_ms(tick_ms)
        gap = compat.ticks_diff(compat.ticks_ms(), before)
        if gap > longest:
            longest = gap
            compat.log(compat.INFO, "app: longest gap", gap, "ms")


async def main():
    # Imported here and not above: a module that does not load makes the board begin again (restart.py).
    from board import Board

    board = Board()
    woken = restart.loading(board)

    from ipa import boot, compat, watch
    from ipa.agent import Agent
    from ipa.journal import Journal
    from ipa.modem import driver

    here = globals().get("__file__", "")  # which a frozen main.py does not have
    here = here[: here.rfind("/") + 1]
    settings = boot.settings(here, board, woken)
    compat.unload()  # what reads settings: the driver comes where it was
    compat.log_level = settings["log_level"]
    name = board.modem if settings["modem"] == "auto" else settings["modem"]
    modem = driver(name)(board.uart(), board)
    agent = Agent(modem, settings, Journal(settings["journal_file"]), board)
    if not woken:
        boot.loaded()
    del boot
    gc.threshold(4096)  # all modules are loaded; more garbage leaves holes too small for a datagram
    watch.over(agent, board, settings, here)
    if settings["app_tick_ms"]:
        from ipa import tasks

        tasks.keep(application, settings["app_tick_ms"])
    await agent.run()


restart.guard(lambda: asyncio.run(main()))
