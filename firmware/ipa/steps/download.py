"""A profile download through the eIM, from the trigger to the acknowledged result (SGP.32 3.2.3.2).

If it fails before the card has a result, the session on the card and with the eIM is cancelled and the failure is
reported; later the result itself reports it. A lost network or modem does not end it: the eIM offers the trigger again.
"""

from ipa import tlv
from ipa.card.channel import CardError, CommandCut
from ipa.compat import DEBUG, ERROR, INFO, const, log, unload
from ipa.modem import ModemError
from ipa.net import EsipaRefused, NetError, Refused, ServerError
from ipa.steps import notify

# ProfileDownloadData
_CONTACT_DEFAULT_SMDP = const(0x81)
_CONTACT_SMDS = const(0xA2)

# CancelSessionReason
_PPR_NOT_ALLOWED = const(3)
_METADATA_MISMATCH = const(4)
_UNDEFINED_REASON = const(127)

# How an eIM reports that it verified the metadata (eimProfileMetadataVerification): in ASN.1 and in JSON
_EIM_PPR_NOT_ALLOWED = (50, "8.2.8/1.2")
_EIM_METADATA_MISMATCH = (50, "8.2.9/3.11")

# No other code fits (through an eIM: the SM-DP+ cannot be reached), or the server has lost the session
_MAY_PASS = (127, 10, 95, "1.6/4.2", "8.10.1/3.9")

# ProfileDownloadErrorReason
_ECALL_ACTIVE = const(104)
_UNDEFINED_ERROR = const(127)

_IMMEDIATE_ENABLE = const(0xBF5A)
_IMMEDIATE_ENABLE_PROFILE = const(5)  # stateChangeCause

_MOST_ATTEMPTS = const(5)  # after so many reboots the download itself is taken to be the reason for them
MOST_TRIES = const(8)  # attempts after temporary errors, if no eIM counts them
_MOST_EIMS = const(4)  # eIMs whose last download is stored
_KEY_ID = const(20)
_TRIGGER = " ipa.steps.trigger "
_LOADER = " ipa.card.bpp "
_LOG_EVERY = const(2048)


class DownloadFailed(Exception):
    """`cancel`: the CancelSessionReason, if there is a session. `response`: the answer of the card.

    `code`: the ProfileDownloadErrorReason for the eIM. `known`: the eIM itself has refused.
    """

    known = False

    def __init__(self, reason, cancel=None, response=b"", code=_UNDEFINED_ERROR):
        super().__init__(reason)
        self.cancel = cancel
        self.response = bytes(response)
        self.code = code


async def run(session, body):
    """Execute one trigger. Returns True if the card enables the profile immediately.

    Raises InvalidPackage, the exceptions of network and modem, and a ServerError that is `temporary`.
    """
    transaction, kind, value, source = _read(body)
    if transaction is not None:
        for eim, carried_out, seq_number in session.journal.get("ended") or ():
            if eim.encode() == session.eim_id and carried_out == transaction.hex():
                from ipa.steps import failed  # few triggers are repeated

                await failed.answer_again(session, transaction, seq_number)
                return False
    download = _download(session, transaction, kind)
    try:
        return await _to_its_end(download, kind, value, source)
    except (NetError, ModemError, ServerError):
        # This failure is not a reboot: the next attempt must not count it as one.
        attempts = session.journal.get("attempts")
        if attempts:
            session.journal.set(attempts=attempts - 1)
        raise
    finally:
        download.close()


def _read(body):
    from ipa.steps import trigger

    unload(_TRIGGER)  # makes room for the next steps
    return trigger.read(body)


async def _to_its_end(download, kind, value, source):
    session = download.session
    failure = None
    try:
        if session.journal.get("emergency"):
            raise DownloadFailed("the emergency profile is enabled", code=_ECALL_ACTIVE)
        download.begin()
        if kind == _CONTACT_SMDS:
            source = await download.discover(tlv.find(value, 0x80))
        if kind == _CONTACT_DEFAULT_SMDP:
            source = (await download.default_address(), None, "")
        log(INFO, "download: trigger for", source[0] or "the SM-DP+ that the eIM knows")
        try:
            result = await download.steps(*source)
        except DownloadFailed as error:
            instead = await download.instead(error)
            if instead is None:
                raise
            download = instead
            result = await download.steps(*source)
        result = bytes(result)
    except (DownloadFailed, UnicodeError, CardError, ServerError, tlv.TlvError) as error:
        if download.is_temporary(error):
            raise
        failure = _failure(error)
    if failure is not None:
        unload(_LOADER)  # the error that referred to it is deleted
        from ipa.steps import failed  # most downloads do not fail

        await failed.give_up(download, failure)
        session.journal.set(download=None, attempts=None, tries=None, eim=None)
        return False
    enabled = await immediate_enable(session, result) == 0
    note_end(session.journal, download.transaction, result)
    try:
        await download.deliver(result)
    except EsipaRefused as error:  # the trigger comes again, or the result is offered again
        log(ERROR, "download:", error)
    return enabled


