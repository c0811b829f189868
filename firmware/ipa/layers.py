"""The layers that a poll needs: modem, card, network, data context (and the association, in net/).

Each layer is checked, and set up only if it does not work. So a device that is registered stays registered, whatever
has failed above. If setting up a layer fails, it is repeated in place. If polls keep failing at one layer, `rungs.py`
sets up again what lies below it, step by step.
"""

import asyncio

from ipa import tlv
from ipa.card.channel import CardError, Channel
from ipa.card.es10 import Es10
from ipa.compat import DEBUG, INFO, const, log, sleep_ms, ticks_diff, ticks_ms, unix_time
from ipa.modem import ModemError, SocketError
from ipa.modem.common import NoCard, NoRegistration
from ipa.steps import device_info, digits

MODEM = const(0)
CARD = const(1)
NETWORK = const(2)
CONTEXT = const(3)
EIM = const(4)
NAMES = ("modem", "card", "network", "data context", "eIM")

_IPAD = const(0)  # ipaMode
_TRIES = const(3)
_HOUR_MS = const(3600000)
_NOT_NOW = const(0x6985)  # the answer to every command of a card that waits for its REFRESH, until it is reset
_MOST_PAUSE_S = const(5)


class Layers:
    """Calls `goes(reason)` before it leaves the network on purpose, `changed(iccid)` if another profile is on."""

    def __init__(self, modem, board, settings, journal, goes, changed):
        self.modem = modem
        if settings["psm_periodic_s"] and hasattr(board, "woken"):
            modem.was_on = board.woken() != "power"
        self._board = board
        self._settings = settings
        self._journal = journal
        self.goes = goes
        self._changed = changed
        self.channel = Channel(modem.carrier, settings["segment"])
        self.es10 = Es10(self.channel)
        self.begun = False  # the modem was started and not switched off since
        self.at = MODEM  # the layer that climb() set up last, or at which it failed
        self.radio_ms = None  # ticks when the radio was last switched off and on for a failure, or
        self.searched = False  # when the search began that it is not to disturb
        self.failures = [0] * (EIM + 1)  # failed polls by layer, since the last successful one
        self.eims = None  # eIMs of the card; None if they must be read again
        self.clock_due = False  # the board's clock must be set
        self.silent = False  # an IPA inside the card is in charge
        self.eid = self.device_info = self.plmn = self.apn = None
        # An interrupted ES10 session, or a switch that waits for its REFRESH: only a reset is certain to end it.
        self.reset_due = journal.get("switch") is not None or journal.get("download") is not None

    async def climb(self, patience_ms, to=CONTEXT):
        """Set up the layers up to `to`. `patience_ms`: for registration. Raises what a layer raises; `at` names it."""
        self.at = MODEM
        await self.wake()
        self.at = CARD
        if self.reset_due or self.eid is None or not (self.channel.is_open or self.eims):
            await self.again(self._open_card)
        if self.silent or to == CARD:
            return
        self.at = NETWORK
        joins = self.apn is None or not self.modem.registered()
        if joins:
            await self.again(self._join, patience_ms)
        elif self.modem.sleeps:
            self.plmn = await self.again(self.modem.plmn)  # it may have moved meanwhile
        self.at = CONTEXT
        await self.again(self._connect, patience_ms)
        if joins or self.clock_due or unix_time() is None:
            from ipa.modem import clock

            await clock.set_board(self._board, self.modem)
            self.clock_due = False
        if joins:
            await self._save_power()

    async def again(self, make, *args):
        """Set up a layer; if that fails, repeat it after pauses. Raises the exception of the last attempt."""
        for number in range(1, _TRIES):
            try:
                return await make(*args)
            except NoRegistration:  # it has already waited long enough
                raise
            except (ModemError, CardError, tlv.TlvError, asyncio.TimeoutError) as error:
                log(INFO, "{}: {}, once more".format(NAMES[self.at], error))
                if self.at == CARD:
                    self.channel.is_open = False
            await self.pause(number)
        return await make(*args)

    async def pause(self, number):
        """Wait some seconds before a step is repeated for the nth time."""
        await sleep_ms(min(_MOST_PAUSE_S, number * self._settings["backoff_s"]) * 1000)

    # Modem

    async def wake(self):
        """Let the modem answer: started, and out of PSM. Raises ModemError."""
        if not await self._modem_holds():
            await self.again(self._start_modem)

    async def _modem_holds(self):
        if not self.begun:
            return False
        try:
            if not (self.modem.sleeps or self.modem.rests):
                return await self.modem.ask_registration()
            if not await self.modem.rouse():
                self.channel.is_open = False
            return True
        except ModemError as error:
            log(INFO, "modem:", error)
            return False

    async def _start_modem(self):
        # Modem and card may have been restarted: the logical channel is lost.
        self.channel.is_open = False
        await self.modem.start()
        if not (self.modem.sleeps and self.modem.registered()):
            await self.modem.ask_registration()
        if not self.modem.registered():
            self.eid = None  # the card may be another one
        self.begun = True

    # Card

    async def _open_card(self):
        modem = self.modem
        self.eims = None
        if self.reset_due and not self.silent:
            self.goes("the card is reset")
            await modem.power_cycle_card()
            self.reset_due = False
            self.eid = None
        elif not modem.registered():
            await self._find_card()
        if self.eid is not None:
            await self.channel.open()
            return
        await self._adapt()
        if self.silent:
            return
        eid = await self.es10.get_eid()
        log(INFO, "card: EID", "".join(["{:02x}".format(octet) for octet in eid]))
        await self._identify_device(await modem.imei())
        await self._look()
        self.eid = eid

    async def _find_card(self):
        """Called without a registration: some modems find the card only after a restart of radio or modem."""
        modem = self.modem
        await modem.power_card()
        try:
            await modem.await_card()
            return
        except NoCard as error:
            log(INFO, "card:", error)
        try:
            await modem.power_cycle_card()
            return
        except NoCard as error:
            log(INFO, "card: {}, the modem is reset".format(error))
        from ipa.modem import power

        await power.reset(modem)
        await modem.await_card()

    async def _adapt(self):
        """Open the channel and find out what card it is. Raises CardUnfit if the assistant cannot use it."""
        channel = self.channel
        channel.announces = self._settings["ipae"] == "take-over"
        await channel.open()
        es10 = Es10(channel)
        mode = await es10.ipa_mode()
        if mode != _IPAD:
            from ipa.card import kind  # few devices need it

            es10 = await kind.adapt(channel, es10, mode, self._settings, type(self._journal))
        self.silent = es10 is None
        if self.silent:
            await channel.close()
        else:
            self.es10 = es10
            if not channel.announces:
                channel.announces = True
                await channel.open()

    async def _identify_device(self, imei):
        self.device_info = device_info(imei, self.modem.device_capabilities)
        if self._journal.get("imei", imei) == imei:
            self._journal.set(imei=imei)
        else:
            from ipa import changes

            await changes.note(self.es10, self._journal, changes.DEVICE_CHANGE, imei=imei)

    def doubt_card(self, sw):
        """A command to the card has failed, with the status word `sw` or None: decide whether the card must be reset.

        The journal knows: a switch waits for its reset, or a session was left in the middle.
        """
        self.channel.is_open = False
        journal = self._journal
        if "reset" in (journal.get("switch") or ()):
            self.reset_due = True
        elif sw == _NOT_NOW and (journal.get("switch") or journal.get("download")) is not None:
            self.reset_due = self.radio_due()

    def radio_due(self):
        """Whether the radio may be switched off because of a failure: once an hour. If True, the caller does it."""
        now = ticks_ms()
        if self.radio_ms is not None and ticks_diff(now, self.radio_ms) < _HOUR_MS:
            return False
        self.radio_ms = now
        self.searched = False
        return True

    async def _look(self):
        """Log the profiles, and check whether another one is enabled than before."""
        enabled = ""
        try:
            answer = await self.es10.get_profiles_info(b"\x5a\x9f\x70")
            for tag, value, _ in tlv.items(tlv.find(answer, 0xBF2D, 0xA0)):
                iccid, state = tlv.find(value, 0x5A), tlv.find(value, 0x9F70)
                if tag == 0xE3 and iccid and state:
                    log(INFO, "card: profile", digits(iccid), "enabled" if state[0] else "disabled")
                    if state[0]:
                        enabled = bytes(iccid).hex()
            await self._compare(enabled)
        except CardError as error:
            log(DEBUG, "card:", error)  # not every card has such a list

    async def _compare(self, enabled):
        journal = self._journal
        before = journal.get("profile", enabled)
        if "was" in (journal.get("switch") or ()):
            from ipa import recovery

            recovery.settle(journal, before != enabled)
        if before == enabled:
            journal.set(profile=enabled)
            return
        from ipa import changes

        self.apn = None
        await changes.explain(self.es10, journal, enabled)
        self._changed(enabled)

    # Network

    async def _join(self, patience_ms):
        if self.apn is None:
            await self._choose_apn()
        await self.modem.join(self.apn, patience_ms)
        self.plmn = await self.modem.plmn()

    async def _choose_apn(self):
        from ipa import apn  # once for each profile

        iccid = digits(bytes.fromhex(self._journal.get("profile", "")))
        self.apn = await apn.choose(self.es10, self._settings, iccid, await self.modem.imsi())

    async def _save_power(self):
        settings = self._settings
        if settings["psm_periodic_s"] or settings["edrx_cycle_s"]:
            from ipa.modem import power  # only some devices need it

            await power.save(self.modem, settings)

    # Data context

    async def _connect(self, patience_ms):
        modem = self.modem
        try:
            await modem.open_context(self.apn)
        except SocketError:
            # A modem that has restarted has lost the APN, and has attached without it.
            if not (await modem.apn_differs(self.apn) and self.radio_due()):
                raise
            self.goes("the attach has another APN")
            await self._join(patience_ms)
            await modem.open_context(self.apn)

    # After a profile switch

    async def switch(self, patience_ms):
        """Connect with the profile that the card has enabled, after its REFRESH or a reset by the assistant."""
        self.goes("another profile is enabled")
        self.eid = None  # a card that was restarted is read again
        if not self.reset_due and "reset" not in self._journal.get("switch", {}):
            await self.modem.await_refresh()
        else:
            self.reset_due = True
        self.channel.is_open = False
        await self.climb(patience_ms)
