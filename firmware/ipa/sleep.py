"""Between two polls the board sleeps: who is asked before, what is switched off, what is told after.

Loaded where the setting `sleep` asks for it. A light sleep stops the program and all its tasks; a deep sleep ends it,
and what retained.py kept begins it again.
"""

import asyncio
import sys
import time

from ipa import compat, layers, retained
from ipa.agent import WOKEN
from ipa.compat import ERROR, INFO, const, log, wait_for_ms
from ipa.mismatch import longest_ms
from ipa.modem import ModemError

_SHORTEST_MS = const(2000)  # a sleep that is shorter costs more than it saves
_ASK_MS = const(1000)  # whoever did not want to sleep is asked again
_EARLY_MS = const(2000)  # so much before its end a sleep was ended by something else
_SEARCH_S = const(900)  # between the first two searches for a network
_LONGEST_SEARCH_S = const(86400)


class Sleeper:
    def __init__(self, agent, board, settings):
        self.deep = settings["sleep"] == "deep"
        self._agent = agent
        self._board = board
        self._longest = longest_ms(board)
        self.votes = []

    def resume(self):
        """At the start of the program: ms until the next poll where a deep sleep has ended, else None."""
        if not (self.deep and retained.is_wake(self._board)):
            return None
        values = retained.restore(self._agent, self._board)
        if values is None:
            return None
        left = values["left"]
        slept = values["ms"]
        why = self._board.woken()
        if why != "timer":
            # Something wants the device: an SMS, a key. The time that the sleep really took is the RTC's.
            slept = min(max(0, _seconds() - values["since"]) * 1000, slept)
            left = 0
        self._agent.pause = max(0, values["pause"] + slept // 1000)
        self._agent.tell(WOKEN, why)
        return left

    async def sleep(self, ms, wake):
        """Until the next poll or until `wake` is set. Returns the ms left. A deep sleep does not return."""
        agent = self._agent
        if self.has_no_network() and ms >= _SEARCH_S * 1000:
            await self._switch_off()
        while ms > 0 and not wake.is_set():
            may = min(ms, self._longest, self._may())
            if may < _SHORTEST_MS:
                step = min(ms, _ASK_MS)
                try:
                    await wait_for_ms(wake.wait(), step)
                except asyncio.TimeoutError:
                    ms -= step
                continue
            slept = self._deep(may, ms) if self.deep else self._light(may)
            ms -= slept
            agent.tell(WOKEN, "")
            if slept < may - _EARLY_MS:
                break
            await asyncio.sleep(0)
        wake.clear()
        return max(0, ms)

    def pause(self, wait):
        """Milliseconds until the next poll after one that failed, where `wait` would do for a device with mains.

        A search for a network costs most of all, and none in vain is the next one soon.
        """
        if not self.has_no_network() or "undo" in (self._agent.journal.get("switch") or ()):
            return wait
        return max(wait, search_pause(self._agent.failures))

    def has_no_network(self):
        below = self._agent.layers
        return below.at == layers.NETWORK and below.failures[layers.NETWORK] > 0

    def _may(self):
        """For how many ms nobody needs the processor."""
        if self._agent.leased:
            return 0
        may = self._longest
        for vote in self.votes:
            try:
                until = vote()
                if until is not None:
                    may = min(may, until)
            except Exception as error:  # noqa: BLE001 - the product's fault is not the assistant's
                sys.print_exception(error)
        return may

    def _deep(self, may, ms):
        agent = self._agent
        agent.conversation.end()
        try:
            retained.save(agent, self._board, ms=may, left=ms - may, since=_seconds())
        except (OSError, ValueError) as error:
            log(ERROR, "sleep: what is known is lost in this one:", error)
        self._board.deep_sleep(may)
        return may  # of a board that does not

    def _light(self, may):
        feed = getattr(self._board, "feed", None)
        before = _seconds()
        if feed:
            feed()
        self._board.light_sleep(may)
        if feed:
            feed()
        passed = (_seconds() - before) * 1000
        return min(passed, may) if passed > 0 else may

    async def _switch_off(self):
        """A modem without a network goes on searching, which costs more than all else: it is off until the next try."""
        agent = self._agent
        from ipa.modem import power

        async with agent.turn:
            try:
                await power.power_down(agent.layers.modem)
            except ModemError as error:
                log(INFO, "sleep:", error)
            agent.layers.stopped()
        agent.unserved = False  # all is made anew anyway


def search_pause(failures):
    """Milliseconds between two searches for a network, the nth in a row that failed: four times as long each time."""
    return min(_SEARCH_S << 2 * min(failures - 1, 4), _LONGEST_SEARCH_S) * 1000


def _seconds():
    return int(time.time()) + compat.clock_offset
