"""One association with one eIM: what waits on the card goes out first, then comes package after package (3.1.1.1)."""

from ipa.compat import INFO, const, log, ticks_diff, ticks_ms
from ipa.modem import ModemError
from ipa.net import NetError
from ipa.net.coap import Coap
from ipa.net.dtls import Dtls
from ipa.net.esipa import Esipa
from ipa.steps import Session, notify, packages

# What a conversation turned out to be
IDLE = const(0)  # the eIM has nothing more, nothing waits on the card
UNFINISHED = const(1)
SWITCH = const(2)  # the enabled profile changes


class Conversation:
    """Holds conversations one after the other; its buffers are made once."""

    def __init__(self, modem, settings, journal, es10):
        self._modem = modem
        self._settings = settings
        self._journal = journal
        self.es10 = es10
        self._coap = Coap()
        self._coap.q_block = settings["q_block"]
        self._kept = None  # the association of the last conversation
        self._since = 0

    def end(self):
        """Close the association that was kept, if any: its socket is dead, or somebody else is next."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def hold(self, eim, eid, device_info, plmn):
        """Talk to this eIM until it has nothing more or the profile changes. Returns one of the three above."""
        session = Session(eid, eim.eim_id, self.es10, Esipa(self._coap), device_info, self._journal)
        if self._settings["download"] == "direct":
            session.tcp = self._modem.tcp
            session.roots_file = self._settings["roots_file"]
            session.trust = eim.trust
        if self._settings["inject_wait_s"]:
            session.protocols |= 0x10  # ipaInjectCoaps
        # Asked while the radio sleeps, so that the first request goes in the instant the handshake ends.
        waiting = await notify.waiting(self.es10)
        kept = self._kept
        self._kept = None
        if kept is not None:
            age = ticks_diff(ticks_ms(), self._since)
            if kept.host == eim.host and 0 <= age < self._settings["keep_association_s"] * 1000:
                self._coap.doubtful = True
                try:
                    return await self._over(kept, session, waiting, plmn)
                except (NetError, ModemError) as error:
                    if not self._coap.doubtful:
                        raise
                    log(INFO, "poll: the association of the last poll has ended:", error)
            else:
                kept.close()
        dtls = Dtls(await self._modem.udp(eim.host, eim.port), eim.host, eim.trust)
        await dtls.connect(self._settings["dtls_timeout_s"] * 1000)
        log(INFO, "poll: DTLS with", eim.host)
        self._coap.doubtful = False
        return await self._over(dtls, session, waiting, plmn)

    async def _over(self, dtls, session, waiting, plmn):
        self._coap.dtls = dtls
        outcome = SWITCH
        try:
            outcome = await self._talk(session, waiting, plmn)
            return outcome
        finally:
            if outcome == SWITCH or not self._settings["keep_association_s"]:
                dtls.close()
            else:
                self._kept = dtls
                self._since = ticks_ms()

    async def _talk(self, session, waiting, plmn):
        clean = not waiting or await notify.deliver(session)
        self._journal.set(switch=None)
        for number in range(self._settings["packages_per_poll"]):
            package = await session.esipa.get_eim_package(session.eid, plmn)
            if package is None:
                log(INFO, "poll: the eIM has no package" if not number else "poll: the eIM has no more")
                if number:
                    clean = await notify.deliver(session)
                if self._settings["inject_wait_s"] and await self._listen(session):
                    return SWITCH
                return IDLE if clean else UNFINISHED
            log(INFO, "poll: package", number + 1, "is", packages.NAMES.get(package.tag, "unknown"))
            if await packages.execute(session, package):
                return SWITCH
        return UNFINISHED

    async def _listen(self, session):
        """Take what the eIM sends unasked, as long as it sends. Returns whether the enabled profile changes."""
        from ipa.steps import inject  # few eIMs do

        wait = self._settings["inject_wait_s"] * 1000
        return await inject.listen(session, self._coap, wait, self._settings["packages_per_poll"])
