"""One eIM package, carried out and answered: eUICC packages (3.3.1), data requests, download triggers."""

from ipa import tlv
from ipa.card.channel import CardError
from ipa.card.es10 import CardRefused
from ipa.compat import ERROR, INFO, const, log
from ipa.net import EUICC_PACKAGE, IPA_EUICC_DATA, PROFILE_DOWNLOAD_TRIGGER
from ipa.steps import InvalidPackage, download, ipa_capabilities, notify

NAMES = {
    EUICC_PACKAGE: "an eUICC package",
    IPA_EUICC_DATA: "a data request",
    PROFILE_DOWNLOAD_TRIGGER: "a download trigger",
}

_LOOKED_AT = const(512)  # bytes of an eUICC package that is read to see what it does, and not streamed
_DEPTH = const(4)  # more than any field of a package that is read has

# EimPackageResultErrorCode
_INVALID_PACKAGE_FORMAT = const(1)
_UNKNOWN_PACKAGE = const(2)

# Psmo
_ENABLE = const(0xA3)
_DISABLE = const(0xA4)
_ROLLBACK_FLAG = const(0x05)

# EuiccPackageErrorCode
_REPLAY_ERROR = const(4)

# EuiccResultData
_ENABLE_RESULT = const(0x83)
_DISABLE_RESULT = const(0x84)

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

# The order in which they stand in the answer.
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


async def execute(session, package):
    """Carry out one package and answer it. Returns True when the enabled profile changes.

    Then the card waits for its REFRESH, and the result on the card, to be delivered over the new profile.
    """
    try:
        if package.tag == EUICC_PACKAGE:
            return await _euicc_package(session, package)
        if package.tag == IPA_EUICC_DATA:
            await _data_request(session, await _body(package))
        elif package.tag == PROFILE_DOWNLOAD_TRIGGER:
            return await download.run(session, await _body(package))
        else:
            log(ERROR, "package: the tag {:X} is unknown".format(package.tag))
            await _refuse(session, _UNKNOWN_PACKAGE)
    except InvalidPackage as error:
        log(ERROR, "package:", error)
        await _refuse(session, _INVALID_PACKAGE_FORMAT, error.transaction)
    return False


async def _body(package):
    try:
        body = await package.read()
        _check_form(body, _DEPTH)
        return body
    except tlv.TlvError as error:
        raise InvalidPackage(error) from error


def _check_form(body, depth):
    """Is it TLVs all the way down? Then nobody below has to doubt it."""
    for _, value, raw in tlv.items(body):
        if raw[0] & 0x20 and depth:
            _check_form(value, depth - 1)


async def _refuse(session, code, transaction=None):
    """eimPackageResultResponseError, with the eimTransactionId of what is refused."""
    echo = b"" if transaction is None else tlv.encode(0x80, transaction)
    await notify.provide(session, tlv.encode(0xA0, echo, tlv.encode_integer(0x02, code)))


# eUICC package, 3.3.1


async def _euicc_package(session, package):
    log(INFO, "package: an eUICC package of", package.length, "bytes goes to the card")
    if package.length <= _LOOKED_AT:
        body = await package.read()
        switch = _switch(body)
        parts, stream, length = (body,), None, 0
    else:
        switch = {"undo": "rollback"}  # should it be one: a card that did not allow it will say so
        parts, stream, length = (), package.reader, package.length
    if switch is not None:
        session.journal.set(switch=dict(switch, eim=session.eim_id.hex()))
    result = await session.es10.load_euicc_package(*parts, stream=stream, length=length)  # steps 3 to 8
    if profile_changes(result):
        log(INFO, "package: executed, the profile changes and the card waits for REFRESH")
        return True
    if switch is not None:
        session.journal.set(switch=None)
    if _error_code(result) == _REPLAY_ERROR:
        # Executed before and the answer lost: what the eIM wants is the result the card has kept.
        log(INFO, "package: the card has executed it before, its result is looked for")
        error = bytes(result)
        result = _kept(await session.es10.retrieve_results(), _identity(error)) or error
    acknowledged = await notify.provide(session, result)  # steps 10 to 17
    log(INFO, "package: result delivered,", len(acknowledged), "acknowledged and removed from the card")
    return False


