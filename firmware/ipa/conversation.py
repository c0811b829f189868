"""A conversation with one eIM: send what waits on the card, then fetch package after package (3.1.1.1)."""

from ipa.compat import INFO, const, log, unload
from ipa.modem import ModemError
from ipa.net import NetError
from ipa.net.link import chosen
from ipa.steps import Session, notify, packages

# Results of Conversation.run()
IDLE = const(0)  # the eIM has nothing more, nothing waits on the card
UNFINISHED = const(1)
SWITCH = const(2)  # the enabled profile changes

# ipaFeatures and ipaSupportedProtocols
_FEATURES = (("eim_download_data", 0x20), ("eim_ctx_params_1", 0x10), ("eim_metadata", 0x08), ("compact", 0x04))
_IPA_RETRIEVE_HTTPS = const(0x80)
_IPA_INJECT_COAPS = const(0x10)


class Conversation:
    """Runs conversations one after the other, with the same buffers."""

    trigger = None  # a Package that was handed over on the device and that needs the eIM

    def __init__(self, modem, settings, journal, es10, card):
        """`await card()` opens the card if it is not open."""
        self._modem = modem
        self._settings = settings
        self._journal = journal
        self.es10 = es10
        self._card = card
        self.worked = False  # the card was used; the caller resets it
        self.link, self._esipa, self._compact = chosen(modem, settings)
        self.reached = False  # an eIM has answered; the caller resets it
        self._sent = None, None  # eIM of the last session, and what was sent to it
        self.plmn = {}  # by card and eIM: the rPLMN last sent since boot; it is sent again only after a change
        self.wait_ms = settings["inject_wait_s"] * 1000 if settings["transport"] == "coap" else 0

    def end(self):
        """Close the association that was kept open, if any: its socket is lost, or something else is next."""
        self.link.end()

    def session(self, eim_id, eid, device_info):
        """The Session in which the steps execute packages of this eIM."""
        esipa = self._esipa(self.link)
        if self._compact is not None:
            esipa = self._compact(esipa, eid)
        session = Session(eid, eim_id, self.es10, esipa, device_info, self._journal)
        # An acknowledgement that was handed over or injected has a session of its own.
        if self._sent[0] == eim_id:
            session.sent = self._sent[1]
        self._sent = eim_id, session.sent
        for name, bit in _FEATURES:
            if self._settings[name]:
                session.features |= bit
        if self._settings["download"] == "direct":
            session.tcp = self._modem.tcp
            session.roots_file = self._settings["roots_file"]
        if self._settings["transport"] == "https":
            session.protocols = _IPA_RETRIEVE_HTTPS
        elif self.wait_ms:
            session.protocols |= _IPA_INJECT_COAPS
        return session

    async def run(self, eim, eid, device_info, plmn, nothing_waits):
        """Talk to this eIM until it has nothing more or the profile changes. Returns one of the three above.

        `nothing_waits`: no result and no notification waits on the card; the channel to it may be closed.
        """
        session = self.session(eim.eim_id, eid, device_info)
        session.sent.clear()
        if eim.trust is None:
            from ipa.initial_eim import preinstalled  # few eIMs have none

            eim.trust = preinstalled(self._settings["eim_roots_file"])
        session.trust = eim.trust
        session.set_aside = lambda: self.link.set_aside(eim)
        if self._journal.get("download") is not None and await _finish(session):
            return SWITCH
        self.link.answered = False
        # Read before the radio is used, so that the first request follows immediately after the handshake.
        waiting = not nothing_waits and await notify.waiting(session)
        await self.link.open(eim)
        try:
            return await self._over(session, waiting, plmn)
        except (NetError, ModemError) as error:
            if not self.link.doubtful:
                raise
            log(INFO, "poll: the association of the last poll has ended:", error)
        await self.link.open(eim)
        return await self._over(session, waiting, plmn)

    async def _over(self, session, waiting, plmn):
        outcome = SWITCH
        try:
            outcome = await self._talk(session, waiting, plmn)
            return outcome
        finally:
            self.reached = self.reached or self.link.answered
            self.link.close(outcome != SWITCH)

    async def _talk(self, session, waiting, plmn):
        eim_id = session.eim_id.hex()
        whom = session.eid + session.eim_id
        clean = True
        if waiting:
            self.worked = True
            clean = await notify.deliver(session)
            if self.link.answered:
                self._proven(eim_id)
        cause = (self._journal.get("cause") or {}).get(eim_id)
        for number in range(self._settings["packages_per_poll"]):
            changed = None if self.plmn.get(whom) == plmn else plmn
            # Most polls find no package. If there is one, the radio connection is set up once more.
            self._modem.last = not (self.wait_ms or self.trigger)
            package = await session.esipa.get_eim_package(session.eid, changed, cause)
            if changed is not None:
                self.plmn[whom] = changed
            if not number:
                self._proven(eim_id)
            if cause is not None:
                from ipa import changes  # seldom needed

                changes.answered(self._journal, eim_id)
                cause = None
            if package is None:
                log(INFO, "poll: the eIM has no package" if not number else "poll: the eIM has no more")
                if number:
                    clean = await notify.deliver(session)
                if self.wait_ms or self.trigger:
                    await self._card()
                    from ipa import listening  # few eIMs inject

                    if await listening.listen(self, session, self._settings["packages_per_poll"]):
                        return SWITCH
                if session.due is not None:
                    raise session.due
                return IDLE if clean else UNFINISHED
            log(INFO, "poll: package", number + 1, "is", packages.NAMES.get(package.tag, "unknown"))
            await self._card()
            if await packages.execute(session, package):
                return SWITCH
        log(INFO, "poll:", number + 1, "packages are enough for one poll")
        return UNFINISHED

    def _proven(self, eim_id):
        """This eIM (hex) was reached: that confirms a switch that it ordered, or that the device made (3.3.2)."""
        self.reached = True
        if (self._journal.get("switch") or {}).get("eim", eim_id) == eim_id:
            self._journal.set(switch=None)


async def _finish(session):
    """Complete an interrupted download, if it can be. Returns True if the enabled profile changes."""
    from ipa.steps import failed  # few are

    try:
        return await failed.finish_cut(session)
    finally:
        unload()
