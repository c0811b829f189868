"""CoAP over DTLS, one association with one eIM at a time (SGP.32 6.2)."""

from ipa.compat import INFO, const, log, ticks_diff, ticks_ms
from ipa.net import keep_room
from ipa.net.coap import Coap
from ipa.net.link import client_files

_PORT = const(5684)


class CoapsLink(Coap):
    def __init__(self, modem, settings):
        super().__init__()
        self._by_modem = settings["dtls"] == "modem" or (settings["dtls"] == "auto" and not _board_has_dtls())
        if self._by_modem:
            from ipa.net.modem_dtls import ModemDtls as Dtls
        else:
            from ipa.net.dtls import Dtls
        self._Dtls = Dtls
        self.q_block = settings["q_block"]
        self._modem = modem
        self._settings = settings
        self._with = None  # whom the association is with: host, port, trust
        self._since = 0  # when it was last in use
        self._aside = None  # with this eIM it is to be made again

    async def open(self, eim):
        """Go on with the association of the last time where it is young enough: then it is `doubtful`."""
        port = eim.port or _PORT
        wanted = (eim.host, port, eim.trust)
        if self.dtls is not None:
            age = ticks_diff(ticks_ms(), self._since)
            if self._with == wanted and 0 <= age < self._settings["keep_association_s"] * 1000:
                self.doubtful = True
                return
            self.end()
        if self._by_modem:
            dtls = self._Dtls(self._modem, eim.host, port, eim.trust)
        else:
            keep_room()
            datagram = await self._modem.udp(eim.host, port)
            dtls = self._Dtls(datagram, eim.host, eim.trust, client=client_files(self._settings))
        try:
            await dtls.connect(self._settings["dtls_timeout_s"] * 1000)
        except BaseException:  # an emergency and a full heap as well: the modem has few sockets
            dtls.close()
            raise
        log(INFO, "poll: DTLS with", eim.host)
        self.begin(dtls, self._settings["block_size"])
        self._aside = None
        self._with = wanted
        self.doubtful = False

    def set_aside(self, eim):
        """Close the association, until the next exchange: there is memory for one with any server, not for two."""
        self.end()
        self._aside = eim
        keep_room()

    async def exchange(self, parts, function=None):
        if self._aside is not None:
            await self.open(self._aside)
        return await super().exchange(parts, function)

    def close(self, keep):
        if keep and self._settings["keep_association_s"]:
            self._since = ticks_ms()
        else:
            self.end()

    def end(self):
        """Close what was kept."""
        self._aside = None
        if self.dtls is not None:
            self.dtls.close()
            self.dtls = None


def _board_has_dtls():
    try:
        import tls
    except ImportError:
        return False
    return hasattr(tls, "PROTOCOL_DTLS_CLIENT")