def _switch(body):
    """What the journal must know of a package that enables or disables a profile, None of any other."""
    switch = None
    try:
        for tag, value, _ in tlv.items(tlv.find(body, 0x30, 0xA0) or b""):
            if tag == _ENABLE and tlv.find(value, _ROLLBACK_FLAG) is not None:
                return {"undo": "rollback"}
            if tag in (_ENABLE, _DISABLE):
                switch = {}
    except tlv.TlvError as error:
        log(ERROR, "package:", error)  # the card has its own way to say so
    return switch


def profile_changes(result):
    """Does an EuiccPackageResult tell of a profile enabled or disabled? Not every modem lets 91xx through."""
    results = tlv.find(_signed(result, 0xA0), 0x30)
    return any(
        tag in (_ENABLE_RESULT, _DISABLE_RESULT) and tlv.integer(value) == 0
        for tag, value, _ in tlv.items(results or b"")
    )


def _signed(result, form):
    """What is signed in a result (A0) or an error (A1): the value of the 30 inside."""
    _, start, _ = tlv.header(result)
    return tlv.find(result[start:], form, 0x30) or b""


def _error_code(result):
    code = tlv.find(_signed(result, 0xA1), 0x02)
    return None if code is None else tlv.integer(code)


def _identity(result):
    """What tells one package from another: eimId, counterValue, eimTransactionId."""
    signed = _signed(result, 0xA0) or _signed(result, 0xA1)
    return [bytes(raw) for tag, _, raw in tlv.items(signed) if tag in (0x80, 0x81, 0x82)]


def _kept(results, identity):
    for _, _, raw in tlv.items(results):
        if _identity(raw) == identity:
            return raw
    return None


# IPA eUICC data request


async def _data_request(session, body):
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
        except (CardError, MemoryError) as error:  # the eIM may ask for less
            log(ERROR, "package:", error)
            refused = isinstance(error, CardRefused) and error.function == "GetCerts"
            code = _CI_PK_ID_NOT_FOUND if refused and error.code == _INVALID_CI_PK_ID else _UNDEFINED_ERROR
    if code is not None:
        echo = b"" if transaction is None else tlv.encode(0x80, transaction)
        parts = (tlv.encode(0xA1, echo, tlv.encode_integer(0x02, code)),)
    size = sum(len(part) for part in parts)
    await notify.provide(session, tlv.head(IPA_EUICC_DATA, size), *parts)


def _tags(tag_list, transaction):
    found = []
    pos = 0
    while pos < len(tag_list):
        two = tag_list[pos] & 0x1F == 0x1F
        if pos + two >= len(tag_list):
            raise InvalidPackage("a tagList cut short", transaction)
        found.append(tag_list[pos] << 8 | tag_list[pos + 1] if two else tag_list[pos])
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
                field = await self._field(tag)
                if field is not None:
                    parts.append(bytes(field))
        parts.insert(0, tlv.head(0xA0, sum(len(part) for part in parts)))
        return parts

    async def _field(self, tag):
        es10 = self._session.es10
        if tag == _NOTIFICATIONS_LIST:
            search = tlv.find_raw(self._request, 0xA1)
            # The A1 of the request holds the very choice that the card wants in A0.
            search = b"" if search is None else tlv.encode(0xA0, tlv.find(search, 0xA1))
            return tlv.encode(tag, await es10.retrieve_notifications(search))
        if tag == _PACKAGE_RESULT_LIST:
            return tlv.encode(tag, *self._results(await es10.retrieve_results()))
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

    def _results(self, results):
        wanted = tlv.find(self._request, 0xA2, 0x80)
        for _, value, raw in tlv.items(results):
            if wanted is None or notify.result_seq_number(value) == tlv.integer(wanted):
                yield raw


def _field_as(tag, source, *path):
    value = tlv.find(source, *path)
    return None if value is None else tlv.encode(tag, value)
