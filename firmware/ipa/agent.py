"""The assistant itself: when it talks to the eIM, and how it begins again after a power cut or a failure.

One poll serves the card's eIMs in turn, each by the eIM package retrieval of 3.1.1.1 to its end, in one DTLS
association. A profile switch ends the association: the card's REFRESH cuts the network off, and the result
travels over the new profile.
"""

import asyncio
import gc
import os

from ipa import tlv
from ipa.card.channel import CardError, Channel
from ipa.card.es10 import Es10
from ipa.compat import DEBUG, ERROR, INFO, const, log, sleep_ms
from ipa.conversation import IDLE, SWITCH, Conversation
from ipa.eim import EimFailed, EimUnknown, unserved
from ipa.modem import ModemError, SocketError
from ipa.net import NetError, ServerError
from ipa.steps import device_info, digits

_IPAD = const(0)  # ipaMode
_MOST_EIMS = const(16)  # an eIM that adds one after the other does not keep a poll going for ever
_MOST_DOUBLINGS = const(12)
_LONGEST_SLEEP_S = const(3600)  # ticks of 32-bit ports wrap after days
_NETWORK_TRIES = const(2)  # so many failures of the network before the modem begins again as well

# What keeps one eIM from being served, and says nothing about the others
_EIM_FAILURES = (EimUnknown, EimFailed, SocketError, NetError, ServerError, tlv.TlvError, OSError)
_FAILURES = _EIM_FAILURES + (ModemError, CardError, MemoryError, asyncio.TimeoutError)


class Agent:
    """`modem`: a driver of ipa.modem; `settings`: from config.load; `board`: set_clock(seconds) is enough."""

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
        self._eid = self._device_info = self._plmn = None

    async def run(self):
        """Poll for ever; with stop_when_idle until nothing is left to do."""
        failures = 0
        while True:
            try:
                if not self._ready:
                    await self._boot()
                idle = await self.poll()
                failures = 0
                if idle and self._settings["stop_when_idle"]:
                    log(INFO, "agent: nothing left to do")
                    return
                wait = self._settings["poll_interval_s"] * 1000
            except _FAILURES as error:
                failures += 1
                log(ERROR, "agent: {}: {}".format(type(error).__name__, error))
                some = isinstance(error, EimFailed)
                self._ready = some or isinstance(error, NetError) and failures <= _NETWORK_TRIES
                # An eIM that is gone for good does not make the device poll the others more and more.
                wait = self._back_off(failures, "poll_interval_s" if some else "backoff_max_s")
                log(INFO, "agent: next try in {:.0f} s".format(wait / 1000))
            gc.collect()
            await _sleep(wait)

    def _back_off(self, failures, most):
        """Milliseconds: doubling up to the setting `most`, and never the same for all devices of a fleet."""
        seconds = self._settings["backoff_s"] << min(failures - 1, _MOST_DOUBLINGS)
        wait = min(seconds, self._settings[most]) * 1000
        return wait * (192 + os.urandom(1)[0] // 2) // 256  # 75 to 125 per cent

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
        await self._log_profiles()
        self._device_info = device_info(await self._modem.imei(), self._modem.device_capabilities)
        await self._attach()
        seconds = await self._modem.clock()
        if seconds is None:
            log(INFO, "boot: the network gives no time")
        else:
            self._board.set_clock(seconds)
            log(INFO, "boot: clock set from the network")
        self._ready = True

    async def _open_card(self):
        """Open the channel and find out whose card it is. Raises CardUnfit where it cannot be ours."""
        self._channel.announces = self._settings["ipae"] == "take-over"
        await self._channel.open()
        es10 = Es10(self._channel)
        mode = await es10.ipa_mode()
        if mode != _IPAD:
            from ipa.card import kind  # few need it

            es10 = await kind.adapt(self._channel, es10, mode, self._settings)
        self._silent = es10 is None
        if self._silent:
            await self._channel.close()
        else:
            self._es10 = self._conversation.es10 = es10
            if not self._channel.announces:
                self._channel.announces = True
                await self._channel.open()

    async def _attach(self):
        await self._modem.attach(self._settings["apn"], self._settings["attach_timeout_s"] * 1000)
        self._plmn = await self._modem.plmn()

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
                log(ERROR, "poll: eIM {}: {}".format(str(served[-1], "utf-8"), error))
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
            gc.collect()  # DTLS wants one block of 17 kB
            outcome = await self._conversation.hold(eim, self._eid, self._device_info, self._plmn)
            if outcome != SWITCH:
                break
            self._journal.set(switch=True)
            await self._switch()
        return outcome == IDLE

    async def _switch(self):
        """Let the card's REFRESH happen and come back on the profile it enabled."""
        await self._modem.refresh(self._settings["attach_timeout_s"] * 1000)
        await self._channel.open()
        await self._log_profiles()
        self._plmn = await self._modem.plmn()

    async def _log_profiles(self):
        try:
            answer = await self._es10.get_profiles_info(b"\x5a\x9f\x70")
            for tag, value, _ in tlv.items(tlv.find(answer, 0xBF2D, 0xA0) or b""):
                iccid, state = tlv.find(value, 0x5A), tlv.find(value, 0x9F70)
                if tag == 0xE3 and iccid and state:
                    log(INFO, "card: profile", digits(iccid), "enabled" if state[0] else "disabled")
        except CardError as error:
            log(DEBUG, "card:", error)  # only a line in the log


async def _sleep(ms):
    while ms > 0:
        step = min(ms, _LONGEST_SLEEP_S * 1000)
        await sleep_ms(step)
        ms -= step
