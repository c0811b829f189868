"""Watches over what runs: feeds the board's watchdog while all is well, and has kept what a poll has proven."""

import asyncio

from ipa import agent as events
from ipa import compat
from ipa.compat import ERROR, const, log, sleep_ms, ticks_diff, ticks_ms

_EVERY_MS = const(2000)  # watchdogs of chips bite after 8 s
_STUCK_S = const(7200)  # the longest poll there is, with many packages over a network that hardly holds

_task = None


def over(agent, board, settings, folder):
    """Begin, when all is loaded: the first feed() starts the watchdog. `folder` has ipa.json."""
    global _task
    proven = False

    def on_event(event, detail):
        nonlocal proven
        if event == events.POLL_ENDED and detail is True and not (proven and compat.sent is None):
            from ipa import boot

            proven = boot.reached(folder)

    agent.on(on_event)
    if hasattr(board, "feed"):
        _task = asyncio.create_task(_feed(agent, board, settings))


async def _feed(agent, board, settings):
    """Feed the watchdog for as long as this loop turns and the agent gets on."""
    patience = (_STUCK_S + settings["attach_timeout_s"] + settings["inject_wait_s"]) * 1000
    while True:
        since = agent.busy_since
        if since is not None and ticks_diff(ticks_ms(), since) > patience:
            log(ERROR, "watch: one poll takes more than", patience // 1000, "s, the watchdog is fed no more")
            return
        board.feed()
        await sleep_ms(_EVERY_MS)
