"""ESipa in its JSON binding (SGP.32 6.4): each function translated to the message of 6.3 and its answer back.

``Eim.handle`` knows the ASN.1 binding alone. Values are base64 of a DER TLV but for those a person reads:
transactionIds in hexadecimal, the EID in digits, matchingId and addresses as text.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from microipa.asn1.tlv import Tlv, integer, number, parse, tlv
from microipa.common.errors import MicroipaError
from microipa.eim import esipa
from microipa.eim.esipa import EsipaRefused
from microipa.eim.relayed import AUTHENTICATE, CANCEL, GET_PACKAGE, INITIATE

Handle = Callable[[bytes], Awaitable[bytes]]
Codes = Mapping[int, tuple[str, str]]

UNDEFINED = ("1.6", "4.2")  # function: execution error (SGP.02 5.1.6.2)
EID_CODES: Codes = {
    esipa.NO_EIM_PACKAGE: ("8.1.1", "3.7"),
    esipa.EID_NOT_FOUND: ("8.1.1", "3.9"),
    esipa.INVALID_EID: ("8.1.1", "2.1"),
    esipa.MISSING_EID: ("8.1.1", "2.2"),
}
OWN_CODES: Mapping[int, Codes] = {
    INITIATE.tag: {50: ("8.8.1", "3.10"), 51: ("8.8", "3.10"), 52: ("8.31.2", "3.10")},
    AUTHENTICATE.tag: {50: ("8.2.8", "1.2")},
    GET_PACKAGE.tag: {50: ("8.2.9", "3.11")},
}


# What members of a request become, in the order of the ASN.1 ------------------------------------------------


def _base64(name: str, value: Any) -> bytes:
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (AttributeError, binascii.Error, ValueError) as error:
        raise EsipaRefused(f"{name} is not base64") from error


def _hex(name: str, value: Any) -> bytes:
    try:
        return bytes.fromhex(value)
    except (TypeError, ValueError) as error:
        raise EsipaRefused(f"{name} is not hexadecimal") from error


def _text(name: str, value: Any) -> bytes:
    try:
        return str.encode(value)
    except (TypeError, UnicodeEncodeError) as error:  # JSON can hold half a character
        raise EsipaRefused(f"{name} is not a string with a UTF-8 form") from error


def _number(name: str, value: Any) -> bytes:
    if not isinstance(value, int) or not -(1 << 31) <= value < 1 << 31:
        raise EsipaRefused(f"{name} is not a number")
    return parse(integer(0x02, value)).value


def _flag(name: str, value: Any) -> bytes | None:
    return b"" if value else None


def _cancelled(name: str, value: Any) -> bytes:
    """The card's BF41, of which the message of 6.3.2.8 has only what is inside."""
    answered = parse(_base64(name, value))
    return answered.value if answered.tag == esipa.CANCEL_SESSION else answered.raw


@dataclass(frozen=True)
class Member:
    """``tag`` goes around the value; 0 where the value is a TLV already."""

    name: str
    tag: int
    read: Callable[[str, Any], bytes | None]

    def encode(self, value: Any) -> bytes:
        content = self.read(self.name, value)
        if content is None:
            return b""
        return tlv(self.tag, content) if self.tag else parse(content).raw


_SESSION = Member("transactionId", 0x80, _hex)
_RESULT = Member("provideEimPackageResult", 0, _base64)


@dataclass(frozen=True)
class Function:
    """What a function of 6.4.1 has to do with its message of 6.3.2.

    ``answers``: the name of each member of the answer by its tag, in the order of the ASN.1.
    """

    tag: int
    members: tuple[Member, ...]
    answers: tuple[tuple[int, str], ...] = ()
    error_tag: int = 0x02
    codes: Mapping[int, tuple[str, str]] | None = None


def _codes(function: Any) -> dict[int, tuple[str, str]]:
    """A refusal of the SM-DP+ reaches the device under the codes it had; the first of several."""
    theirs = {code: pair for pair, code in reversed(function.codes.items())}
    return theirs | dict(OWN_CODES.get(function.tag, {}))