def _failure(error):
    if isinstance(error, DownloadFailed):
        return error
    if isinstance(error, UnicodeError):
        return DownloadFailed("a name or an address that is no text")
    cancel = getattr(error, "cancel", None)  # of MetadataDiffers
    if isinstance(error, Refused) and error.code in _EIM_METADATA_MISMATCH:
        cancel = _METADATA_MISMATCH
    failure = DownloadFailed(str(error), cancel)
    failure.known = isinstance(error, EsipaRefused)
    return failure


def note_end(journal, transaction, result):
    """Record in the journal that the download of its eIM has ended with this ProfileInstallationResult."""
    eim = journal.get("eim")
    ended = [one for one in journal.get("ended") or () if one[0] != eim]
    ended.append([eim, "" if transaction is None else transaction.hex(), notify.seq_number(result)])
    journal.set(download=None, attempts=None, tries=None, eim=None, ended=ended[-_MOST_EIMS:])


async def immediate_enable(session, result):
    """ImmediateEnable. Only the card knows whether it is configured (5.9.15); it answers as long as the session exists.

    Without refreshFlag: the profile is used after the next reset, and the result is sent over the old profile. Returns
    the code of the card, 0 if it enables the profile; None if there is nothing to enable.
    """
    if tlv.find(result, 0xBF37, 0xBF27, 0xA2, 0xA1) is not None:
        return None
    try:
        code = tlv.find(await session.es10.call(_IMMEDIATE_ENABLE, b"\x80\x01\x00"), _IMMEDIATE_ENABLE, 0x80)
        code = tlv.integer(code)
    except (CardError, tlv.TlvError) as error:
        log(DEBUG, "download:", error)  # an older card
        return None
    if code == 0:
        session.journal.set(switch={"cause": _IMMEDIATE_ENABLE_PROFILE, "reset": 1})
        log(INFO, "download: the card enables the profile at once")
    return code


def _download(session, transaction, kind):
    """Directly from the SM-DP+ if the settings allow it and the trigger names one, else through the eIM."""
    if session.tcp is None or kind is None:
        return Download(session, transaction)
    from ipa.steps.direct import DirectDownload  # needs more heap; loaded only here

    return DirectDownload(session, transaction)


def installed(result):
    """Log a ProfileInstallationResult. Returns its seqNumber."""
    outcome = tlv.find(result, 0xBF37, 0xBF27, 0xA2)
    failed = tlv.find(outcome, 0xA1)
    if failed is None:
        log(INFO, "download: the profile is installed")
    else:
        command, reason = tlv.find(failed, 0x80), tlv.find(failed, 0x81)
        reason, command = bytes(reason or b"").hex(), bytes(command or b"").hex()
        log(ERROR, "download: the card refused with", int(reason or "0", 16), "at command", int(command or "0", 16))
    return notify.seq_number(result)


