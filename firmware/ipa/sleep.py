"""The sleep of the board between two polls: votes before it, what is saved, what is switched off, events after it.

Loaded if the setting `sleep` demands it. A light sleep stops the program and all its tasks; a deep sleep ends it. The
state for after a deep sleep is saved in the memory of the board's RTC, which needs no write to flash, or in the journal
if the board has none. It is used only after a wake-up, not after a reset.
"""

import asyncio
import json
import sys
import time
from binascii import crc32, unhexlify

from ipa import compat, layers, tlv
from ipa.agent import WOKEN
from ipa.card.es10 import Es10
from ipa.compat import ERROR, INFO, const, log, sleep_ms, ticks_add, ticks_diff, ticks_ms, wait_for_ms
from ipa.eim import Eim
from ipa.modem import ModemError

_SHORTEST_MS = const(2000)  # a shorter sleep takes more energy than it saves
_ASK_MS = const(1000)  # pause until the votes are asked again
_EARLY_MS = const(2000)  # a sleep that ended earlier than this was ended by something else
_CLOSING_MS = const(20)
_CLOSING_TRIES = const(250)  # to close sockets, which are lost in a deep sleep
_SEARCH_S = const(900)  # between the first two searches for a network
_LONGEST_SEARCH_S = const(86400)
_MOST_OF_EIMS = const(1024)  # characters of the eIMs' configurations; longer ones are read from the card again
_TRUST = {"pin": 0xA0, "ca": 0xA1}
_WAKES = ("timer", "pin")  # results of board.woken()


