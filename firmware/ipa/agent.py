"""The assistant itself: when it talks to the eIM, and how it begins again after a power cut or a failure.

One poll serves the card's eIMs in turn, each by the eIM package retrieval of 3.1.1.1 to its end, in one DTLS
association. A profile switch ends the association: the card's REFRESH cuts the network off, and the result
travels over the new profile.
"""

import asyncio
import gc
import sys

from ipa import tlv
from ipa.card.channel import CardError, Channel
from ipa.card.es10 import Es10
from ipa.compat import DEBUG, ERROR, INFO, const, log, ticks_ms, unload, wait_for_ms, words
from ipa.conversation import IDLE, SWITCH, Conversation
from ipa.eim import EimFailed, EimUnknown, unserved
from ipa.modem import ModemError, SocketError
from ipa.net import NetError, ServerError
from ipa.steps import device_info, digits

_IPAD = const(0)  # ipaMode
_MOST_EIMS = const(16)  # an eIM that adds one after the other does not keep a poll going for ever
_RESTART_AFTER = const(8)  # failed polls: what no poll mends (a heap in pieces, a modem gone mad) a restart may
_LONGEST_SLEEP_MS = const(3600000)  # ticks of 32-bit ports wrap after days

# What keeps one eIM from being served, and says nothing about the others
_EIM_FAILURES = (EimUnknown, EimFailed, SocketError, NetError, ServerError, tlv.TlvError, OSError)
_FAILURES = _EIM_FAILURES + (ModemError, CardError, MemoryError, asyncio.TimeoutError)


