"""Executes one eIM package and answers it: eUICC packages (3.3.1), data requests, download triggers."""

from ipa import tlv
from ipa.card.channel import CardError, CommandCut, CommandTooLong
from ipa.compat import ERROR, INFO, const, log, unload
from ipa.net import EUICC_PACKAGE, IPA_EUICC_DATA, PROFILE_DOWNLOAD_TRIGGER
from ipa.steps import InvalidPackage, notify

NAMES = {
    EUICC_PACKAGE: "an eUICC package",
    IPA_EUICC_DATA: "a data request",
    PROFILE_DOWNLOAD_TRIGGER: "a download trigger",
}

_LOOKED_AT = const(512)  # bytes at the beginning of an eUICC package that are examined; the rest is streamed
_ANY_LENGTH = const(0x3FFFFFFF)
_DEPTH = const(4)  # more than any field has that is read from a package

# EimPackageResultErrorCode
_INVALID_PACKAGE_FORMAT = const(1)
_UNKNOWN_PACKAGE = const(2)
_UNDEFINED_ERROR = const(127)

# Psmo
_ENABLE = const(0xA3)
_DISABLE = const(0xA4)
_ROLLBACK_FLAG = const(0x05)

# EuiccPackageErrorCode
_REPLAY_ERROR = const(4)

# EuiccResultData
_ENABLE_RESULT = const(0x83)
_DISABLE_RESULT = const(0x84)


async def execute(session, package):
    """Execute one package and answer it. Returns True if the enabled profile changes.

    Then the card waits for its REFRESH, and the result on the card is to be delivered over the new profile.
    """
    try:
        if package.tag == EUICC_PACKAGE:
            return await _euicc_package(session, package)
        if package.tag == IPA_EUICC_DATA:
            from ipa.steps import data  # loaded for this kind only

            await data.request(session, await _body(package))
        elif package.tag == PROFILE_DOWNLOAD_TRIGGER:
            from ipa.steps import download

            return await download.run(session, await _body(package))
        else:
            log(ERROR, "package: the tag {:X} is unknown".format(package.tag))
            await _refuse(session, _UNKNOWN_PACKAGE)
    except InvalidPackage as error:
        log(ERROR, "package:", error)
        await _refuse(session, _INVALID_PACKAGE_FORMAT, error.transaction)
    finally:
        unload()
    return False


async def _body(package):
    try:
        body = await package.read()
        _check_form(body, _DEPTH)
        return body
    except tlv.TlvError as error:
        raise InvalidPackage(error) from error


def _check_form(body, depth):
    """Check that it is well-formed TLV at all levels, so that later code need not check it."""
    for _, value, raw in tlv.items(body):
        if raw[0] & 0x20 and depth:
            _check_form(value, depth - 1)


async def _refuse(session, code, transaction=None):
    """eimPackageResultResponseError, with the eimTransactionId of the refused package."""
    echo = b"" if transaction is None else tlv.encode(0x80, transaction)
    await notify.provide(session, tlv.encode(0xA0, echo, tlv.encode_integer(0x02, code)))


# eUICC package, 3.3.1


async def _euicc_package(session, package):
    log(INFO, "package: an eUICC package of", package.length, "bytes goes to the card")
    if session.es10.lists is None:  # not known yet in a poll that had nothing to deliver
        await notify.results(session.es10)
    body = await package.reader.read(min(package.length, _LOOKED_AT), _LOOKED_AT)
    left = package.length - len(body)
    # A longer one may contain a switch: a card without a rollback permission will refuse the rollback.
    switch = {"undo": "rollback"} if left else _switch(body)
    journal = session.journal
    before = None
    if switch is not None:
        before = journal.get("switch")
        journal.set(switch=dict(switch, eim=session.eim_id.hex()))
    try:
        result = await session.es10.load_euicc_package(body, stream=package.reader, length=left)  # steps 3 to 8
        changes = profile_changes(result)
    except (CommandTooLong, CommandCut) as error:  # the next attempt would fail as well
        _take_back(journal, switch, before)
        raise InvalidPackage(error, _transaction(body)) from None
    except (CardError, tlv.TlvError) as error:
        log(ERROR, "package:", error)
        _take_back(journal, switch, before)
        await _refuse(session, _UNDEFINED_ERROR, _transaction(body))
        return False
    unlisted = None
    if not session.es10.lists:
        from ipa.steps import unlisted  # few cards need it

        unlisted.keep(session, result)
    if changes:
        log(INFO, "package: executed, the profile changes and the card waits for REFRESH")
        return True
    _take_back(journal, switch, before)
    if _error_code(result) == _REPLAY_ERROR:
        # It was executed before and the answer was lost: send the result that the card has kept.
        log(INFO, "package: the card has executed it before, its result is looked for")
        error = bytes(result)
        results = await notify.results(session.es10)
        if unlisted:
            results = unlisted.of(session)
        result = _kept(results, _identity(error)) or error
    acknowledged = await notify.provide(session, result)  # steps 10 to 17
    if acknowledged is None:
        return False
    if unlisted:
        unlisted.replace(journal, session.eim_id.hex(), None)
    log(INFO, "package: result delivered,", len(acknowledged), "acknowledged and removed from the card")
    return False


def _take_back(journal, switch, before):
    """The package has not switched the profile: restore the switch that was pending before."""
    if switch is not None:
        journal.set(switch=before)


def _transaction(body):
    """The eimTransactionId at the beginning of an eUICC package, or None."""
    try:
        _, start, _ = tlv.header(body, 0, _ANY_LENGTH)
        for tag, value, _ in tlv.items(memoryview(body)[start:]):
            if tag == 0x82:
                return bytes(value)
    except tlv.TlvError:
        pass
    return None


def _switch(body):
    """The journal entry for a package that enables or disables a profile, None for any other."""
    switch = None
    try:
        for tag, value, _ in tlv.items(tlv.find(body, 0x30, 0xA0)):
            if tag == _ENABLE and tlv.find(value, _ROLLBACK_FLAG) is not None:
                return {"undo": "rollback"}
            if tag in (_ENABLE, _DISABLE):
                switch = {}
    except tlv.TlvError as error:
        log(ERROR, "package:", error)  # the card will report it
    return switch


def profile_changes(result):
    """Whether an EuiccPackageResult reports that a profile was enabled or disabled: not every modem passes on 91xx."""
    results = tlv.find(_signed(result, 0xA0), 0x30)
    return any(
        tag in (_ENABLE_RESULT, _DISABLE_RESULT) and tlv.integer(value) == 0
        for tag, value, _ in tlv.items(results)
    )


def _signed(result, form):
    """The signed part of a result (A0) or an error (A1): the value of the 30 inside."""
    _, start, _ = tlv.header(result)
    return tlv.find(result[start:], form, 0x30)


def _error_code(result):
    code = tlv.find(_signed(result, 0xA1), 0x02)
    return None if code is None else tlv.integer(code)


def _identity(result):
    """What identifies a package: eimId, counterValue, eimTransactionId."""
    signed = _signed(result, 0xA0) or _signed(result, 0xA1)
    return [bytes(raw) for tag, _, raw in tlv.items(signed) if tag in (0x80, 0x81, 0x82)]


def _kept(results, identity):
    for _, _, raw in tlv.items(results):
        if _identity(raw) == identity:
            return raw
    return None