class Sleeper:
    def __init__(self, agent, board, settings):
        self.deep = settings["sleep"] == "deep"
        self._agent = agent
        self._board = board
        self._longest = board.longest_sleep_ms
        self.votes = []

    def resume(self):
        """Called at the start of the program: ms until the next poll if a deep sleep has ended, else None."""
        if not (self.deep and _is_wake(self._board)):
            return None
        values = _restore(self._agent, self._board)
        if values is None:
            return None
        left = values["left"]
        slept = values["ms"]
        why = self._board.woken()
        if why != "timer":
            # Woken by an SMS or a key: poll now. The RTC has the real duration of the sleep.
            slept = min(max(0, _seconds() - values["since"]) * 1000, slept)
            left = 0
        self._agent.pause = max(0, values["pause"] + slept // 1000)
        self._agent.woken_by = why
        return left

    async def sleep(self, ms, wake):
        """Sleep until the next poll or until `wake` is set. Returns the ms left. A deep sleep does not return."""
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
            if self.deep:
                agent.conversation.end()
            await self._rest()
            slept = self._deep(may, ms) if self.deep else self._light(may)
            ms -= slept
            agent.tell(WOKEN, "")
            if slept < may - _EARLY_MS:
                break
            await asyncio.sleep(0)
        wake.clear()
        return max(0, ms)

    def pause(self, wait):
        """Milliseconds until the next poll after a failed one; `wait` is the value without sleep.

        Searching for a network takes most energy, so searches that find nothing become rare.
        """
        if not self.has_no_network() or "undo" in (self._agent.journal.get("switch") or ()):
            return wait
        return max(wait, search_pause(self._agent.failures))

    def has_no_network(self):
        below = self._agent.layers
        return below.at == layers.NETWORK and below.failures[layers.NETWORK] > 0

    def _may(self):
        """For how many ms the board may sleep."""
        if self._agent.leased:
            return 0
        may = self._longest
        for vote in self.votes:
            try:
                until = vote()
                if until is not None:
                    may = min(may, until)
            except Exception as error:  # noqa: BLE001 - a bug in the product must not stop the assistant
                sys.print_exception(error)
        return may

    async def _rest(self):
        """The modem's serial line may sleep too, where no socket is left that needs it."""
        agent = self._agent
        modem = agent.layers.modem
        for _ in range(_CLOSING_TRIES):
            if not modem.is_closing():
                break
            await sleep_ms(_CLOSING_MS)
        if agent.layers.begun and not modem.rests and not modem.has_sockets():
            async with agent.turn:
                try:
                    await modem.rest()
                except ModemError as error:
                    log(INFO, "sleep:", error)

    def _deep(self, may, ms):
        agent = self._agent
        try:
            _save(agent, self._board, ms=may, left=ms - may, since=_seconds())
        except (OSError, ValueError) as error:
            log(ERROR, "sleep: what is known is lost in this one:", error)
        log(INFO, "sleep: deep, for", may // 1000, "s")
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
        """Switch the modem off until the next search: searching takes more energy than everything else."""
        agent = self._agent
        from ipa.modem import power

        async with agent.turn:
            try:
                await power.power_down(agent.layers.modem)
            except ModemError as error:
                log(INFO, "sleep:", error)
            agent.layers.begun = agent.layers.channel.is_open = False
        agent.unserved = False  # everything is set up again anyway


def search_pause(failures):
    """Milliseconds until the next search after `failures` failed ones in a row: four times as long each time."""
    return min(_SEARCH_S << 2 * min(failures - 1, 4), _LONGEST_SEARCH_S) * 1000


def _is_wake(board):
    """Whether a deep sleep has just ended."""
    return hasattr(board, "woken") and board.woken() in _WAKES


def _save(agent, board, **more):
    """Save the agent's state and these values. Raises OSError, ValueError if that is not possible."""
    below = agent.layers
    values = {
        "failures": agent.failures,
        "unserved": agent.unserved,
        "pause": agent.pause,
        "heard": agent.conversation.reached or below.modem.heard,
        # "told" is the key that earlier versions wrote, too: a device may be updated while it sleeps.
        "told": [[key.hex(), plmn and plmn.hex()] for key, plmn in agent.conversation.plmn.items()],
        "at": below.at,
        "layers": below.failures,
        "radio": None if below.radio_ms is None else ticks_diff(ticks_ms(), below.radio_ms),
        "reset": below.reset_due,
        "apn": below.apn,
        "plmn": below.plmn and below.plmn.hex(),
        "sleeps": below.modem.sleeps,
        "off": below.modem.off,
        "clock_off": below.modem.clock_off,
        "pending": agent.journal.pending(),
        "trouble": compat.trouble,
    }
    if below.eid is not None and type(below.es10) is Es10:
        values["eid"] = below.eid.hex()
        values["device_info"] = bytes(below.device_info).hex()
        eims = [_configuration(eim) for eim in below.eims or ()]
        if eims and None not in eims and sum([len(eim) for eim in eims]) <= _MOST_OF_EIMS:
            values["eims"] = eims
    link = agent.conversation.link
    if hasattr(link, "szx"):
        values["szx"] = link.szx, link.szx_before
    values.update(more)
    if not hasattr(board, "rtc_memory"):
        agent.journal.set(asleep=values)
        return
    text = json.dumps(values).encode()
    board.rtc_memory(b"%08x%s" % (crc32(text), text))


def _restore(agent, board):
    """Restore the agent's state. Returns the saved values, None if there are none."""
    values = _kept(agent.journal, board)
    if values is None:
        return None
    below = agent.layers
    agent.failures = values["failures"]
    agent.unserved = values["unserved"]
    agent.pause = values["pause"]
    agent.conversation.reached = values["heard"]
    for key, plmn in values["told"]:
        agent.conversation.plmn[unhexlify(key)] = plmn and unhexlify(plmn)
    below.at = values["at"]
    below.failures = values["layers"]
    if values["radio"] is not None:
        below.radio_ms = ticks_add(ticks_ms(), -values["radio"])
    below.reset_due = values["reset"]
    below.apn = values["apn"]
    below.eims = [Eim(unhexlify(eim)) for eim in values.get("eims", ())] or None
    below.plmn = values["plmn"] and unhexlify(values["plmn"])
    below.clock_due = True  # the board's has drifted
    below.modem.sleeps = values["sleeps"]
    below.modem.off = values["off"]
    below.modem.clock_off = values["clock_off"]
    if "szx" in values:
        agent.conversation.link.szx, agent.conversation.link.szx_before = values["szx"]
    if "eid" in values:
        below.eid = unhexlify(values["eid"])
        below.device_info = unhexlify(values["device_info"])
    agent.journal.later(**values["pending"])
    compat.trouble = values["trouble"]
    return values


def _configuration(eim):
    """The part of an EimConfigurationData that Eim needs, in hex; None if the trust anchor is not from the card."""
    if eim.trust is None or len(eim.trust) > 2:
        return None
    kind, anchor = eim.trust
    name = "{}:{}".format(eim.host, eim.port) if eim.port else eim.host
    trust = tlv.encode(0xA6, tlv.encode(_TRUST[kind], anchor))
    return (tlv.encode(0x80, eim.eim_id) + tlv.encode(0x81, name.encode()) + trust).hex()


def _kept(journal, board):
    if not hasattr(board, "rtc_memory"):
        return journal.get("asleep")
    data = board.rtc_memory()
    try:
        if int(data[:8], 16) == crc32(data[8:]):
            return json.loads(data[8:])
    except ValueError:
        pass
    log(ERROR, "sleep: the memory of the RTC is damaged and not believed")
    return None


def _seconds():
    return int(time.time()) + compat.clock_offset