class Agent:
    """`modem`: a driver of ipa.modem; `settings`: from config.load; `board`: set_clock(seconds) is enough.

    Where the board knows its place, `board.position()` gives degrees of latitude and of longitude, or None. After
    polls that failed one after the other the modem is restarted, and the board where it can, by `board.reset()`.
    """

    def __init__(self, modem, settings, journal, board):
        self._modem = modem
        self._settings = settings
        self._journal = journal
        self._board = board
        self._channel = Channel(modem.carrier, settings["segment"])
        self._es10 = Es10(self._channel)
        self._conversation = Conversation(modem, settings, journal, self._es10)
        self._ready = False
        self._silent = False  # because of an IPA inside the card
        self._failures = journal.get("failures", 0)  # polls in a row, over a restart
        self._unreached = False  # the last poll reached none of the eIMs
        self._since = 0  # ticks when the poll that goes on, or the switch in it, began
        self._eid = self._device_info = self._plmn = None
        self._pause = 0  # seconds, the last one
        # For ipa.application, which takes its turn with modem and card
        self._turn = asyncio.Lock()
        self._calm = asyncio.Event()
        self._news = asyncio.Event()
        self._task = None

    async def run(self):
        """Poll for ever; with stop_when_idle until nothing is left to do."""
        self._task = asyncio.current_task()
        if not self._journal.get("emergency"):
            self._calm.set()
        if "undo" in (self._journal.get("switch") or ()):
            self._recovery().resume()
        while True:
            try:
                await self._calm.wait()
                async with self._turn:
                    wait = await self._attempt()
                if wait is None:
                    log(INFO, "agent: nothing left to do")
                    return
                self._pause = wait // 1000
                unload()
                gc.collect()
                self._pause -= await self._sleep(wait) // 1000
                if self._unreached and self._failures % _RESTART_AFTER == 0:
                    async with self._turn:
                        await self._recovery().restart()
            except asyncio.CancelledError:
                if self._calm.is_set():
                    raise
                self._ready = False  # an emergency came in between

    async def _sleep(self, ms):
        """Until the next poll, or until somebody on the device has something for it. Returns the ms left."""
        while ms > 0 and not self._news.is_set():
            step = min(ms, _LONGEST_SLEEP_MS)
            try:
                await wait_for_ms(self._news.wait(), step)
            except asyncio.TimeoutError:
                ms -= step
        self._news.clear()
        return ms

    def _recovery(self):
        from ipa.recovery import Recovery  # most polls do not fail

        return Recovery(self)

    async def _attempt(self):
        """One poll and what follows from it. Returns the ms until the next, None when nothing is left to do."""
        self._since = ticks_ms()
        try:
            if not self._ready:
                await self._boot()
            idle = self._calm.is_set() and await self.poll()
            journal = self._journal
            watched = journal.get("fallback") or journal.get("loss") or hasattr(self._board, "position")
            plmn = journal.get("plmn") if watched else self._plmn and self._plmn.hex()
            journal.set(failures=None, plmn=plmn)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not cost the device its way back
            log(ERROR, "agent: {}: {}".format(type(error).__name__, error))
            if not isinstance(error, _FAILURES):
                sys.print_exception(error)
            self._failures += 1
            self._unreached = not isinstance(error, EimFailed)
            gc.collect()
            try:
                return await self._recovery().failed(error)
            except MemoryError:
                self._ready = False
                return self._settings["backoff_max_s"] * 1000
        self._failures = 0
        self._unreached = False
        wait = None
        if not (idle and self._settings["stop_when_idle"]):
            from ipa import schedule  # goes with what else is not needed while the radio sleeps

            if self._settings["psm_periodic_s"]:
                self._ready = False  # the modem sleeps by then, and may have forgotten everything
            wait = schedule.until_next(self._settings)
        return await self._recovery().reached(wait) if watched and wait else wait

    async def _boot(self):
        """From an unknown state of modem and card to a registered device."""
        if self._journal.get("switch"):
            log(INFO, "boot: a profile switch was under way, its result goes out first")
        if self._journal.get("download") is not None:
            log(INFO, "boot: a download was cut off, the eIM will offer it again")
        self._conversation.end()
        await self._modem.start()
        if not self._silent:
            # Ends half an ES10 session, and commits a switch that still waits for its REFRESH.
            await self._modem.carrier.reset()
        await self._open_card()
        if self._silent:
            return
        self._eid = await self._es10.get_eid()
        log(INFO, "card: EID", "".join("{:02x}".format(octet) for octet in self._eid))
        await self._look()
        await self._identify(await self._modem.imei())
        await self._attach()
        seconds = await self._modem.clock()
        if seconds is None:
            log(INFO, "boot: the network gives no time")
        else:
            self._board.set_clock(seconds)
            log(INFO, "boot: clock set from the network")
        self._ready = True
        if self._journal.get("emergency"):
            self._calm.clear()

    async def _identify(self, imei):
        self._device_info = device_info(imei, self._modem.device_capabilities)
        if self._journal.get("imei", imei) == imei:
            self._journal.set(imei=imei)
        else:
            from ipa import changes

            await changes.note(self._es10, self._journal, changes.DEVICE_CHANGE, imei=imei)

    async def _open_card(self):
        """Open the channel and find out whose card it is. Raises CardUnfit where it cannot be ours."""
        self._channel.announces = self._settings["ipae"] == "take-over"
        await self._channel.open()
        es10 = Es10(self._channel)
        mode = await es10.ipa_mode()
        if mode != _IPAD:
            from ipa.card import kind  # few need it

            es10 = await kind.adapt(self._channel, es10, mode, self._settings, type(self._journal))
        self._silent = es10 is None
        if self._silent:
            await self._channel.close()
        else:
            self._es10 = self._conversation.es10 = es10
            if not self._channel.announces:
                self._channel.announces = True
                await self._channel.open()

    async def _attach(self):
        settings = self._settings
        await self._modem.attach(settings["apn"], self._patience())
        self._plmn = await self._modem.plmn()
        if settings["psm_periodic_s"] or settings["edrx_cycle_s"]:
            from ipa.modem import power  # only some need it

            await power.save(self._modem, settings)

    def _patience(self):
        """Milliseconds for a network to let us in; no longer than a switch may go unproven."""
        seconds = self._settings["attach_timeout_s"]
        switch = self._journal.get("switch") or {}
        if "undo" in switch:
            seconds = min(seconds, max(1, switch.get("left", self._settings["rollback_window_s"])))
        return seconds * 1000

    async def poll(self):
        """Everything the card's eIMs have. True when nothing is left to do.

        Raises EimFailed when only some could be served, what the last one raised when none could.
        """
        if self._silent:
            return True
        idle = True
        served = []
        failed = 0
        failure = None
        while len(served) < _MOST_EIMS:
            if not self._modem.registered():
                await self._attach()
            if not self._channel.is_open:
                await self._channel.open()
            try:
                eim = await unserved(self._es10, served, self._settings["eim_file"])
                if eim is None:
                    break
                idle = await self._serve(eim) and idle
            except _EIM_FAILURES as error:
                if not served:
                    raise
                failed += 1
                failure = error
                log(ERROR, "poll: eIM {}: {}".format(words(served[-1]), error))
        await self._channel.close()
        if failed == len(served) and failed:
            raise failure
        if failed:
            raise EimFailed("{} of {} eIMs are still to be served".format(failed, len(served)))
        return idle

    async def _serve(self, eim):
        """Everything one eIM has, over as many profiles as it takes. True when nothing is left to do."""
        for _ in range(self._settings["packages_per_poll"]):
            if not self._channel.is_open:
                await self._channel.open()
            unload()
            gc.collect()  # DTLS wants one block of 17 kB
            outcome = await self._conversation.hold(eim, self._eid, self._device_info, self._plmn)
            if outcome != SWITCH:
                break
            await self._switch()
        return outcome == IDLE

    async def _switch(self):
        """Come back on the profile that the card enabled: it REFRESHes, or waits for a reset by us."""
        self._since = ticks_ms()
        self._ready = False  # until that has worked
        if "reset" in self._journal.get("switch", {}):
            await self._modem.carrier.reset()
            await self._attach()
        else:
            await self._modem.refresh(self._patience())
            self._plmn = await self._modem.plmn()
        self._ready = True
        await self._channel.open()
        await self._look()

    async def _look(self):
        """Log the profiles, and see whether another one is enabled than before."""
        enabled = ""
        try:
            answer = await self._es10.get_profiles_info(b"\x5a\x9f\x70")
            for tag, value, _ in tlv.items(tlv.find(answer, 0xBF2D, 0xA0)):
                iccid, state = tlv.find(value, 0x5A), tlv.find(value, 0x9F70)
                if tag == 0xE3 and iccid and state:
                    log(INFO, "card: profile", digits(iccid), "enabled" if state[0] else "disabled")
                    if state[0]:
                        enabled = bytes(iccid).hex()
            if self._journal.get("profile", enabled) == enabled:
                self._journal.set(profile=enabled)
            else:
                from ipa import changes

                await changes.explain(self._es10, self._journal, enabled)
        except CardError as error:
            log(DEBUG, "card:", error)  # not every card has a list to show
