"""Feeds the board's watchdog while the program works, and calls boot.reached() after a successful poll."""

import asyncio

from ipa import agent as events
from ipa import compat
from ipa.compat import ERROR, const, log, sleep_ms, ticks_diff, ticks_ms

_EVERY_MS = const(2000)  # watchdogs of microcontrollers reset after 8 s
_STUCK_S = const(7200)  # the longest possible poll, with many packages over a bad network

_task = None


def over(agent, board, settings, folder):
    """Start, when all modules are loaded: the first feed() starts the watchdog. `folder` has ipa.json."""
    global _task
    proven = False

    def on_event(event, detail):
        nonlocal proven
        if event == events.POLL_ENDED and detail is True and not (proven and compat.sent is None):
            compat.unload()  # starts.py is compiled on the board, which takes heap
            from ipa import boot

            proven = boot.reached(folder)

    agent.on(on_event)
    if hasattr(board, "feed"):
        _task = asyncio.create_task(_feed(agent, board, settings))


async def _feed(agent, board, settings):
    """Feed the watchdog as long as the event loop runs and no poll takes too long."""
    patience = (_STUCK_S + settings["attach_timeout_s"] + settings["inject_wait_s"]) * 1000
    while True:
        since = agent.busy_since
        if since is not None and ticks_diff(ticks_ms(), since) > patience:
            log(ERROR, "watch: one poll takes more than", patience // 1000, "s, the watchdog is fed no more")
            return
        board.feed()
        await sleep_ms(_EVERY_MS)
