"""Answers an IpaEuiccDataRequest with data of card and device (SGP.32 2.11.1.2, 2.11.2.2)."""

from ipa import tlv
from ipa.card.channel import CardError
from ipa.card.es10 import CardRefused
from ipa.compat import ERROR, INFO, const, log
from ipa.net import IPA_EUICC_DATA
from ipa.steps import InvalidPackage, ipa_capabilities, known, notify

# GetCertsResponse
_INVALID_CI_PK_ID = const(1)

# IpaEuiccDataErrorCode
_INCORRECT_TAG_LIST = const(1)
_CI_PK_ID_NOT_FOUND = const(5)
_UNDEFINED_ERROR = const(127)
_ECALL_ACTIVE = const(104)

# Fields of IpaEuiccData
_NOTIFICATIONS_LIST = const(0xA0)
_DEFAULT_SMDP_ADDRESS = const(0x81)
_PACKAGE_RESULT_LIST = const(0xA2)
_EUICC_INFO_1 = const(0xBF20)
_EUICC_INFO_2 = const(0xBF22)
_ROOT_SMDS_ADDRESS = const(0x83)
_ASSOCIATION_TOKEN = const(0x84)
_EUM_CERTIFICATE = const(0xA5)
_EUICC_CERTIFICATE = const(0xA6)
_EIM_TRANSACTION_ID = const(0x87)
_IPA_CAPABILITIES = const(0xA8)
_DEVICE_INFO = const(0xA9)

# Their order in the answer.
_FIELDS = (
    _NOTIFICATIONS_LIST,
    _DEFAULT_SMDP_ADDRESS,
    _PACKAGE_RESULT_LIST,
    _EUICC_INFO_1,
    _EUICC_INFO_2,
    _ROOT_SMDS_ADDRESS,
    _ASSOCIATION_TOKEN,
    _EUM_CERTIFICATE,
    _EUICC_CERTIFICATE,
    _EIM_TRANSACTION_ID,
    _IPA_CAPABILITIES,
    _DEVICE_INFO,
)


async def request(session, body):
    """Answer one request; if that is not possible, with an error code. Raises InvalidPackage."""
    tag_list = tlv.find(body, 0x5C)
    transaction = tlv.find(body, 0x83)
    if tag_list is None:
        raise InvalidPackage("a data request without tagList", transaction)
    wanted = _tags(tag_list, transaction)
    log(INFO, "package: the eIM asks for", " ".join("{:X}".format(tag) for tag in wanted))
    code = None
    if session.journal.get("emergency"):
        code = _ECALL_ACTIVE
    elif any(tag not in _FIELDS for tag in wanted):
        code = _INCORRECT_TAG_LIST
    else:
        try:
            parts = await _Data(session, body).collect(wanted)
        except (CardError, tlv.TlvError, MemoryError) as error:  # the eIM may request less
            log(ERROR, "package:", error)
            refused = isinstance(error, CardRefused) and error.function == "GetCerts"
            code = _CI_PK_ID_NOT_FOUND if refused and error.code == _INVALID_CI_PK_ID else _UNDEFINED_ERROR
    if code is not None:
        echo = b"" if transaction is None else tlv.encode(0x80, transaction)
        parts = (tlv.encode(0xA1, echo, tlv.encode_integer(0x02, code)),)
    size = sum(len(part) for part in parts)
    await notify.provide(session, tlv.head(IPA_EUICC_DATA, size), *parts)
    if code is None:
        known.note(session, parts[1:])


def _tags(value, transaction):
    found = []
    pos = 0
    while pos < len(value):
        two = value[pos] & 0x1F == 0x1F
        if pos + two >= len(value):
            raise InvalidPackage("a tagList cut short", transaction)
        found.append(value[pos] << 8 | value[pos + 1] if two else value[pos])
        pos += 1 + two
    return found


class _Data:
    """IpaEuiccData, field by field. Every field is copied: the next card command overwrites its view."""

    def __init__(self, session, body):
        self._session = session
        self._request = body

    async def collect(self, wanted):
        """The parts of A0{...}, without what the card does not have."""
        parts = []
        for tag in _FIELDS:
            if tag in wanted or tag == _EIM_TRANSACTION_ID:
                field = await self._copy(tag)
                if field is not None:
                    parts.append(field)
        self._session.es10.channel.let_go()
        parts.insert(0, tlv.head(0xA0, sum(len(part) for part in parts)))
        return parts

    async def _copy(self, tag):
        """A coroutine of its own: nothing keeps the view, and with it the card's answer, when it has ended."""
        field = await self._field(tag)
        return None if field is None else bytes(field)

    async def _field(self, tag):
        es10 = self._session.es10
        if tag == _NOTIFICATIONS_LIST:
            search = tlv.find_raw(self._request, 0xA1)
            # The A1 of the request contains the same choice that the card expects in A0.
            search = b"" if search is None else tlv.encode(0xA0, tlv.find(search, 0xA1))
            return tlv.encode(tag, *self._notifications(await notify.asked(es10.retrieve_notifications(search))))
        if tag == _PACKAGE_RESULT_LIST:
            return tlv.encode(tag, *self._results(await notify.asked(es10.retrieve_results())))
        if tag == _DEFAULT_SMDP_ADDRESS:
            return _field_as(tag, await es10.get_euicc_configured_data(), 0xBF3C, 0x80)
        if tag == _ROOT_SMDS_ADDRESS:
            return _field_as(tag, await es10.get_euicc_configured_data(), 0xBF3C, 0x81)
        if tag == _EUICC_INFO_1:
            return await es10.get_euicc_info_1()
        if tag == _EUICC_INFO_2:
            return await es10.get_euicc_info_2()
        if tag == _ASSOCIATION_TOKEN:
            configuration = await es10.find_eim(self._session.eim_id)
            return None if configuration is None else tlv.find_raw(configuration, 0x84)
        if tag in (_EUM_CERTIFICATE, _EUICC_CERTIFICATE):
            return tlv.find_raw(await es10.get_certs(tlv.find(self._request, 0x04)), 0xBF56, 0xA0, tag)
        if tag == _EIM_TRANSACTION_ID:
            return _field_as(tag, self._request, 0x83)
        if tag == _IPA_CAPABILITIES:
            return tlv.encode(tag, ipa_capabilities(self._session))
        return tlv.encode(tag, self._session.device_info)

    def _notifications(self, pending):
        for _, _, raw in tlv.items(pending):
            seq_number = notify.seq_number(raw)
            if not notify.is_anothers(self._session, raw, seq_number):
                self._session.sent.add(seq_number)
                yield raw

    def _results(self, results):
        wanted = tlv.find(self._request, 0xA2, 0x80)
        for _, value, raw in tlv.items(results):
            if notify.is_own(self._session, value):
                if wanted is None or notify.result_seq_number(value) == tlv.integer(wanted):
                    notify.sent(self._session, value)
                    yield raw


def _field_as(tag, source, *path):
    value = tlv.find(source, *path)
    return None if value is None else tlv.encode(tag, value)