class Download:
    """The steps of 3.2.3.2. `server` is the eIM, which relays to the SM-DP+."""

    def __init__(self, session, transaction):
        self.session = session
        self.server = session.esipa
        self.transaction = transaction  # the eIM's
        self.transaction_id = None  # the SM-DP+'s, as soon as the card has a session with it
        self._metadata = None  # the metadata shown before the download
        self.loading = False
        self._logged = 0

    def begin(self):
        """Record that it begins, so that a download which crashes the board every time ends at some point."""
        journal = self.session.journal
        name = "" if self.transaction is None else self.transaction.hex()
        eim = str(self.session.eim_id, "utf-8")
        attempts = 1
        tries = None
        if journal.get("download") == name and journal.get("eim") == eim:
            attempts += journal.get("attempts", 0)
            tries = journal.get("tries")
        if attempts > _MOST_ATTEMPTS:
            raise DownloadFailed("cut off {} times, given up".format(_MOST_ATTEMPTS))
        journal.set(download=name, attempts=attempts, tries=tries, eim=eim)

    def is_temporary(self, error):
        """Whether the trigger stays open. An eIM itself counts how often its SM-DP+ could not be reached."""
        if getattr(error, "temporary", False) and isinstance(error, EsipaRefused):
            return True
        passes = isinstance(error, (CommandCut, tlv.TlvCut)) or isinstance(error, ServerError) and error.temporary
        if passes or isinstance(error, Refused) and error.code in _MAY_PASS:
            return self.has_another_try()
        return False

    def has_another_try(self):
        tries = self.session.journal.get("tries", 0) + 1
        self.session.journal.set(tries=tries)
        return tries < MOST_TRIES

    async def default_address(self):
        address = tlv.find(await self.session.es10.get_euicc_configured_data(), 0xBF3C, 0x80)
        if not address:
            raise DownloadFailed("the card has no default SM-DP+ address")
        return str(address, "utf-8")

    async def discover(self, address):
        """The source that an SM-DS returns, the card's SM-DS if `address` is None; in the form of trigger.read."""
        raise DownloadFailed("an SM-DS is asked only where downloads are direct")

    async def steps(self, address, matching_id, oid):
        """Steps 2 to 9. Returns the ProfileInstallationResult, valid until the next card command.

        What the trigger does not contain is None or "". The eIM checks that the SM-DP+ has this OID.
        """
        response = await self._authenticate_server(address, matching_id)
        response = await self._authenticate_client(response)  # replaces the card's answer of 1.8 kB, which is freed
        response = await self._prepare_download(response)
        reader, length = await self.bound_profile_package(response)
        response = None
        return await self._load(reader, length)

    async def instead(self, _error):
        """Another download path for the same profile after this one has failed, or None."""
        return

    async def bound_profile_package(self, response):
        """Step 9: request the package that is bound for the card's BF21. Returns a Reader and the length."""
        return await self.server.get_bound_profile_package(self.transaction_id, response)

    async def _load(self, reader, length):
        """Stream the package into the card."""
        log(INFO, "download: a package of {} kB flows into the card".format((length + 1023) // 1024))
        self.loading = True
        from ipa.card.bpp import Loader  # the buffers of the earlier steps are free now

        channel = self.session.es10.channel
        return await Loader(channel, reader, reader.head, length, self._progress, self._metadata).load()

    async def _authenticate_server(self, address, matching_id):
        """Steps 2 to 6: returns the card's BF38."""
        es10 = self.session.es10
        challenge = await es10.get_euicc_challenge()
        fields = await self.initiate(challenge, address, await es10.get_euicc_info_1())
        found = _by_tag(fields, 0x80, 0x5F37, 0x04, 0x0C, 0xA2)
        signed, certificate = _sequences(fields)
        if found[0x80] is not None and found[0x80] != tlv.find_raw(signed, 0x30, 0x80):
            raise DownloadFailed("the signed transactionId is another one")
        self.check_server(signed, certificate, challenge, address)
        if found[0xA2] is not None:  # the eIM has generated ctxParams1
            context = tlv.find(found[0xA2], 0xA2)
        else:
            if found[0x0C] is not None:
                matching_id = str(tlv.find(found[0x0C], 0x0C), "utf-8")
            context = self._context(matching_id)
        key_id = await self._whole_key_id(_needed(found, 0x04))
        response = await es10.authenticate_server(signed, _needed(found, 0x5F37), key_id, certificate, context)
        error = tlv.find(response, 0xBF38, 0xA1, 0x02)
        if error is not None:
            code = _ECALL_ACTIVE if tlv.integer(error) == _ECALL_ACTIVE else _UNDEFINED_ERROR
            raise DownloadFailed("the card does not accept the SM-DP+", response=response, code=code)
        self.transaction_id = bytes(tlv.find(signed, 0x30, 0x80))
        log(INFO, "download: the card has authenticated the SM-DP+")
        return response

    async def _whole_key_id(self, given):
        """euiccCiPKIdentifierToBeUsed as the card has it; an eIM may have sent only its first octets (v1.2)."""
        short = tlv.find(given, 0x04)
        if len(short) < _KEY_ID:
            known = tlv.find(await self.session.es10.get_euicc_info_1(), 0xBF20, 0xAA)
            for tag, key_id, raw in tlv.items(known):
                if tag == 0x04 and key_id[: len(short)] == short:
                    return bytes(raw)
        return given

    async def initiate(self, challenge, address, euicc_info_1):
        """Steps 3 to 5, without euiccInfo1 if the eIM has it."""
        from ipa.steps import known

        try:
            return await known.initiate(self.session, challenge, address, euicc_info_1, self.transaction)
        finally:
            unload()  # makes room for the profile

    def check_server(self, signed, certificate, challenge, address):
        """Check what the assistant can check in serverSigned1; the card verifies the signature."""
        if tlv.find(signed, 0x30, 0x80) is None:
            raise DownloadFailed("the SM-DP+ signed no transactionId")
        if tlv.find(signed, 0x30, 0x81) != challenge:
            raise DownloadFailed("the SM-DP+ signed another challenge")
        server = tlv.find(signed, 0x30, 0x83)
        if address is not None and (server is None or str(server, "utf-8").lower() != address.lower()):
            raise DownloadFailed("the SM-DP+ signed another address")

    def _context(self, matching_id):
        """CtxParams1 (SGP.22 5.7.13): matchingId and deviceInfo."""
        matching = tlv.encode(0x80, matching_id.encode()) if matching_id else b""
        return tlv.encode(0xA0, matching, tlv.encode(0xA1, self.session.device_info))

    async def _authenticate_client(self, response):
        """Step 7: returns what the server answers to the card's BF38."""
        try:
            fields = await self.server.authenticate_client(self.transaction_id, response)
        except Refused as error:
            if error.code in _EIM_PPR_NOT_ALLOWED:
                raise DownloadFailed(str(error), _PPR_NOT_ALLOWED) from None
            self.transaction_id = None  # the SM-DP+ has ended the session
            raise
        metadata = tlv.find(fields, 0xBF25)
        if metadata is not None:  # otherwise the eIM has verified them
            unfit = _unfit(metadata)
            if unfit is not None:
                raise DownloadFailed(*unfit)
            from ipa.card.bpp import shown

            self._metadata = shown(metadata)
            unload(_LOADER)  # until the package comes
        return fields

    async def _prepare_download(self, fields):
        """Step 8: returns the card's BF21."""
        found = _by_tag(fields, 0x5F37, 0x04)
        signed, certificate = _sequences(fields)
        confirmation = tlv.find(signed, 0x30, 0x01)
        if confirmation and confirmation[0] and found[0x04] is None:
            raise DownloadFailed("the SM-DP+ wants a confirmation code", _UNDEFINED_REASON)
        response = await self.session.es10.prepare_download(
            signed, _needed(found, 0x5F37), found[0x04] or b"", certificate
        )
        if tlv.find(response, 0xBF21, 0xA1) is not None:
            raise DownloadFailed("the card does not accept the download", _UNDEFINED_REASON, response)
        return response

    def _progress(self, done, size):
        if done - self._logged >= _LOG_EVERY or done == size:
            self._logged = done
            log(INFO, "download: {:.1f} of {:.1f} kB on the card".format(done / 1024, size / 1024))

    async def deliver(self, result):
        """Step 11: send the ProfileInstallationResult to the eIM, then delete it from the card."""
        seq_number = installed(result)
        await self.session.esipa.handle_notification(result)
        if await notify.remove(self.session.es10, seq_number):
            log(INFO, "download: result", seq_number, "delivered, removed from the card")

    def close(self):
        """Nothing to close: the association with the eIM stays open."""


def _by_tag(fields, *tags):
    """The raw TLV of each tag, None if it is absent."""
    return {tag: tlv.find_raw(fields, tag) for tag in tags}


def _needed(found, tag):
    if found[tag] is None:
        raise DownloadFailed("{:X} is missing in an answer".format(tag), _UNDEFINED_REASON)
    return found[tag]


def _sequences(fields):
    """The two SEQUENCEs of an answer: the signed data of the SM-DP+ and its certificate."""
    both = [raw for tag, _, raw in tlv.items(fields) if tag == 0x30]
    if len(both) != 2:
        raise DownloadFailed("signed data or certificate missing in an answer", _UNDEFINED_REASON)
    return both


def _unfit(metadata):
    from ipa.steps import trigger

    unload(_TRIGGER)
    return trigger.unfit(metadata)
