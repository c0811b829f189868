"""A profile download from the SM-DP+ itself, over HTTPS (SGP.32 3.2.3.1). Loaded when one begins.

The steps between card and server are those of a download through the eIM. This module has what differs: the trust
anchors of the server, and the delivery of the result. A result that could not be delivered stays on the card. The
journal has its transactionId and, until it has been reported to the eIM, the eimTransactionId (`A1B2:C3D4`). With them
later conversations complete the delivery.
"""

from ipa import tlv
from ipa.compat import ERROR, INFO, log
from ipa.modem import SocketError, fit
from ipa.net import NetError, PeerNotTrusted, ServerError, memory
from ipa.net.es9 import HEADERS, Es9, Es9Refused
from ipa.net.https import Https, HttpsRefused
from ipa.steps.download import MOST_TRIES, Download, DownloadFailed, installed
from ipa.steps.notify import remove, report

_SUBJECT_ALTERNATIVE_NAME = b"\x55\x1d\x11"
_SUBJECT_KEY_IDENTIFIER = b"\x55\x1d\x0e"
_INDIRECT_PROFILE_DOWNLOAD = 0x89
_MOST_RESULTS = 4
_HTTPS_PORT = 443


class NotDirect(DownloadFailed):
    """This device cannot connect to that SM-DP+; the eIM may be able to."""


class DirectDownload(Download):
    def __init__(self, session, transaction):
        super().__init__(session, transaction)
        self.server = None
        self._host = ""
        self._oid = ""

    async def discover(self, address):
        """SGP.22 3.6.2: ask an SM-DS which SM-DP+ has a profile for this card; use the oldest event."""
        from ipa.net.es11 import Es11  # needs more heap; loaded only here

        if address is None:
            address = tlv.find(await self.session.es10.get_euicc_configured_data(), 0xBF3C, 0x81)
        if not address:
            raise DownloadFailed("neither the trigger nor the card names an SM-DS")
        address = str(address, "utf-8")
        log(INFO, "download: asking the SM-DS", address)
        self._host = address
        self.server = await _connect(self.session, address, Es11)
        events = await self._trusting(self._events(address))
        self.close()
        self.server = self.transaction_id = None  # no download has started
        if not events:
            raise DownloadFailed("the SM-DS {} has nothing for this card".format(address))
        log(INFO, "download: the SM-DS has", len(events), "for this card, first from", events[0][0])
        return events[0] + ("",)

    async def _events(self, address):
        response = await self._authenticate_server(address, "")
        return await self.server.authenticate_client(self.transaction_id, response)

    async def initiate(self, challenge, address, euicc_info_1):
        """An SM-DP+ or SM-DS has no data of earlier downloads."""
        return await self.server.initiate_authentication(challenge, address, euicc_info_1)

    async def steps(self, address, matching_id, oid):
        """Steps 2 to 11. Returns the ProfileInstallationResult, valid until the next card command."""
        self._host = address
        self._oid = oid
        self.server = await _connect(self.session, address, Es9)
        return await self._trusting(super().steps(address, matching_id, oid))

    async def instead(self, error):
        """The same download through the eIM, if it offers this (indirectProfileDownload of its configuration)."""
        configuration = await self.session.es10.find_eim(self.session.eim_id)
        if not isinstance(error, NotDirect) or tlv.find(configuration, _INDIRECT_PROFILE_DOWNLOAD) is None:
            return None
        log(INFO, "download: through the eIM:", error)
        self.close()
        return Download(self.session, self.transaction)

    async def _trusting(self, talk):
        """Convert the errors of a server that is not trusted, or that refuses by HTTP."""
        try:
            return await talk
        except PeerNotTrusted as error:
            raise NotDirect(str(error)) from None
        except NetError as error:
            refused = isinstance(error, HttpsRefused)
            if refused and not error.temporary:
                raise DownloadFailed(str(error)) from None
            # For a connection that breaks later the cause is not known.
            if not refused and self.transaction_id is not None or self.has_another_try():
                raise
            raise NotDirect("did not reach {}: {}".format(self._host, error)) from None

    def check_server(self, signed, certificate, challenge, address):
        """As Download's, and with the OID of the activation code (SGP.22 3.1.3 step 4)."""
        super().check_server(signed, certificate, challenge, address)
        if self._oid:
            own = _extension(certificate, _SUBJECT_ALTERNATIVE_NAME, 0x30, 0x88)
            if own is None or own != _encoded(self._oid):
                raise DownloadFailed("the SM-DP+ has another OID than {}".format(self._oid))

    async def bound_profile_package(self, response):
        """Step 11. From now on there may be a result on the card that the device must deliver."""
        name = "" if self.transaction is None else self.transaction.hex()
        _note(self.session.journal, self.transaction_id.hex(), name)
        return await super().bound_profile_package(response)

    async def deliver(self, result):
        await _settle(self.session, self.server, bytes(result))

    def close(self):
        if self.server is not None:
            self.server.close()


