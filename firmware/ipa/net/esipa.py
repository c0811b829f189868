"""ESipa in its ASN.1 binding: what the assistant says to the eIM, what it makes of the answers (SGP.32 6.3).

Requests are tuples of parts which the link copies block by block: what a card signed goes out as the card
wrote it. Answers are streams; what must be looked at as a whole is read into memory up to a limit, what goes
to the card (eUICC packages, bound profile packages) stays in the stream.
"""

from ipa import tlv
from ipa.compat import const
from ipa.net import EIM_ACKNOWLEDGEMENTS, ChannelRefused, EsipaMalformed, EsipaRefused, Package

_INITIATE_AUTHENTICATION = const(0xBF39)
_GET_BOUND_PROFILE_PACKAGE = const(0xBF3A)
_AUTHENTICATE_CLIENT = const(0xBF3B)
_HANDLE_NOTIFICATION = const(0xBF3D)
_CANCEL_SESSION = const(0xBF41)
_GET_EIM_PACKAGE = const(0xBF4F)
_PROVIDE_EIM_PACKAGE_RESULT = const(0xBF50)
_BOUND_PROFILE_PACKAGE = const(0xBF36)

_EID = const(0x5A)
_INTEGER = const(0x02)
_OK = const(0xA0)

_NO_EIM_PACKAGE_AVAILABLE = const(1)
_SMALL_ANSWER = const(512)
_LARGE_ANSWER = const(4096)  # a certificate and, with AuthenticateClient, metadata with an icon

_NAMES = {
    _INITIATE_AUTHENTICATION: "InitiateAuthentication",
    _GET_BOUND_PROFILE_PACKAGE: "GetBoundProfilePackage",
    _AUTHENTICATE_CLIENT: "AuthenticateClient",
    _HANDLE_NOTIFICATION: "HandleNotification",
    _CANCEL_SESSION: "CancelSession",
    _GET_EIM_PACKAGE: "GetEimPackage",
    _PROVIDE_EIM_PACKAGE_RESULT: "ProvideEimPackageResult",
}


