"""What cards and IPAs answer, in the standard's own words: they are those of the ASN.1 (SGP.32 2.11)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from microipa.asn1 import describe, sgp32
from microipa.asn1.kinds import Kind
from microipa.asn1.tlv import Tlv, number
from microipa.common.errors import MicroipaError
from microipa.saip import iccid_from_bytes

_PROFILE_TEXTS = {0x90: "nickname", 0x91: "serviceProvider", 0x92: "name"}
_PROFILE_FLAGS = {0x9F26: "fallback", 0x9F67: "fallbackAllowed"}


@dataclass(frozen=True)
class Outcome:
    """One element of euiccResult. ``operation`` is the PSMO's or eCO's name, ``value`` is JSON-able."""

    operation: str
    ok: bool
    words: str
    value: Any


def name(path: str, code: int) -> str:
    """The name of a code. ``path``: a type and, after dots, members: ``AddEimResult.addEimResultCode``."""
    return _kind(path).names.get(code, f"code {code}")


def bits(path: str, content: bytes) -> list[str]:
    """The names of a BIT STRING's set bits. Senders differ in the unused bits they declare (interop)."""
    octets = content[1:]
    named = _kind(path).names.items()
    return [name for n, name in named if n // 8 < len(octets) and octets[n // 8] << n % 8 & 0x80]


def as_json(der: bytes, type_name: str) -> Any:
    """A value of that type with names for numbers; its hex when it is none."""
    try:
        return describe.describe(der, type_name).json()["value"]
    except MicroipaError:
        return der.hex()


@cache
def _kind(path: str) -> Kind:
    type_name, *members = path.split(".")
    kind = sgp32.kind(type_name)
    for wanted in members:
        kind = next(member.kind for member in kind.members if member.name == wanted)
    return kind


def outcomes(euicc_result: Tlv) -> list[Outcome]:
    """The elements of euiccResult, in order (SGP.32 2.11.2.1). Raises TlvError."""
    return [_outcome(element) for element in euicc_result]


def _outcome(element: Tlv) -> Outcome:
    possible = _kind("EuiccResultData").members
    member = next((one for one in possible if element.tag in (one.kind.accepts or ())), None)
    if member is None:
        return Outcome(f"{element.tag:02X}", False, f"unknown result {element.raw.hex()}", element.raw.hex())
    operation = member.name.removesuffix("Result")
    match operation:
        case "listProfileInfo":
            return _profile_list(element)
        case "listEim":
            return _eim_list(element)
        case "addEim" if token := element.get(0x84):
            return Outcome(operation, True, f"token {number(token)}", {"associationToken": number(token)})
        case "addEim":
            return _coded(operation, "AddEimResult.addEimResultCode", element[0x02])
        case "setDefaultDpAddress":
            path = "SetDefaultDpAddressResponse.setDefaultDpAddressResult"
            return _coded(operation, path, element[0x80])
        case "getRAT":
            rules = as_json(element.raw, "EuiccResultData")
            return Outcome(operation, True, f"{len(element.children())} rules", rules)
        case "processingTerminated":
            code = number(element)
            return Outcome(operation, False, name("EuiccResultData.processingTerminated", code), code)
    return _coded(operation, f"EuiccResultData.{member.name}", element)


def _coded(operation: str, path: str, element: Tlv) -> Outcome:
    code = number(element)
    return Outcome(operation, code == 0, name(path, code), code)


def _eim_list(element: Tlv) -> Outcome:
    listed = element.get(0xA0)
    if not listed:
        return _coded("listEim", "ListEimResult.listEimError", element[0x81])
    eims = [entry[0x80].value.decode(errors="replace") for entry in listed]
    return Outcome("listEim", True, ", ".join(eims) or "none", eims)


def _profile_list(element: Tlv) -> Outcome:
    listed = element.get(0xA0)
    if not listed:
        return _coded("listProfileInfo", "ProfileInfoListError", element[0x81])
    profiles = [profile_info(entry) for entry in listed]
    words = "; ".join(" ".join(str(p[k]) for k in ("iccid", "state", "name") if k in p) for p in profiles)
    return Outcome("listProfileInfo", True, words or "no profiles", profiles)


def profile_info(entry: Tlv) -> dict[str, Any]:
    """An E3 ProfileInfo, the parts people ask for. Raises TlvError."""
    info: dict[str, Any] = {}
    for field in entry:
        if field.tag == 0x5A:
            info["iccid"] = iccid_from_bytes(field.value)
        elif field.tag == 0x4F:
            info["aid"] = field.value.hex()
        elif field.tag == 0x9F70:
            info["state"] = name("ProfileState", number(field))
        elif field.tag == 0x95:
            info["class"] = name("ProfileClass", number(field))
        elif field.tag in _PROFILE_TEXTS:
            info[_PROFILE_TEXTS[field.tag]] = field.value.decode(errors="replace")
        elif field.tag in _PROFILE_FLAGS:
            info[_PROFILE_FLAGS[field.tag]] = field.value != b"\0"
    return info