async def take_over(session, pending):
    """Deliver a result of a direct download that is still on the card. False if this notification is none."""
    if _noted(session.journal, pending) is None:
        return False
    result = bytes(pending)
    address = tlv.find(result, 0xBF37, 0xBF27, 0xBF2F, 0x0C) or b""
    try:
        address = str(address, "utf-8")
        server = await _connect(session, address, Es9)
    except (DownloadFailed, UnicodeError) as error:
        log(ERROR, "download:", error)
        return False
    try:
        await _settle(session, server, result)
    finally:
        server.close()
    return True


async def _settle(session, server, result):
    """Steps 13 and 14: send the result to the SM-DP+, whose connection is open, and to the eIM, then delete it."""
    seq_number = installed(result)
    journal = session.journal
    noted, untold, name = _noted(journal, result).partition(":")
    failure = None
    try:
        await server.handle_notification(result)
    except Es9Refused as error:  # it has the result already
        log(ERROR, "download:", error)
    except (ServerError, NetError) as error:
        log(ERROR, "download: result", seq_number, "stays on the card until next time:", error)
        failure = str(error)
    server.close()
    if untold:
        await report(session, bytes.fromhex(name) if name else None, result)
        _note(journal, noted)
    if failure is not None:
        tries = journal.get("tries", 0) + 1
        if tries < MOST_TRIES:
            # It still has to be sent: the conversation must not count as complete.
            session.due = NetError("a result waits for its SM-DP+: {}".format(failure))
            journal.set(tries=tries)
        else:
            _forget(journal, noted)  # the eIM may be able to deliver it
        return
    await remove(session.es10, seq_number)
    _forget(journal, noted)
    log(INFO, "download: result", seq_number, "delivered to both, removed from the card")


def _noted(journal, result):
    """The journal's entry for this ProfileInstallationResult, None if it is not of a direct download."""
    transaction_id = bytes(tlv.find(result, 0xBF37, 0xBF27, 0x80) or b"").hex()
    for entry in _all(journal):
        if entry.partition(":")[0] == transaction_id:
            return entry
    return None


def _note(journal, transaction_id, name=None):
    """Store an entry; a few results may wait for SM-DP+ servers that cannot be reached."""
    entries = [entry for entry in _all(journal) if entry.partition(":")[0] != transaction_id]
    entries.append(transaction_id if name is None else transaction_id + ":" + name)
    journal.set(direct=entries[-_MOST_RESULTS:])


def _forget(journal, transaction_id):
    entries = [entry for entry in _all(journal) if entry.partition(":")[0] != transaction_id]
    journal.set(direct=entries or None, tries=None)


def _all(journal):
    entries = journal.get("direct") or []
    return [entries] if isinstance(entries, str) else entries  # format of an earlier version


async def _connect(session, address, interface):
    """Es9 or Es11 with the server of that address; the connection is made with the first request."""
    host, _, port = address.partition(":")
    if port and not port.isdigit():
        raise DownloadFailed("the port in {} is no number".format(address))
    try:
        fit(host or "?")
    except SocketError as error:
        raise DownloadFailed(str(error)) from None
    anchors = await _anchors(session)
    if session.set_aside is not None:
        session.set_aside()
    return interface(Https(session.tcp, host, int(port or _HTTPS_PORT), (interface.ROLE,) + anchors, HEADERS))


async def _anchors(session):
    """The trust anchors for an SM-DP+: the configured roots, and the eIM's certificate if it is the card's CI."""
    anchors = []
    try:
        with open(session.roots_file, "rb") as file:
            for _, _, raw in tlv.items(file.read()):
                anchors.append(raw)
    except OSError as error:
        memory.check_code(error)  # otherwise the card's anchor may be sufficient
    except tlv.TlvError as error:
        raise DownloadFailed("{}: {}".format(session.roots_file, error)) from None
    kind, anchor = session.trust[:2]
    if kind == "ca":
        key_id = _extension(anchor, _SUBJECT_KEY_IDENTIFIER, 0x04)
        known = tlv.find(await session.es10.get_euicc_info_1(), 0xBF20, 0xA9) or b""
        if any(key_id == value for _, value, _ in tlv.items(known)):
            anchors.append(anchor)
    return tuple(anchors)


def _extension(certificate, oid, *path):
    """The element at `path` inside the certificate extension with this OID, or None."""
    for _, extension, _ in tlv.items(tlv.find(certificate, 0x30, 0x30, 0xA3, 0x30)):
        if tlv.find(extension, 0x06) == oid:
            return tlv.find(tlv.find(extension, 0x04), *path)
    return None


def _encoded(oid):
    """The contents octets of an OBJECT IDENTIFIER written with dots (X.690 8.19)."""
    try:
        first, second, *rest = [int(arc) for arc in oid.split(".")]
    except ValueError:
        raise DownloadFailed("{} is no OID".format(oid)) from None
    out = bytearray()
    for arc in [40 * first + second] + rest:
        for shift in range(28, 0, -7):
            if arc >> shift:
                out.append(0x80 | arc >> shift & 0x7F)
        out.append(arc & 0x7F)
    return bytes(out)
