"""Says to an eIM only what it cannot know: the compact forms of SGP.32 5.14 (minimizeEsipaBytes).

Loaded where the settings ask for it. The eIM puts together what the card signed and checks the signature; where it
cannot, it says so, and the plain form follows. What is not exactly of the known form is not shortened.
"""

from ipa import tlv
from ipa.compat import INFO, const, log
from ipa.net import ChannelRefused, EsipaRefused

_SIGNATURE = const(0x5F37)
_ONE_TIME_KEY = const(0x5F49)
_EUICC_INFO_2 = const(0xBF22)
_EXT_CARD_RESOURCE = const(0x84)
_NOTIFICATION_METADATA = const(0xBF2F)
_EID = const(0x5A)

_ISD_P = b"\xa0\x00\x00\x05\x59\x10\x10\xff\xff\xff\xff\x89\x00\x00"  # all AIDs of profiles (SGP.22 annex H)
_INSTALLED = b"\x07\x80"

# The eIM could not rebuild it: euiccSignatureInvalid of the function, or no word that fits better
_UNDEFINED_ERROR = const(127)
_JSON_CODES = ("8.1/6.1", "1.6/4.2")


class Compact:
    """The functions of `esipa`, in fewer bytes, for the card with this EID."""

    def __init__(self, esipa, eid):
        self._esipa = esipa
        self._eid = eid
        self._plain = False  # for the rest of this conversation
        self._context = True  # ctxParams1 is ours, and not the eIM's
        self._offered = None  # the one-time key to which a package is bound already

    def __getattr__(self, name):
        return getattr(self._esipa, name)

    async def initiate_authentication(self, challenge, address=None, euicc_info_1=b"", transaction=None):
        """Without euiccInfo1, which the eIM cuts from the card's EUICCInfo2."""
        ask = self._esipa.initiate_authentication
        fields = await self._say(
            _UNDEFINED_ERROR,
            b"" if euicc_info_1 else None,
            euicc_info_1,
            lambda info: ask(challenge, address, info, transaction),
        )
        self._context = tlv.find(fields, 0xA2) is None
        return fields

    async def authenticate_client(self, transaction_id, response):
        ask = self._esipa.authenticate_client
        fields = await self._say(
            5, _server_answer(response, self._context), response, lambda form: ask(transaction_id, form)
        )
        offered = tlv.find_raw(fields, 0x30, _ONE_TIME_KEY)
        self._offered = None if offered is None else bytes(offered)
        return fields

    async def get_bound_profile_package(self, transaction_id, response):
        ask = self._esipa.get_bound_profile_package
        return await self._say(
            1, _download_answer(response, self._offered), response, lambda form: ask(transaction_id, form)
        )

    async def cancel_session(self, transaction_id, response):
        ask = self._esipa.cancel_session
        return await self._say(2, _cancellation(response), response, lambda form: ask(transaction_id, form))

    async def handle_notification(self, pending):
        ask = self._esipa.handle_notification
        return await self._say(_UNDEFINED_ERROR, _notification(pending, self._eid), pending, ask)

    async def _say(self, code, short, plain, ask):
        """The short form, where there is one; the plain one as well when the eIM answers with `code`."""
        if short is None or self._plain:
            return await ask(plain)
        try:
            return await ask(short)
        except EsipaRefused as error:
            unclear = isinstance(error.code, ChannelRefused) or error.code in (code, _UNDEFINED_ERROR) + _JSON_CODES
            if error.temporary or not unclear:
                raise
            log(INFO, "compact: the plain form follows:", error)
        self._plain = True
        return await ask(plain)


def _fields(value, *tags):
    """The raw TLVs of a value, when they have exactly these tags; else None."""
    found = []
    for tag, _, raw in tlv.items(value):
        if len(found) == len(tags) or tag != tags[len(found)]:
            return None
        found.append(raw)
    return found if len(found) == len(tags) else None


def _server_answer(response, context):
    """BF38{A0}: the certificates go, and of euiccSigned1 all but extCardResource and our ctxParams1."""
    parts = _fields(tlv.find(response, 0xBF38, 0xA0), 0x30, _SIGNATURE, 0x30, 0x30)
    if parts is None:
        return None
    signed = parts[0]
    fields = _fields(tlv.find(signed, 0x30), 0x80, 0x83, 0x84, _EUICC_INFO_2, 0xA0)
    resource = None if fields is None else tlv.find_raw(fields[3], _EUICC_INFO_2, _EXT_CARD_RESOURCE)
    if resource is not None:
        signed = tlv.encode(0xA0, resource, tlv.encode(0xA2, fields[4]) if context else b"")
    return tlv.encode(0xBF38, tlv.encode(0xA2, signed, parts[1]))


def _download_answer(response, offered):
    """BF21{A0}: the transactionId goes, and a one-time key that the SM-DP+ had named."""
    parts = _fields(tlv.find(response, 0xBF21, 0xA0), 0x30, _SIGNATURE)
    if parts is None:
        return None
    signed = tlv.find(parts[0], 0x30)
    fields = _fields(signed, 0x80, _ONE_TIME_KEY) or _fields(signed, 0x80, _ONE_TIME_KEY, 0x04)
    if fields is None:
        return None
    kept = fields[2:] if fields[1] == offered else fields[1:]
    return tlv.encode(0xBF21, tlv.encode(0xA2, tlv.encode(0x30, *kept), parts[1]))


def _cancellation(response):
    """The value of BF41, A0: all but the reason goes."""
    parts = _fields(tlv.find(response, 0xA0), 0x30, _SIGNATURE)
    fields = None if parts is None else _fields(tlv.find(parts[0], 0x30), 0x80, 0x81, 0x82)
    if fields is None:
        return None
    reason = tlv.encode(0x80, tlv.find(fields[2], 0x82))
    return tlv.encode(0xA2, tlv.encode(0x30, reason), parts[1])


def _notification(pending, eid):
    """A PendingNotification: its certificates go; of an installation what the eIM saw when it was relayed."""
    parts = _fields(tlv.find(pending, 0x30), _NOTIFICATION_METADATA, _SIGNATURE, 0x30, 0x30)
    if parts is not None:
        return tlv.encode(0xA1, tlv.encode(_EID, eid), parts[0], parts[1])
    parts = _fields(tlv.find(pending, 0xBF37), 0xBF27, _SIGNATURE)
    fields = None if parts is None else _fields(tlv.find(parts[0], 0xBF27), 0x80, _NOTIFICATION_METADATA, 0x06, 0xA2)
    if fields is None:
        return None
    about = tlv.find(fields[1], _NOTIFICATION_METADATA)
    whole = _fields(about, 0x80, 0x81, 0x0C, _EID)
    final = _final_result(tlv.find(fields[3], 0xA2))
    if final is None or not (whole or _fields(about, 0x80, 0x81, 0x0C)) or tlv.find(about, 0x81) != _INSTALLED:
        return None
    number = tlv.encode(0x02, tlv.find(about, 0x80))
    absent = b"" if whole else b"\x01\x01\x00"
    return tlv.encode(0xA0, tlv.encode(0xA0, fields[0], number, absent, tlv.encode(0xA2, final)), parts[1])


def _final_result(final):
    success = tlv.find(final, 0xA0)
    if success is None:
        return tlv.find_raw(final, 0xA1)
    fields = _fields(success, 0x4F, 0x04) or _fields(success, 0x4F)
    aid = tlv.find(success, 0x4F)
    if fields is None or len(aid) != 16 or aid[:14] != _ISD_P:
        return None
    return tlv.encode(0xA0, tlv.encode(0x4F, aid[14:]), *fields[1:])
