"""The functions of ES10a and ES10b that every poll needs (SGP.32 5.8, 5.9; SGP.22 5.7); ipa.card.local has the others.

Each sends its command through the channel and returns a view of the raw answer, outer tag included, valid
until the next command. Where the answer is one small value, the value itself is returned.
"""

from ipa import tlv
from ipa.card.channel import CardError, StatusError
from ipa.compat import INFO, const, log

_LOAD_EUICC_PACKAGE = const(0xBF51)
_EUICC_INFO_1 = const(0xBF20)
_EUICC_INFO_2 = const(0xBF22)
_PREPARE_DOWNLOAD = const(0xBF21)
_LIST_NOTIFICATION = const(0xBF28)
_RETRIEVE_NOTIFICATIONS = const(0xBF2B)
_GET_PROFILES_INFO = const(0xBF2D)
_GET_EUICC_CHALLENGE = const(0xBF2E)
_NOTIFICATION_METADATA = const(0xBF2F)
_REMOVE_NOTIFICATION = const(0xBF30)
_AUTHENTICATE_SERVER = const(0xBF38)
_GET_CONFIGURED_DATA = const(0xBF3C)
_GET_EUICC_DATA = const(0xBF3E)
_CANCEL_SESSION = const(0xBF41)
_GET_EIM_CONFIGURATION_DATA = const(0xBF55)
_GET_CERTS = const(0xBF56)
_ADD_INITIAL_EIM = const(0xBF57)

_NO_RESULT_AVAILABLE = const(1)  # as cards of SGP.22 v2 say that nothing waits
_NOTHING_TO_DELETE = const(1)
_ANY_LENGTH = const(0x7FFFFFFF)


class CardRefused(CardError):
    """The card understood the command and answered with an error code of that function."""

    def __init__(self, function, code):
        super().__init__("{}: the card refused with {}".format(function, code))
        self.function = function
        self.code = code


class UnexpectedAnswer(CardError):
    pass