FUNCTIONS: Mapping[str, Function] = {
    "initiateAuthentication": Function(
        esipa.INITIATE_AUTHENTICATION,
        (
            Member("euiccChallenge", 0x81, _base64),
            Member("smdpAddress", 0x83, _text),
            Member("euiccInfo1", 0, _base64),
            Member("eimTransactionId", 0x82, _hex),
        ),
        (
            (0x80, "transactionId"),
            (0x30, "serverSigned1"),
            (0x5F37, "serverSignature1"),
            (0x04, "euiccCiPKIdentifierToBeUsed"),
            (0x30, "serverCertificate"),
            (0x0C, "matchingId"),
            (0xA2, "ctxParams1"),
        ),
        INITIATE.error_tag,
        _codes(INITIATE),
    ),
    "authenticateClient": Function(
        esipa.AUTHENTICATE_CLIENT,
        (_SESSION, Member("authenticateServerResponse", 0, _base64)),
        (
            (0x80, "transactionId"),
            (0xBF25, "profileMetadata"),
            (0x30, "smdpSigned2"),
            (0x5F37, "smdpSignature2"),
            (0x30, "smdpCertificate"),
            (0x04, "hashCc"),
        ),
        AUTHENTICATE.error_tag,
        _codes(AUTHENTICATE),
    ),
    "getBoundProfilePackage": Function(
        esipa.GET_BOUND_PROFILE_PACKAGE,
        (_SESSION, Member("prepareDownloadResponse", 0, _base64)),
        ((0x80, "transactionId"), (0xBF36, "boundProfilePackage")),
        GET_PACKAGE.error_tag,
        _codes(GET_PACKAGE),
    ),
    "cancelSession": Function(
        esipa.CANCEL_SESSION,
        (_SESSION, Member("cancelSessionResponse", 0xA1, _cancelled)),
        error_tag=CANCEL.error_tag,
        codes=_codes(CANCEL),
    ),
    "getEimPackage": Function(
        esipa.GET_EIM_PACKAGE,
        (
            Member("eidValue", esipa.EID, _hex),
            Member("notifyStateChange", 0x80, _flag),
            Member("stateChangeCause", 0x81, _number),
            Member("rPlmn", 0x82, _base64),
        ),
        (
            (esipa.EUICC_PACKAGE, "euiccPackageRequest"),
            (esipa.IPA_EUICC_DATA, "ipaEuiccDataRequest"),
            (esipa.DOWNLOAD_TRIGGER, "profileDownloadTriggerRequest"),
        ),
        codes=EID_CODES,
    ),
    "provideEimPackageResult": Function(
        esipa.PROVIDE_EIM_PACKAGE_RESULT,
        (Member("eidValue", esipa.EID, _hex), Member("eimPackageResult", 0, _base64)),
        ((esipa.ACKNOWLEDGEMENTS, "eimAcknowledgements"),),
        codes=EID_CODES,
    ),
    "handleNotification": Function(
        esipa.HANDLE_NOTIFICATION, (Member("pendingNotification", 0xA0, _base64), _RESULT)
    ),
}


async def answer(handle: Handle, name: str, body: bytes) -> bytes:
    """Answer one function, whose name is the end of its path. Raises EsipaRefused as ``handle`` does."""
    function = FUNCTIONS[name]
    try:
        request = _request(function, body)
    except EsipaRefused:
        if function.tag == esipa.PROVIDE_EIM_PACKAGE_RESULT:
            with contextlib.suppress(EsipaRefused):  # a result that nobody can read is kept as it came
                await handle(tlv(function.tag, _claimed_eid(body), tlv(0x04, body)))
        raise
    answered = await handle(request)
    if not answered:
        return b""
    inside = parse(answered).children()
    if len(inside) == 1 and inside[0].tag == function.error_tag:
        return _failed(function, number(inside[0]))
    return _executed(function, inside)


def _claimed_eid(body: bytes) -> bytes:
    found = re.search(rb'"eidValue"\s*:\s*"([0-9]{32})"', body)
    return tlv(esipa.EID, bytes.fromhex(found[1].decode())) if found else b""


def _request(function: Function, body: bytes) -> bytes:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EsipaRefused(f"the body is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise EsipaRefused(f"the body is a JSON {type(given).__name__}, not an object")
    try:
        parts = [one.encode(given[one.name]) for one in function.members if given.get(one.name) is not None]
    except EsipaRefused:
        raise
    except MicroipaError as malformed:
        raise EsipaRefused(str(malformed)) from malformed
    return tlv(function.tag, *parts)


def _executed(function: Function, inside: list[Tlv]) -> bytes:
    if len(inside) == 1 and inside[0].tag == 0xA0:
        inside = inside[0].children()
    message: dict[str, Any] = {"header": {"functionExecutionStatus": {"status": "Executed-Success"}}}
    left = list(function.answers)
    for field in inside:
        place = next((place for place, (tag, _) in enumerate(left) if tag == field.tag), None)
        if place is not None:
            message[left[place][1]] = _shown(field)
            del left[: place + 1]
    return json.dumps(message, separators=(",", ":")).encode()


def _shown(field: Tlv) -> str:
    if field.tag == 0x80:
        return field.value.hex().upper()
    if field.tag == 0x0C:
        return field.value.decode()
    content = field.value if field.tag == 0xA2 else field.raw  # ctxParams1 is a CHOICE with a tag of its own
    return base64.b64encode(content).decode()


def _failed(function: Function, code: int) -> bytes:
    """A refusal. Some peers look for the number, as the ASN.1 binding has it, where packages are concerned."""
    subject, reason = (function.codes or {}).get(code, UNDEFINED)
    data = {"subjectCode": subject, "reasonCode": reason}
    message: dict[str, Any] = {"header": {"functionExecutionStatus": {"status": "Failed", "statusCodeData": data}}}
    if function.codes is EID_CODES:
        message["eimPackageError"] = code
    return json.dumps(message, separators=(",", ":")).encode()
