"""ESipa messages the eIM writes (SGP.32 5.14, 6.3), and how it says no."""

from __future__ import annotations

from contextvars import ContextVar

from microipa.asn1.tlv import Tlv, TlvError, integer, parse, tlv
from microipa.common.errors import MicroipaError

INITIATE_AUTHENTICATION, AUTHENTICATE_CLIENT, GET_BOUND_PROFILE_PACKAGE = 0xBF39, 0xBF3B, 0xBF3A
CANCEL_SESSION, HANDLE_NOTIFICATION = 0xBF41, 0xBF3D
GET_EIM_PACKAGE, PROVIDE_EIM_PACKAGE_RESULT, TRANSFER_EIM_PACKAGE = 0xBF4F, 0xBF50, 0xBF4E
EUICC_PACKAGE, IPA_EUICC_DATA, ACKNOWLEDGEMENTS, DOWNLOAD_TRIGGER = 0xBF51, 0xBF52, 0xBF53, 0xBF54
PROFILE_INSTALLATION_RESULT, NOTIFICATION_METADATA = 0xBF37, 0xBF2F
EID = 0x5A
LONGEST_HEAD = 12  # of two tags and two lengths, in front of an eidValue

TROUBLE_OPTION = 65020
TROUBLE_HEADER = "Microipa-Trouble"
LONGEST_TROUBLE = 120
TROUBLE: ContextVar[str] = ContextVar("trouble", default="")
"""What the device behind the message being handled says of its own state, beside ESipa, which has no field for it:
our firmware puts it into a CoAP option or an HTTP header field, and other eIMs pass over both."""

NO_EIM_PACKAGE, EID_NOT_FOUND, INVALID_EID, MISSING_EID, UNDEFINED = 1, 2, 3, 4, 127


class EsipaRefused(MicroipaError):
    """A message the eIM will not act on and the standard has no error code for: CoAP 4.00 with this text."""


class EidRefused(MicroipaError):
    """An eidValue that leads to no device. ``code``: 2 eidNotFound, 3 invalidEid, 4 missingEid."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class ResultRefused(MicroipaError):
    """A result or notification that proves nothing. It is not acknowledged, so the card keeps it.

    ``eid`` is the device that it names as its sender, None if this eIM does not know it.
    """

    def __init__(self, eid: str | None, reason: str) -> None:
        super().__init__(reason)
        self.eid = eid


def hear(trouble: bytes) -> None:
    """Note what came beside the message that is handled next, b"" for nothing: one line of ASCII, of bounded length."""
    text = trouble[:LONGEST_TROUBLE].decode("ascii", "replace").strip()
    TROUBLE.set("".join(char if " " <= char <= "~" else "?" for char in text))


def eid_of(field: Tlv | None) -> str:
    """The EID of a 5A field. Raises EidRefused."""
    if field is None:
        raise EidRefused(MISSING_EID, "eidValue is missing")
    digits = field.value.hex()
    if len(digits) != 32 or not digits.isdecimal():
        raise EidRefused(INVALID_EID, f"{digits[:64]} is not an EID of 32 digits")
    return digits


def claimed_eid(message: bytes) -> str | None:
    """The eidValue at the beginning of a message that need not be readable otherwise."""
    place = message[:LONGEST_HEAD].find(bytes((EID, 16)))
    digits = message[place + 2 : place + 18].hex() if place > 0 else ""
    return digits if len(digits) == 32 and digits.isdecimal() else None


def package_error(code: int) -> bytes:
    return tlv(GET_EIM_PACKAGE, integer(0x02, code))


def polled_in_vain(request: bytes, answer: bytes) -> str | None:
    """The EID of a GetEimPackage that was answered with noEimPackageAvailable; None of any other exchange."""
    if answer != package_error(NO_EIM_PACKAGE):
        return None
    return eid_of(parse(request).get(EID))


def is_result(request: bytes) -> bool:
    """Whether a message is ProvideEimPackageResult."""
    return request[:2] == PROVIDE_EIM_PACKAGE_RESULT.to_bytes(2, "big")


def proved(request: bytes, answer: bytes) -> str | None:
    """The EID whose card's signed result an exchange brought: only what has been verified is acknowledged."""
    if not is_result(request):
        return None
    try:
        message, told = parse(request), parse(answer)
        result = (message.get(0x30) or message).get(EUICC_PACKAGE)
        brought = result is not None and 0xA2 not in result  # euiccPackageErrorUnsigned
        return eid_of(message.get(EID)) if brought and ACKNOWLEDGEMENTS in told else None
    except (TlvError, EidRefused):
        return None


def result_error(code: int) -> bytes:
    return tlv(PROVIDE_EIM_PACKAGE_RESULT, integer(0x02, code))


def acknowledge(sequences: list[int]) -> bytes:
    """EimAcknowledgements with the card's seqNumbers; the empty answer of v1.2 is ``BF50 02 30 00``."""
    if not sequences:
        return tlv(PROVIDE_EIM_PACKAGE_RESULT, tlv(0x30))
    listed = [integer(0x80, sequence) for sequence in sequences]
    return tlv(PROVIDE_EIM_PACKAGE_RESULT, tlv(ACKNOWLEDGEMENTS, *listed))
