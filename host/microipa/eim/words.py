"""What cards answer, in words: codes of SGP.32 2.11 and SGP.22 2.5.6, profile lists, activation codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from microipa.asn1.tlv import Tlv, TlvError
from microipa.errors import MicroipaError
from microipa.saip import iccid_from_bytes

_COMMON = {0: "ok", 7: "commandError", 127: "undefinedError"}
_PROFILE = {1: "iccidOrAidNotFound", 3: "disallowedByPolicy", 5: "catBusy"}
_EIM = {1: "eimNotFound", 3: "ciPKUnknown", 6: "counterValueOutOfRange"}

_CODES: dict[int, tuple[str, dict[int, str]]] = {  # tag of EuiccResultData: operation and its codes
    0x83: ("enable", {**_PROFILE, 2: "profileNotInDisabledState", 20: "rollbackNotAvailable"}),
    0x84: ("disable", {**_PROFILE, 2: "profileNotInEnabledState"}),
    0x85: (
        "delete",
        {**_PROFILE, 2: "profileNotInDisabledState", 20: "rollbackNotAvailable", 21: "returnFallbackProfile"},
    ),
    0x87: ("configureImmediateEnable", {1: "insufficientMemory"}),
    0x89: ("deleteEim", {**_EIM, 2: "lastEimDeleted"}),
    0x8A: ("updateEim", _EIM),
    0x8C: ("rollback", {}),
    0x8D: (
        "setFallbackAttribute",
        {1: "iccidOrAidNotFound", 2: "fallbackNotAllowed", 3: "fallbackProfileEnabled"},
    ),
    0x8E: ("unsetFallbackAttribute", {2: "noFallbackAttribute", 3: "fallbackProfileEnabled"}),
}
_LIST_PROFILES = {1: "incorrectInputValues", 11: "profileChangeOngoing"}
_ADD_EIM = {
    1: "insufficientMemory",
    2: "associatedEimAlreadyExists",
    3: "ciPKUnknown",
    5: "invalidAssociationToken",
    6: "counterValueOutOfRange",
}
_TERMINATED = {1: "resultSizeOverflow", 2: "unknownOrDamagedCommand", 3: "interruption"}
PACKAGE_ERRORS = {
    3: "invalidEid",
    4: "replayError",
    6: "counterValueOutOfRange",
    15: "sizeOverflow",
    104: "ecallActive",
    127: "undefinedError",
}
RESPONSE_ERRORS = {1: "invalidPackageFormat", 2: "unknownPackage", 127: "undefinedError"}
DATA_ERRORS = {
    1: "incorrectTagList",
    5: "euiccCiPKIdNotFound",
    104: "ecallActive",
    127: "undefinedError",
}
DOWNLOAD_ERRORS = {104: "ecallActive", 127: "undefinedError"}
STATE_CHANGES = {
    0: "otherEim",
    1: "fallback",
    2: "emergencyProfile",
    3: "local",
    4: "reset",
    5: "immediateEnableProfile",
    6: "deviceChange",
    127: "undefined",
}
CANCEL_REASONS = {
    0: "endUserRejection",
    1: "postponed",
    2: "timeout",
    3: "pprNotAllowed",
    4: "metadataMismatch",
    5: "loadBppExecutionError",
    127: "undefinedReason",
}
BPP_COMMANDS = (
    "initialiseSecureChannel",
    "configureISDP",
    "storeMetadata",
    "storeMetadata2",
    "replaceSessionKeys",
    "loadProfileElements",
)
INSTALL_ERRORS = {
    1: "incorrectInputValues",
    2: "invalidSignature",
    3: "invalidTransactionId",
    4: "unsupportedCrtValues",
    5: "unsupportedRemoteOperationType",
    6: "unsupportedProfileClass",
    7: "scp03tStructureError",
    8: "scp03tSecurityError",
    9: "installFailedDueToIccidAlreadyExistsOnEuicc",
    10: "installFailedDueToInsufficientMemoryForProfile",
    11: "installFailedDueToInterruption",
    12: "installFailedDueToPEProcessingError",
    13: "installFailedDueToDataMismatch",
    14: "testProfileInstallFailedDueToInvalidNaaKey",
    15: "pprNotAllowed",
    127: "installFailedDueToUnknownError",
}
EVENTS = ("install", "enable", "disable", "delete")
PROFILE_STATES = {0: "disabled", 1: "enabled"}
PROFILE_CLASSES = {0: "test", 1: "provisioning", 2: "operational"}


class ActivationCodeInvalid(MicroipaError):
    """Text that is no activation code of SGP.22 4.1."""


@dataclass(frozen=True)
class ActivationCode:
    """``LPA:1$address$matching-id[$SM-DP+ OID[$1]]``."""

    text: str
    smdp_address: str
    matching_id: str
    smdp_oid: str | None

    @classmethod
    def parse(cls, text: str) -> ActivationCode:
        """Raises ActivationCodeInvalid."""
        fields = text.removeprefix("LPA:").split("$")
        if not 3 <= len(fields) <= 5 or fields[0] != "1" or not fields[1] or len(text) > 255:
            raise ActivationCodeInvalid(
                f"{text!r} is no activation code: LPA:1$<SM-DP+ address>$<matching id>"
            )
        return cls(text, fields[1], fields[2], (fields[3] or None) if len(fields) > 3 else None)


@dataclass(frozen=True)
class Outcome:
    """One element of euiccResult. ``value`` is JSON-able."""

    operation: str
    ok: bool
    words: str
    value: Any


def number(tlv: Tlv) -> int:
    """A signed INTEGER of any tag. Raises TlvError when it has no content."""
    if not tlv.value:
        raise TlvError(f"INTEGER {tlv.tag:02X} without content", tlv.offset)
    return int.from_bytes(tlv.value, "big", signed=True)


def name(codes: dict[int, str], code: int) -> str:
    return codes.get(code, f"code {code}")


def outcomes(euicc_result: Tlv) -> list[Outcome]:
    """The elements of euiccResult, in order (SGP.32 2.11.2.1). Raises TlvError."""
    return [_outcome(element) for element in euicc_result]


def _outcome(element: Tlv) -> Outcome:
    if element.tag in _CODES:
        operation, codes = _CODES[element.tag]
        return _coded(operation, {**_COMMON, **codes}, element)
    if element.tag == 0xBF2D:
        return _profile_list(element)
    if element.tag == 0xBF65:
        return _coded("setDefaultDpAddress", _COMMON, element[0x80])
    if element.tag == 0xA6:
        return Outcome("getRAT", True, f"{len(element.children())} rules", element.raw.hex())
    if element.tag == 0xA8:
        token = element.get(0x84)
        if token:
            return Outcome("addEim", True, f"token {number(token)}", {"associationToken": number(token)})
        return _coded("addEim", {**_COMMON, **_ADD_EIM}, element[0x02])
    if element.tag == 0xAB:
        listed = element.get(0xA0)
        if not listed:
            return _coded("listEim", _COMMON, element[0x81])
        eims = [entry[0x80].value.decode(errors="replace") for entry in listed]
        return Outcome("listEim", True, ", ".join(eims) or "none", eims)
    if element.tag == 0x02:
        reason = name({**_COMMON, **_TERMINATED}, number(element))
        return Outcome("processingTerminated", False, reason, number(element))
    return Outcome(f"{element.tag:02X}", False, f"unknown result {element.raw.hex()}", element.raw.hex())


def _coded(operation: str, codes: dict[int, str], element: Tlv) -> Outcome:
    code = number(element)
    return Outcome(operation, code == 0, name(codes, code), code)


def _profile_list(element: Tlv) -> Outcome:
    listed = element.get(0xA0)
    if not listed:
        return _coded("listProfileInfo", {**_COMMON, **_LIST_PROFILES}, element[0x81])
    profiles = [profile_info(entry) for entry in listed]
    words = "; ".join(" ".join(str(p[k]) for k in ("iccid", "state", "name") if k in p) for p in profiles)
    return Outcome("listProfileInfo", True, words or "no profiles", profiles)


def profile_info(entry: Tlv) -> dict[str, Any]:
    """An E3 ProfileInfo, the parts people ask for. Raises TlvError."""
    info: dict[str, Any] = {}
    for field in entry:
        match field.tag:
            case 0x5A:
                info["iccid"] = iccid_from_bytes(field.value)
            case 0x4F:
                info["aid"] = field.value.hex()
            case 0x9F70:
                info["state"] = name(PROFILE_STATES, number(field))
            case 0x90 | 0x91 | 0x92:
                key = {0x90: "nickname", 0x91: "serviceProvider", 0x92: "name"}[field.tag]
                info[key] = field.value.decode(errors="replace")
            case 0x95:
                info["class"] = name(PROFILE_CLASSES, number(field))
            case 0x9F26 | 0x9F67:
                info[{0x9F26: "fallback", 0x9F67: "fallbackAllowed"}[field.tag]] = field.value != b"\0"
    return info


def named_bits(content: bytes, names: Sequence[str]) -> list[str]:
    """The names of a BIT STRING's set bits. Senders differ in the unused bits they declare (interop)."""
    bits = content[1:]
    return [name for n, name in enumerate(names) if n // 8 < len(bits) and bits[n // 8] << n % 8 & 0x80]