class Esipa:
    def __init__(self, link):
        self._link = link
        self._body = None

    def close(self):
        """Forget what is left of the last answer."""
        if self._body is not None:
            self._body.close()
            self._body = None

    async def _exchange(self, tag, parts):
        self.close()
        request = (tlv.head(tag, sum(len(part) for part in parts)),) + parts
        try:
            self._body = await self._link.exchange(request)
        except ChannelRefused as error:
            raise EsipaRefused(_NAMES[tag], error) from None
        return tlv.Reader(self._body)

    async def _ask(self, tag, *parts):
        """The reader behind the answer's outer header, and the length that header gives."""
        reader = await self._exchange(tag, parts)
        got, length = await reader.header()
        if got != tag:
            raise EsipaMalformed(_NAMES[tag], "answered with {:X}".format(got))
        return reader, length

    async def _inside(self, tag, error_tag, reader, room):
        """Enter the A0 of a good answer, or raise its error. Returns the length inside.

        Some eIMs leave the A0 out: then the first field has been entered already and its tag says so.
        """
        inner, length = await reader.header()
        if len(reader.head) + length > room:
            raise EsipaMalformed(_NAMES[tag], "{:X} is longer than what holds it".format(inner))
        if inner == error_tag:
            raise EsipaRefused(_NAMES[tag], tlv.integer(await reader.read(length, 4)))
        return inner, length

    async def _whole(self, tag, error_tag, *parts):
        """The value of the answer's A0 as bytes."""
        reader, length = await self._ask(tag, *parts)
        body = memoryview(await reader.read(length, _LARGE_ANSWER))
        self.close()
        inner, start, end = tlv.header(body)
        if inner == error_tag:
            raise EsipaRefused(_NAMES[tag], tlv.integer(body[start:end]))
        return body[start:end] if inner == _OK else body  # some leave the A0 out

    # eIM packages

    async def get_eim_package(self, eid, rplmn=None, cause=None):
        """3.1.1.1; `rplmn` are 3 bytes, `cause` is a stateChangeCause. Returns a Package, None without one."""
        parts = (tlv.encode(_EID, eid),)
        if cause is not None:
            parts += (b"\x80\x00", tlv.encode_integer(0x81, cause))
        if rplmn is not None:
            parts += (tlv.encode(0x82, rplmn),)
        reader, room = await self._ask(_GET_EIM_PACKAGE, *parts)
        try:
            tag, length = await self._inside(_GET_EIM_PACKAGE, _INTEGER, reader, room)
        except EsipaRefused as error:
            if error.code == _NO_EIM_PACKAGE_AVAILABLE:
                return None
            raise
        return Package(tag, length, reader)

    async def provide_eim_package_result(self, eid, *result):
        """Returns the seqNumbers which the eIM acknowledges, to be removed from the card."""
        reader = await self._exchange(_PROVIDE_EIM_PACKAGE_RESULT, (tlv.encode(_EID, eid),) + result)
        try:
            tag, length = await reader.header()
        except tlv.TlvError:
            if reader.position:
                raise
            return []  # no body at all
        if tag != _PROVIDE_EIM_PACKAGE_RESULT:
            raise EsipaMalformed(_NAMES[_PROVIDE_EIM_PACKAGE_RESULT], "answered with {:X}".format(tag))
        acknowledged = []
        # BF5000 is an empty answer of 1.1, BF50023000 one of 1.2.
        for tag, value, _ in tlv.items(await reader.read(length, _SMALL_ANSWER)):
            if tag == _INTEGER:
                raise EsipaRefused(_NAMES[_PROVIDE_EIM_PACKAGE_RESULT], tlv.integer(value))
            if tag == EIM_ACKNOWLEDGEMENTS:
                acknowledged.extend(tlv.integer(seq) for inner, seq, _ in tlv.items(value) if inner == 0x80)
        self.close()
        return acknowledged

    async def handle_notification(self, pending_notification):
        """Hand a PendingNotification over. Returning means that the eIM has it."""
        await self._exchange(
            _HANDLE_NOTIFICATION, (tlv.head(0xA0, len(pending_notification)), pending_notification)
        )
        self.close()

    # Indirect profile download, 3.2.3.2

    async def initiate_authentication(self, challenge, address=None, euicc_info_1=b"", transaction=None):
        """`transaction` is the trigger's eimTransactionId. Returns the fields, from transactionId on."""
        parts = (tlv.encode(0x81, challenge),)
        if address is not None:
            parts += (tlv.encode(0x83, address.encode()),)
        parts += (euicc_info_1,)
        if transaction is not None:
            parts += (tlv.encode(0x82, transaction),)
        return await self._whole(_INITIATE_AUTHENTICATION, 0x81, *parts)

    async def authenticate_client(self, transaction_id, response):
        """`response` is the card's BF38."""
        fields = await self._whole(_AUTHENTICATE_CLIENT, 0x82, tlv.encode(0x80, transaction_id), response)
        _same_transaction(_AUTHENTICATE_CLIENT, transaction_id, tlv.find(fields, 0x80))
        return fields

    async def get_bound_profile_package(self, transaction_id, response):
        """`response` is the card's BF21. Returns (reader behind the header of BF36, length of its value)."""
        tag = _GET_BOUND_PROFILE_PACKAGE
        reader, room = await self._ask(tag, tlv.encode(0x80, transaction_id), response)
        inner, length = await self._inside(tag, 0x81, reader, room)
        if inner == _OK:
            inner, length = await self._inside(tag, None, reader, length)
        if inner == 0x80:
            _same_transaction(tag, transaction_id, await reader.read(length, 16))
            inner, length = await self._inside(tag, None, reader, room)
        if inner != _BOUND_PROFILE_PACKAGE:
            raise EsipaMalformed(_NAMES[tag], "{:X} where the package was due".format(inner))
        return reader, length

    async def cancel_session(self, transaction_id, response):
        """`response` is the value of the card's BF41, which goes into A1 without its tag (X.680 31.2.7)."""
        await self._whole(
            _CANCEL_SESSION, 0x81, tlv.encode(0x80, transaction_id), tlv.head(0xA1, len(response)), response
        )


def _same_transaction(tag, transaction, other):
    if other is not None and bytes(other) != bytes(transaction):
        raise EsipaMalformed(_NAMES[tag], "answers another transaction")