class Es10:
    lists = None  # does it list the results that it keeps? Not known until it has been asked

    def __init__(self, channel):
        self.channel = channel

    async def call(self, tag, *parts, stream=None, length=0):
        """Send `tag` around the parts and the stream; the answer must be one TLV under the same tag."""
        size = sum(len(part) for part in parts) + length
        answer = await self.channel.store(tlv.head(tag, size), *parts, stream=stream, length=length, answered=True)
        return _checked(tag, answer)

    async def ask(self, tag, *parts):
        """As call, of a function that changes nothing on the card."""
        return _checked(tag, await self.channel.read(tlv.head(tag, sum([len(part) for part in parts])), *parts))

    async def get_eid(self):  # SGP.32 5.9.19 -> 16 bytes
        eid = tlv.find(await self.ask(_GET_EUICC_DATA, b"\x5c\x01\x5a"), _GET_EUICC_DATA, 0x5A)
        if eid is None or len(eid) != 16:
            raise UnexpectedAnswer("GetEID without an EID")
        return bytes(eid)

    async def get_euicc_info_1(self):
        return await self.ask(_EUICC_INFO_1)

    async def get_euicc_info_2(self):
        return await self.ask(_EUICC_INFO_2)

    async def ipa_mode(self):
        """Who is in charge by EUICCInfo2: 0 an IPA in the device, 1 one in the card; None on no card of SGP.32."""
        try:
            info = await self.get_euicc_info_2()
        except StatusError:
            return None
        mode = tlv.find(info, _EUICC_INFO_2, 0x90)
        if mode is None:
            return None if tlv.find(info, _EUICC_INFO_2, 0xB4) is None else 0
        return tlv.integer(mode)

    async def get_euicc_challenge(self):  # -> 16 bytes
        challenge = tlv.find(await self.ask(_GET_EUICC_CHALLENGE), _GET_EUICC_CHALLENGE, 0x80)
        if challenge is None or len(challenge) != 16:
            raise UnexpectedAnswer("GetEuiccChallenge without 16 bytes")
        return bytes(challenge)

    async def get_profiles_info(self, tags):
        """`tags` lists what is wanted of each profile; one the card does not know spoils the whole list."""
        return await self.ask(_GET_PROFILES_INFO, tlv.encode(0x5C, tags))

    async def get_euicc_configured_data(self):  # SGP.32 5.8.1
        return await self.ask(_GET_CONFIGURED_DATA)

    # eIM configuration

    async def find_eim(self, eim_id=None, but=()):
        """5.9.18: the value of the EimConfigurationData of this eIM, or of the first not in `but`; else None."""
        answer = await self.ask(_GET_EIM_CONFIGURATION_DATA)
        for tag, value, _ in tlv.items(tlv.find(answer, _GET_EIM_CONFIGURATION_DATA, 0xA0)):
            found = bytes(tlv.find(value, 0x80) or b"") if tag == 0x30 else None
            if found is not None and (found == eim_id if eim_id else found not in but):
                return value
        return None

    async def add_initial_eim(self, configuration):
        """5.9.4; `configuration` is one EimConfigurationData (30...). All or nothing."""
        answer = await self.call(_ADD_INITIAL_EIM, tlv.head(0xA0, len(configuration)), configuration)
        if tlv.find(answer, _ADD_INITIAL_EIM, 0xA0) is None:
            raise CardRefused("AddInitialEim", _code(answer, _ADD_INITIAL_EIM))

    async def get_certs(self, ci_pk_id=None):
        """5.9.10 -> BF56{A0{A5 EUM, A6 eUICC}} or CardRefused(1) when no certificate is under that CI."""
        answer = await self.ask(_GET_CERTS, *(() if ci_pk_id is None else (tlv.encode(0x80, ci_pk_id),)))
        if tlv.find(answer, _GET_CERTS, 0xA0) is None:
            raise CardRefused("GetCerts", _code(answer, _GET_CERTS))
        return answer

    # eUICC packages

    async def load_euicc_package(self, *parts, stream=None, length=0):
        """5.9.1: the value of the eIM's BF51 unchanged, in parts or as a stream. Returns BF51{A0|A1|A2}."""
        return await self.call(_LOAD_EUICC_PACKAGE, *parts, stream=stream, length=length)

    # Notifications and results

    async def list_notifications(self):
        """The seqNumbers of all pending notifications, ascending. Package results are not among them."""
        answer = await self.ask(_LIST_NOTIFICATION)
        listed = tlv.find(answer, _LIST_NOTIFICATION, 0xA0)
        if listed is None:
            raise CardRefused("ListNotification", _code(answer, _LIST_NOTIFICATION))
        found = []
        for tag, value, _ in tlv.items(listed):
            number = tlv.find(value, 0x80) if tag == _NOTIFICATION_METADATA else None
            if number is not None:
                found.append(tlv.integer(number))
        found.sort()
        return found

    async def retrieve_notification(self, seq_number):
        """5.9.11 -> view of the PendingNotification TLV, None when the card has none of that number."""
        search = tlv.encode(0xA0, tlv.encode_integer(0x80, seq_number))
        return await self._first(search, 0xA0)

    async def retrieve_notifications(self, search=b""):
        """`search`: nothing, or the A0{...} of RetrieveNotificationsList. -> view of the list's value."""
        return self._list(await self.ask(_RETRIEVE_NOTIFICATIONS, search), 0xA0)

    async def retrieve_results(self):
        """-> view of the stored eUICC package results, one BF51 after the other, oldest first.

        As many as there is room for: a card may keep more than it can be let to say at once, and none of them
        leaves it without having been delivered.
        """
        answer = await self.channel.read(b"\xbf\x2b\x04\xa0\x02\x82\x00", cut=True)
        tag, start, end = tlv.header(answer, 0, _ANY_LENGTH)
        if tag != _RETRIEVE_NOTIFICATIONS or end <= len(answer):
            return self._list(_checked(_RETRIEVE_NOTIFICATIONS, answer), 0xA2)
        tag, start, _ = tlv.header(answer, start, _ANY_LENGTH)
        end = start
        try:
            while tag == 0xA2:
                _, _, end = tlv.header(answer, end)
        except tlv.TlvError:
            log(INFO, "card: more results than fit", end, "bytes are taken first")
        return answer[start:end]

    async def _first(self, search, kind):
        for _, _, raw in tlv.items(self._list(await self.ask(_RETRIEVE_NOTIFICATIONS, search), kind)):
            return raw
        return None

    def _list(self, answer, kind):
        for tag, value, _ in tlv.items(tlv.find(answer, _RETRIEVE_NOTIFICATIONS)):
            if tag == kind:
                return value
            if tag == 0x81 and tlv.integer(value) != _NO_RESULT_AVAILABLE:
                raise CardRefused("RetrieveNotificationsList", tlv.integer(value))
        return b""

    async def remove_notification(self, seq_number):
        """Notifications and results alike. Already gone is as good as removed."""
        answer = await self.ask(_REMOVE_NOTIFICATION, tlv.encode_integer(0x80, seq_number))
        code = _code(answer, _REMOVE_NOTIFICATION, 0x80)
        if code not in (0, _NOTHING_TO_DELETE):
            raise CardRefused("RemoveNotificationFromList", code)

    # Profile download, SGP.22 3.1.3 from the card's side

    async def authenticate_server(self, *parts):
        """parts: serverSigned1, serverSignature1, euiccCiPKIdToBeUsed, serverCertificate, ctxParams1."""
        return await self.call(_AUTHENTICATE_SERVER, *parts)

    async def prepare_download(self, *parts):
        """parts: smdpSigned2, smdpSignature2, hashCc when there is one, smdpCertificate."""
        return await self.call(_PREPARE_DOWNLOAD, *parts)

    async def cancel_session(self, transaction_id, reason):
        reason = tlv.encode_integer(0x81, reason)
        return await self.call(_CANCEL_SESSION, tlv.encode(0x80, transaction_id), reason)


def _checked(tag, answer):
    got, _, end = tlv.header(answer)
    if got != tag:
        raise UnexpectedAnswer("{:X} where {:X} was due".format(got, tag))
    return answer[:end]


def _code(answer, tag, inner=0x81):
    value = tlv.find(answer, tag, inner)
    if value is None:
        raise UnexpectedAnswer("{:X} with neither result nor error".format(tag))
    return tlv.integer(value)
